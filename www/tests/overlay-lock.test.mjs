/** Two machines on one overlay. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { lockOverlay } from "../lib/node/overlay-lock.js";

const folder = mkdtempSync(join(tmpdir(), "dinghy-lock-"));
test.after(() => rmSync(folder, { recursive: true }));

test("an overlay is one machine's until that gives it back", async () => {
  const path = join(folder, "one");
  const release = await lockOverlay(path);
  await assert.rejects(lockOverlay(path), { code: "disk-in-use", message: /in use by another machine/ });
  release();
  assert.equal(existsSync(`${path}.lock`), false);
  (await lockOverlay(path))();
});

test("a living process keeps its overlay, one that was killed does not", async () => {
  const path = join(folder, "two");
  writeFileSync(`${path}.lock`, String(process.ppid));
  await assert.rejects(lockOverlay(path), { code: "disk-in-use" });
  const { pid } = spawnSync(process.execPath, ["-e", ""]);
  writeFileSync(`${path}.lock`, String(pid));
  (await lockOverlay(path))();
});
