/**
 * What the network carries in node, with DINGHY_NETWORK_FIGURES=1: iperf3 between the guest and this computer, a thousand
 * connections held for a minute, and ten thousand opened and closed, with the memory that they leave. Prints figures, and
 * fails below what is asked for.
 */

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { listenEcho } from "./echo.mjs";
import { bootFigures } from "./network-guest.mjs";
import { packageFiles } from "./packages.mjs";

const skip = process.env.DINGHY_NETWORK_FIGURES ? false : "DINGHY_NETWORK_FIGURES is not set";
/** Of each transfer, in seconds. */
const SECONDS = 10;
const HELD = 1000;
const HELD_SECONDS = 60;
const OPENED = 10_000;
const ROUNDS = 10;

let guest;
const run = (command) => guest.run(command);

function memory() {
  const { rss, heapUsed } = process.memoryUsage();
  return `${(rss / 1e6).toFixed(0)} MB resident, ${(heapUsed / 1e6).toFixed(1)} MB of them JavaScript's`;
}

before(async () => {
  if (skip) return;
  guest = await bootFigures({ network: { to: "host", allow: ["127.0.0.1:5201", "127.0.0.1:5202"] } });
});
after(() => guest?.stop());

test("iperf3 moves 200 Mbit/s each way", { skip }, async () => {
  const libraries = ["libiperf0", "libsctp1"].map((name) => join(packageFiles(name), "usr/lib/x86_64-linux-gnu"));
  const server = spawn(join(packageFiles("iperf3"), "usr/bin/iperf3"), ["--server", "--bind", "127.0.0.1"], {
    stdio: "ignore",
    env: { LD_LIBRARY_PATH: libraries.join(":") },
  });
  try {
    for (const [direction, option] of [
      ["from the guest", ""],
      ["to the guest", "--reverse"],
    ]) {
      const text = await run(`iperf3 --client 10.86.0.254 --time ${SECONDS} --interval 0 --format m ${option}`);
      const rate = Number(/([\d.]+) Mbits\/sec +receiver/.exec(text)?.[1]);
      console.log(`iperf3 ${direction}: ${rate} Mbit/s`);
      assert.ok(rate >= 200, text);
    }
  } finally {
    server.kill();
  }
});

test("a thousand connections are held, and ten thousand leave nothing behind", { skip }, async () => {
  const server = await listenEcho(5202);
  const connect = "exec {fd}<>/dev/tcp/10.86.0.254/5202 || failed=$((failed + 1))";
  try {
    console.log(`at the start: ${memory()}`);
    await run(`failed=0; for i in $(seq ${HELD}); do ${connect}; fds+=($fd); done`);
    assert.equal(server.open, HELD);
    await run(`sleep ${HELD_SECONDS}`);
    const echo =
      "for fd in ${fds[@]}; do echo say$fd >&$fd; done; for fd in ${fds[@]}; do read -r -u $fd a; [ $a = say$fd ]";
    assert.match(await run(`${echo} || failed=$((failed + 1)); done; echo failed: $failed.`), /\nfailed: 0\./);
    console.log(`${server.open} held for ${HELD_SECONDS} s: ${memory()}`);
    await run("for fd in ${fds[@]}; do exec {fd}>&-; done; fds=()");
    for (let round = 1; round <= ROUNDS; round++) {
      const count = OPENED / ROUNDS;
      const text = await run(`for i in $(seq ${count}); do ${connect}; exec {fd}>&-; done; echo failed: $failed.`);
      assert.match(text, /\nfailed: 0\./);
      console.log(`${server.accepted - HELD} opened and closed: ${memory()}`);
    }
    for (let patience = 100; server.open > 0 && patience > 0; patience--) await new Promise((r) => setTimeout(r, 100));
    assert.equal(server.open, 0);
    assert.equal(server.accepted, HELD + OPENED);
    // What the guest itself still knows of them.
    console.log(
      (await run("cat /proc/net/sockstat"))
        .split("\n")
        .filter((line) => /^TCP/.test(line))
        .join(),
    );
  } finally {
    server.close();
  }
});

test("ten thousand connections leave the process as large as it was", { skip }, () => {
  // Flags of V8 that hold for workers too can only be given to a new process.
  const program = fileURLToPath(new URL("network-memory.mjs", import.meta.url));
  const { status, stdout } = spawnSync(process.execPath, ["--gc-global", "--max-semi-space-size=1", program], {
    stdio: ["ignore", "pipe", "inherit"],
    encoding: "utf8",
  });
  console.log(stdout.trim());
  assert.equal(status, 0, stdout);
});
