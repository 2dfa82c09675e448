/** Checks of what a user of the package states. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { checkEngine, Machine } from "../lib/node/index.js";

test("an engine is known by its name", () => {
  for (const name of ["auto", "interp", "jit"]) assert.equal(checkEngine(name), name);
});

test("a processor that there is not is refused before anything is started", async () => {
  await assert.rejects(Machine.boot({ kernel: "vmlinux", cpu: "v4" }), {
    name: "DinghyError",
    message: 'There is no processor "v4"; use v1 or v2 or v3 or max.',
  });
});

test("an engine that there is not is refused before anything is started", async () => {
  await assert.rejects(Machine.boot({ kernel: "vmlinux", engine: "jet" }), {
    name: "DinghyError",
    message: 'There is no engine "jet"; use auto or interp or jit.',
  });
});
