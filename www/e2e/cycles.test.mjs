/**
 * A machine that is saved and restored again and again while its Docker works, in node. `DINGHY_CYCLES` sets how often; a
 * cycle takes some six seconds.
 */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { Machine } from "../lib/node/index.js";

const CYCLES = Number(process.env.DINGHY_CYCLES ?? 3);
/** Far more than a container takes on a busy host. */
const PATIENCE_MS = 120_000;
/** Containers that end between two cycles. */
const RUNS = 2;
/** How far the guest's clock may be off, and the time that it takes to ask. */
const DATE_TOLERANCE_S = 1;

const image = (path) => fileURLToPath(new URL(`../../build/guest/${path}`, import.meta.url));
const disks = () => [{ path: image("guest.ext4"), writes: "overlay", identity: manifest.image }];
const manifest = JSON.parse(readFileSync(image("chunks/manifest.json"), "utf8"));

/** A restored machine, and what its terminal shows. */
class Restored {
  shown = "";
  #decoder = new TextDecoder();

  static async of(snapshot) {
    const restored = new Restored();
    restored.machine = await Machine.restore({ snapshot, disks: disks() });
    restored.machine.console.onData((bytes) => {
      restored.shown += restored.#decoder.decode(bytes, { stream: true }).replaceAll("\r", "");
    });
    return restored;
  }

  async until(pattern) {
    const deadline = Date.now() + PATIENCE_MS;
    while (!pattern.test(this.shown)) {
      assert.ok(Date.now() < deadline, `no ${pattern} in: ${this.shown.slice(-2000)}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return pattern.exec(this.shown);
  }

  type(command) {
    this.machine.console.write(`${command}\n`);
  }
}

/** What the guest's container prints for a number. */
const answer = (number) => createHash("sha256").update(`${number}\n`.repeat(1000)).digest("hex");

/** The containers whose lines are shown, all of which must be right. */
function runs(shown) {
  const numbers = [...shown.matchAll(/run (\d+) ([0-9a-f]{64})/g)].map(([, number, digest]) => {
    assert.equal(digest, answer(number), `container ${number}`);
    return Number(number);
  });
  return new Set(numbers);
}

test(`${CYCLES} times saved and restored while containers run, nothing is lost or wrong`, async () => {
  let restored = await Restored.of(image("docker.snapshot"));
  restored.type(
    '(n=0; until [ -e /run/stop ]; do n=$((n + 1)); docker run --rm busybox sh -c "yes $n | head -n 1000 | sha256sum | sed \'s/^/run $n /\'"; done; echo "left $(docker ps -aq | wc -l).") &',
  );
  const seen = new Set();
  let last = 0;
  let savedBytes = 0;
  for (let cycle = 1; cycle <= CYCLES; cycle += 1) {
    last += RUNS;
    await restored.until(new RegExp(`run ${last} [0-9a-f]{64}`));
    // Somewhere in the middle of the next container.
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 1_500));
    const saved = new Uint8Array(await (await restored.machine.save()).arrayBuffer());
    runs(restored.shown).forEach((number) => seen.add(number));
    await restored.machine.stop();
    savedBytes = saved.byteLength;
    last = Math.max(last, ...seen);
    restored = await Restored.of(saved);
  }
  await restored.until(new RegExp(`run ${last + RUNS} [0-9a-f]{64}`));
  restored.type("touch /run/stop");
  const [, left] = await restored.until(/left (\d+)\./);
  assert.equal(left, "0", "containers are left");
  runs(restored.shown).forEach((number) => seen.add(number));
  assert.equal(Math.max(...seen), seen.size, "a container's line is missing");
  const faults = "BUG:|Call Trace|Oops|segfault|general protection|EXT4-fs error|I/O error|hung task|soft lockup";
  restored.type(`clear; dmesg | grep -E '${faults}'; echo looked $((6 * 7))`);
  const [found] = await restored.until(/looked \$.*looked 42$/ms);
  assert.doesNotMatch(found, new RegExp(`^.*\\] .*(${faults}).*$`, "m"));
  console.log(`${CYCLES} cycles, ${seen.size} containers, the last snapshot of ${savedBytes} bytes`);
  await restored.machine.stop();
});

test("of one snapshot come machines of the same time and of other random numbers", async () => {
  const numbers = [];
  for (let time = 0; time < 2; time += 1) {
    const restored = await Restored.of(image("docker.snapshot"));
    restored.type("clear; echo random $(head -c 8 /dev/urandom | od -An -tx1); echo date $(date +%s)");
    const [, number] = await restored.until(/random ([0-9a-f ]+)$/m);
    const [, date] = await restored.until(/date (\d+)$/m);
    assert.ok(Math.abs(Number(date) - Date.now() / 1000) <= DATE_TOLERANCE_S + 1, `the guest's date is ${date}`);
    numbers.push(number);
    await restored.machine.stop();
  }
  assert.notEqual(numbers[0], numbers[1]);
});
