/** What `--stats` prints. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Totals } from "../lib/node/statistics.js";

test("a run's figures are sums over its boots, or what the last boot had", () => {
  const totals = new Totals();
  totals.add({
    instructions: 1_000_000,
    compiledInstructions: 400_000,
    regionsCompiled: 7,
    regions: 5,
    cachedBlocks: 90,
  });
  totals.add({
    instructions: 3_000_000,
    compiledInstructions: 600_000,
    regionsCompiled: 3,
    regions: 2,
    cachedBlocks: 80,
  });
  assert.deepEqual(JSON.parse(totals.line({ wall: 4, cpu: 2 })), {
    instructions: 4_000_000,
    wallSeconds: 4,
    cpuSeconds: 2,
    mips: 2,
    compiledInstructions: 1_000_000,
    regionsCompiled: 10,
    regions: 2,
    cachedBlocks: 80,
  });
});

test("a run that never came to execute anything has retired nothing", () => {
  const line = JSON.parse(new Totals().line({ wall: 1, cpu: 1 }));
  assert.deepEqual(line, { instructions: 0, wallSeconds: 1, cpuSeconds: 1, mips: 0 });
});
