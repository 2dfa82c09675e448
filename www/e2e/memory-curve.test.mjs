/**
 * Memory and live modules while the guest runs one program after the other, all with code of their own.
 * `DINGHY_CURVE_SECONDS` sets for how long.
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
const PATIENCE_MS = 300_000;
/** What generations of modules come to when each is packed into the next. */
const MOST_MODULES = 80;
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

before(async () => {
  const folder = mkdtempSync(join(tmpdir(), "dinghy-curve-"));
  const source = fileURLToPath(new URL("guest/churn.c", import.meta.url));
  execFileSync("gcc", ["-Wall", "-Werror", "-O2", "-static", "-s", "-o", join(folder, "churn"), source]);
  const churn = readFileSync(join(folder, "churn"));
  rmSync(folder, { recursive: true });
  machine = await Machine.boot({
    kernel: fileURLToPath(new URL("../../build/kernel/vmlinux", import.meta.url)),
    disks: [
      {
        path: fileURLToPath(new URL("../../build/guest/guest.ext4", import.meta.url)),
        writes: "overlay",
        identity: "-",
      },
    ],
    shares: [{ tag: "files", files: { churn: { contents: churn, permissions: 0o755 } } }],
  });
  machine.console.onData((bytes) => (shown += Buffer.from(bytes).toString()));
  machine.on("status", (status) => (statistics = status.statistics));
  await waitFor(/[#$] $/);
  machine.console.write("bind 'set enable-bracketed-paste off'; stty -echo; mkdir -p /run/files && mount -t 9p -o trans=virtio,version=9p2000.L files /run/files\n");
  machine.console.write("cp /run/files/churn /tmp/; until docker info >/dev/null 2>&1; do sleep 0.5; done; echo U''P\n");
  await waitFor(/UP\r?$/m);
}, PATIENCE_MS);

after(async () => {
  machine?.stop();
  await machine?.gone;
});

test("memory and modules stay bounded", async () => {
  const samples = [];
  const start = Date.now();
  console.log("seconds  resident MB  modules live  compiled  regions live  evicted  code MB");
  for (let number = 0; Date.now() - start < SECONDS * 1000; number++) {
    shown = "";
    machine.console.write(`${PROGRAMS[number % PROGRAMS.length]}; echo "ended $?"\n`);
    await waitFor(/^ended \d+\r?$/m);
    assert.match(shown, /^ended 0\r?$/m);
    assert.doesNotMatch(shown, /WRONG/);
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
  assert.ok(growth <= TOLERANCE_MB, `${growth} MB more`);
});
