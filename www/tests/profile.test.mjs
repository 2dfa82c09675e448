/** The report of `dinghy run --profile`. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Profiler, report, Symbols } from "../lib/node/profile.js";

const MAP = ["0000000000002000 A per_cpu", "ffffffff81000000 T _text", "ffffffff81000040 T schedule", ""].join("\n");

test("addresses are told by the symbol before them", () => {
  const symbols = new Symbols(MAP);
  assert.equal(symbols.of(0xffffffff81000000n), "_text");
  assert.equal(symbols.of(0xffffffff8100003fn), "_text+0x3f");
  assert.equal(symbols.of(0xffffffff81000044n), "schedule+0x4");
  assert.equal(symbols.of(0x2008n), "0x2008", "programs lie there");
  assert.equal(new Symbols("").of(0xffffffff81000000n), "0xffffffff81000000");
});

test("guest code is told apart from the emulator, with shares and density", () => {
  const names = ["guest linear 0xffffffff81000044 10 425", "guest physical 0x7000 4 80", "interpret"];
  const nodes = names.map((functionName, id) => ({ id, callFrame: { functionName } }));
  const text = report({ nodes, samples: [0, 1, 0, 2], timeDeltas: [400, 200, 300, 100] }, new Symbols(MAP));
  assert.match(text, / 90\.00 % in compiled guest code/);
  assert.match(text, / 70\.00 % +10 +42\.5 {2}schedule\+0x4\n/);
  assert.match(text, / 20\.00 % +4 +20\.0 {2}physical 0x7000\n/);
  assert.match(text, / 10\.00 % in the emulator and its host\n +10\.00 % {2}interpret\n/);
});

test("the time is told by kinds, the first that fits", () => {
  const names = [
    "guest physical 0x7000 4 80",
    "waitForAttention",
    "dinghy::cpu::interpreter::execute::h0",
    "dinghy::cpu::lift::block::h0",
    "dinghy::jit::emit::function::h0",
    "Module",
    "dinghy::jit::abi::call::h0",
    "<dinghy::virtio::blk::Blk as dinghy::virtio::device::Device>::notify::h0",
    "readFileUtf8",
  ];
  const nodes = names.map((functionName, id) => ({ id, callFrame: { functionName } }));
  const text = report({ nodes, samples: [...names.keys()], timeDeltas: names.map(() => 1) }, new Symbols(""));
  const shares = Object.fromEntries(
    [...text.matchAll(/^ *([\d.]+) % {2}([a-z][a-z :,]+)$/gm)].map(([, share, kind]) => [kind, share]),
  );
  assert.equal(shares["compiled guest code"], "11.11");
  assert.equal(shares["waiting: the guest is idle"], "11.11");
  assert.equal(shares["translating for the interpreter"], "11.11");
  assert.equal(shares["emitting and compiling modules"], "22.22");
  assert.equal(shares["interpreting, and what compiled code calls"], "22.22");
  assert.equal(shares["disks, network, other devices"], "11.11");
  assert.equal(shares["all else"], "11.11");
});

test("this thread is sampled", () => {
  const profiler = new Profiler();
  const until = performance.now() + 50;
  while (performance.now() < until) Math.sqrt(until);
  assert.match(profiler.stop(new Symbols("")), /^0\.\d\d s\n/);
});
