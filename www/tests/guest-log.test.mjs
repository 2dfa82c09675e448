/** Lines found in console output. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { GuestLog } from "../lib/guest-log.js";

const bytes = (text) => new TextEncoder().encode(text);

test("lines and characters may be split anywhere", () => {
  const lines = [];
  const log = new GuestLog((line) => lines.push(line));
  const whole = bytes("grüße\r\ndinghy:docker-ready\r\nlast");
  for (const byte of whole) log.append(Uint8Array.of(byte));
  assert.deepEqual(lines, ["grüße", "dinghy:docker-ready"]);
  assert.deepEqual(log.lastLines(2), ["dinghy:docker-ready", "last"]);
});

test("colours and titles are left out", () => {
  const log = new GuestLog();
  log.append(bytes("\x1b[1;32mok\x1b[0m \x1b]0;title\x07done\n"));
  assert.equal(log.text(), "ok done\n");
});

test("a guest cannot fill memory", () => {
  const log = new GuestLog();
  for (let round = 0; round < 100; round += 1) log.append(bytes("x".repeat(10_000)));
  assert.equal(log.text().length, 4096);
  for (let line = 0; line < 6000; line += 1) log.append(bytes(`${line}\n`));
  assert.equal(log.text().split("\n").length, 5001);
  assert.deepEqual(log.lastLines(1), ["5999"]);
});
