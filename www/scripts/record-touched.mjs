/**
 * Goes on with a saved guest in node, has Docker answer and run a first container, and lists the pages of memory that were
 * touched until then: node scripts/record-touched.mjs SNAPSHOT FILE
 */

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { Machine } from "../lib/node/index.js";

/** Far more than it takes on a busy machine. */
const PATIENCE_MS = 600_000;

/** The list is written twice a second. */
const WRITTEN_MS = 2_000;

const [snapshot, recordTouched] = process.argv.slice(2);
if (recordTouched === undefined) throw new Error("name the snapshot and the file for the list");
const image = (path) => fileURLToPath(new URL(`../../build/${path}`, import.meta.url));
const manifest = JSON.parse(readFileSync(image("guest/chunks/manifest.json"), "utf8"));

const machine = await Machine.restore({
  snapshot,
  recordTouched,
  disks: [{ path: image("guest/guest.ext4"), writes: "overlay", identity: manifest.image }],
  size: { columns: 100, rows: 30 },
});
const patience = setTimeout(() => fail("the guest does not answer"), PATIENCE_MS);
machine.on("exit", ({ reason }) => fail(`the machine has ended (${reason})`));
let shown = "";
const decoder = new TextDecoder();
machine.console.onData((bytes) => {
  shown += decoder.decode(bytes, { stream: true });
});
await run("docker ps", /CONTAINER ID/);
await run("docker run --rm busybox echo hello", /^hello/m);
// A prompt, as it waits for the next command.
await new Promise((resolve) => setTimeout(resolve, WRITTEN_MS));
clearTimeout(patience);
process.exit(0);

/** Types a command, and waits for its answer and its end. */
async function run(command, answer) {
  shown = "";
  machine.console.write(`${command}; echo done:$?\n`);
  while (!(answer.test(shown) && /^done:0/m.test(shown))) await new Promise((resolve) => setTimeout(resolve, 50));
}

function fail(why) {
  console.error(`what the snapshot needs first cannot be recorded: ${why}; the guest has shown:\n${shown}`);
  process.exit(1);
}
