/** What the guest does does not depend on what executes it: with time counted in instructions, runs are equal to the last one. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const path = (name) => fileURLToPath(new URL(`../../build/${name}`, import.meta.url));
const PATIENCE_MS = 300_000;
/** Beside the interpreter. `DINGHY_ENGINES=auto,jit` adds what compiles everything at first sight, for minutes. */
const ENGINES = (process.env.DINGHY_ENGINES ?? "auto").split(",");
/** System calls, threads and their timers; `DINGHY_PROGRAMS` names others of the yardstick. */
const PROGRAMS = process.env.DINGHY_PROGRAMS ?? "fib,openclose,threads";

/** Boots the yardstick's guest, and gives what it prints and how many instructions it took. */
function run(engine) {
  const command = fileURLToPath(new URL("../bin/dinghy.mjs", import.meta.url));
  const words = ["console=hvc0", "quiet", `bench=${PROGRAMS}`].join(" ");
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    [command, "run", "--kernel", path("kernel/vmlinux"), "--initrd", path("bench/bench.cpio")].concat([
      "--clock",
      "icount",
      "--engine",
      engine,
      "--stats",
      "--append",
      words,
    ]),
    { encoding: "utf8", timeout: PATIENCE_MS, maxBuffer: 1 << 24 },
  );
  assert.equal(status, 0, `${engine}: ${stdout.slice(-2000)}${stderr.slice(-2000)}`);
  const statistics = JSON.parse(stderr.trim().split("\n").at(-1));
  return { console: stdout, instructions: statistics.instructions, compiled: statistics.compiledInstructions };
}

test("the guest prints the same after the same number of instructions with each engine", () => {
  const interpreted = run("interp");
  assert.match(interpreted.console, /RUN warm/);
  for (const engine of ENGINES) {
    const { console: printed, instructions, compiled } = run(engine);
    console.log(`${engine}: ${instructions} instructions, ${((compiled / instructions) * 100).toFixed(1)} % compiled`);
    assert.ok(compiled > instructions / 2, "most of it is compiled");
    assert.equal(instructions, interpreted.instructions);
    assert.equal(printed, interpreted.console);
  }
});
