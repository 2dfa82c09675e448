/**
 * Curves of the engine that compiles: memory and live modules while the guest runs one program after the other, all with
 * code of their own (`DINGHY_CURVE_SECONDS` sets for how long), and how calls of dispersed functions slow down with their
 * number (`DINGHY_CURVE_FUNCTIONS` sets the most).
 */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { Machine } from "../lib/node/index.js";

const SECONDS = Number(process.env.DINGHY_CURVE_SECONDS ?? 40);
const SAMPLES = 20;
const MOST_FUNCTIONS = Number(process.env.DINGHY_CURVE_FUNCTIONS ?? 1024);
const CALLS = 4_000_000;
/** No number of functions may be slower than this against the host: calls of code that is not compiled take some 50. */
const MOST_FACTOR = 40;
const PATIENCE_MS = 300_000;
/** What generations of modules come to when each is packed into the next. */
const MOST_MODULES = 80;
/** After how long the memory is looked at. */
const SETTLED_SECONDS = 600;
/** How much more memory the last third may take than the second: garbage comes and goes. */
const TOLERANCE_MB = 60;

const PROGRAMS = [
  "/tmp/churn 12 400",
  "find /usr /etc -xdev | sort | awk '{ n += length($0) } END { print n }'",
  "tar -C /usr/lib -cf - x86_64-linux-gnu 2>/dev/null | head -c 8M | gzip -1 | sha256sum",
  "i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done; echo $i",
  "seq 60000 | sed 's/1/one/g' | grep -c one | md5sum",
  "/tmp/churn 3 2000",
  "docker run --rm busybox sh -c 'seq 20000 | sort -r | md5sum'",
];

const folder = mkdtempSync(join(tmpdir(), "dinghy-curve-"));
let machine;
let shown = "";
let statistics;

async function waitFor(pattern) {
  const deadline = Date.now() + PATIENCE_MS;
  while (!pattern.test(shown)) {
    assert.ok(Date.now() < deadline, `no ${pattern} in: ${shown.slice(-2000)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Runs a command in the guest; what it prints. */
async function run(command) {
  shown = "";
  machine.console.write(`${command}; echo "ended $?"\n`);
  await waitFor(/^ended \d+\r?$/m);
  assert.match(shown, /^ended 0\r?$/m);
  assert.doesNotMatch(shown, /WRONG/);
  return shown;
}

/** A program of `guest/`, built. */
function program(name) {
  const source = fileURLToPath(new URL(`guest/${name}.c`, import.meta.url));
  execFileSync("gcc", ["-Wall", "-Werror", "-O2", "-static", "-s", "-o", join(folder, name), source]);
  return { contents: readFileSync(join(folder, name)), permissions: 0o755 };
}

before(async () => {
  machine = await Machine.boot({
    kernel: fileURLToPath(new URL("../../build/kernel/vmlinux", import.meta.url)),
    disks: [
      {
        path: fileURLToPath(new URL("../../build/guest/guest.ext4", import.meta.url)),
        writes: "overlay",
        identity: "-",
      },
    ],
    shares: [{ tag: "files", files: { churn: program("churn"), dispersed: program("dispersed") } }],
  });
  machine.console.onData((bytes) => (shown += Buffer.from(bytes).toString()));
  machine.on("status", (status) => (statistics = status.statistics));
  await waitFor(/[#$] $/);
  machine.console.write(
    "bind 'set enable-bracketed-paste off'; stty -echo; mkdir -p /run/files && mount -t 9p -o trans=virtio,version=9p2000.L files /run/files\n",
  );
  machine.console.write("cp /run/files/* /tmp/; until docker info >/dev/null 2>&1; do sleep 0.5; done; echo U''P\n");
  await waitFor(/UP\r?$/m);
}, PATIENCE_MS);

after(async () => {
  machine?.stop();
  await machine?.gone;
  rmSync(folder, { recursive: true });
});

test("calls of dispersed functions", async () => {
  const parse = (text) => /right (\d+) ([\d.]+) ([\d.]+)/.exec(text).slice(1).map(Number);
  console.log("functions  host ns a call  guest cold  guest warm  factor warm");
  for (let functions = 64; functions <= MOST_FUNCTIONS; functions *= 4) {
    const [, , host] = parse(execFileSync(join(folder, "dispersed"), [functions, CALLS]).toString());
    const [, cold, warm] = parse(await run(`/tmp/dispersed ${functions} ${CALLS}`));
    const columns = [functions, host, cold, warm, (warm / host).toFixed(1)];
    console.log(columns.map((value, column) => String(value).padStart([9, 14, 10, 10, 11][column])).join("  "));
    assert.ok(warm / host <= MOST_FACTOR, `${functions} functions: ${warm} ns against ${host} ns`);
  }
});

test("memory and modules stay bounded", async () => {
  const samples = [];
  const start = Date.now();
  console.log("seconds  resident MB  modules live  compiled  regions live  evicted  code MB");
  for (let number = 0; Date.now() - start < SECONDS * 1000; number++) {
    await run(PROGRAMS[number % PROGRAMS.length]);
    const seconds = (Date.now() - start) / 1000;
    if (samples.length > 0 && seconds < (samples.length * SECONDS) / SAMPLES) continue;
    const resident = process.memoryUsage().rss / 1e6;
    const { modules, modulesCompiled, regions, regionsEvicted, codeBytes } = statistics;
    samples.push({ resident, modules });
    console.log(
      [seconds.toFixed(0), resident.toFixed(0), modules, modulesCompiled, regions, regionsEvicted]
        .concat((codeBytes / 1e6).toFixed(1))
        .map((value, column) => String(value).padStart([7, 11, 12, 8, 12, 7, 7][column]))
        .join("  "),
    );
  }
  const most = (from, to, field) =>
    Math.max(
      ...samples.slice(Math.floor(samples.length * from), Math.ceil(samples.length * to)).map((one) => one[field]),
    );
  assert.ok(most(0, 1, "modules") <= MOST_MODULES, "modules pile up");
  const growth = most(2 / 3, 1, "resident") - most(1 / 3, 2 / 3, "resident");
  console.log(`the last third takes ${growth.toFixed(0)} MB more than the second`);
  // Before that, the guest comes to use the memory that it has.
  if (SECONDS >= SETTLED_SECONDS) assert.ok(growth <= TOLERANCE_MB, `${growth} MB more`);
});
