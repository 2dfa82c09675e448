/**
 * Boots the guest in node as the page does, waits until Docker is ready, has the guest make itself ready to be saved,
 * and saves the machine: node scripts/save-snapshot.mjs FILE
 */

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { DEFAULT_COMMAND_LINE, Machine } from "../lib/node/index.js";

/** Far more than it takes on a busy machine. */
const PATIENCE_MS = 900_000;

/** As on the page: what is some seconds old goes to the disk, since a tab closes without asking the guest. */
const WRITE_SOON = "sysctl.vm.dirty_expire_centisecs=300 sysctl.vm.dirty_writeback_centisecs=100";

const [target] = process.argv.slice(2);
if (target === undefined) throw new Error("name the file for the snapshot");
const image = (path) => fileURLToPath(new URL(`../../build/${path}`, import.meta.url));

const manifest = JSON.parse(readFileSync(image("guest/chunks/manifest.json"), "utf8"));

const startedAt = performance.now();
const since = () => `${((performance.now() - startedAt) / 1000).toFixed(1)} s`;
const machine = await Machine.boot({
  kernel: image("kernel/vmlinux"),
  // By its digest, the page knows whether the snapshot fits the image in chunks.
  disks: [{ path: image("guest/guest.ext4"), writes: "overlay", identity: manifest.image }],
  // The start-up share of whoever goes on with it, and a directory that the page may share later.
  shares: [
    { tag: "dinghy.start-up", files: {}, readOnly: true },
    { tag: "host", files: {} },
  ],
  // Programs are read page by page, so that what is not needed is not in memory, and not saved.
  commandLine: `${DEFAULT_COMMAND_LINE} READAHEAD_KIB=4 ${WRITE_SOON}`,
});
const patience = setTimeout(() => fail("the guest is not ready yet"), PATIENCE_MS);
machine.on("exit", ({ reason }) => fail(`the machine has ended (${reason})`));
await mark("docker-ready");
console.log(`snapshot: Docker ready after ${since()}`);
// In the background, with nothing shown: the user finds a fresh prompt.
machine.console.write(" /usr/lib/dinghy/settle; clear\n");
await mark("settled");
// The shell has shown its prompt, and the daemons have gone back to sleep.
await new Promise((resolve) => setTimeout(resolve, 2_000));
const saved = new Uint8Array(await (await machine.save()).arrayBuffer());
writeFileSync(target, saved);
console.log(`snapshot: ${saved.byteLength} bytes, to be compressed better, after ${since()}`);
clearTimeout(patience);
process.exit(0);

/** Waits for a mark on the guest's serial port. */
function mark(name) {
  return new Promise((resolve) => {
    machine.on("phase", (phase) => {
      if (phase.name === "mark" && phase.mark === name) resolve();
    });
  });
}

function fail(why) {
  console.error(`the snapshot cannot be made: ${why}; the guest's last lines:\n${machine.bootLog.slice(-2000)}`);
  process.exit(1);
}
