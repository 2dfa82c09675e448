/** Checks of what a user of the package states. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { checkEngine, Machine } from "../lib/node/index.js";

test("an engine is known by its name", () => {
  for (const name of ["auto", "interp", "jit"]) assert.equal(checkEngine(name), name);
});

test("an engine that there is not is refused before anything is started", async () => {
  await assert.rejects(Machine.boot({ kernel: "vmlinux", engine: "jet" }), {
    name: "DinghyError",
    message: 'There is no engine "jet"; use auto or interp or jit.',
  });
});
