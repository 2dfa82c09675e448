/** Directories in memory that the guest mounts over 9p: what a file system must do, and how fast. `DINGHY_ENTRIES` sets how many entries a directory gets. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { Machine } from "../lib/node/index.js";

const BOOT_MS = 300_000;
const ENTRIES = Number(process.env.DINGHY_ENTRIES ?? 2_000);
const CHECKS_MS = 300_000 + ENTRIES * 10;

let machine;
let shown = "";
const blob = randomBytes(128 << 20);

/** Types a line, and waits for what it shows. */
async function run(command, pattern, patience) {
  shown = "";
  machine.console.write(`${command}\n`);
  return waitFor(pattern, patience);
}

async function waitFor(pattern, patience) {
  const deadline = Date.now() + patience;
  while (!pattern.test(shown)) {
    assert.ok(Date.now() < deadline, `no ${pattern} in: ${shown.slice(-2000)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return shown;
}

before(async () => {
  const folder = mkdtempSync(join(tmpdir(), "dinghy-shares-"));
  const source = fileURLToPath(new URL("guest/shares.c", import.meta.url));
  execFileSync("gcc", ["-Wall", "-Werror", "-O2", "-static", "-s", "-o", join(folder, "shares"), source]);
  const checks = readFileSync(join(folder, "shares"));
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
    shares: [
      {
        tag: "files",
        capacityMiB: 512,
        files: {
          blob,
          "folder/small": "small",
          "folder/digest": createHash("sha256").update(blob).digest("hex"),
          shares: { contents: checks, permissions: 0o755 },
          "shares.sh": {
            contents: readFileSync(new URL("guest/shares.sh", import.meta.url)),
            permissions: 0o755,
          },
        },
      },
      { tag: "fixed", readOnly: true, files: { note: "cannot be changed" } },
    ],
  });
  const decoder = new TextDecoder();
  machine.console.onData((bytes) => {
    // What a terminal would not show: returns, and how to paste.
    const text = decoder.decode(bytes, { stream: true });
    shown += ["\r", "\u001b[?2004h", "\u001b[?2004l"].reduce((rest, code) => rest.replaceAll(code, ""), text);
  });
  await waitFor(/[#$] $/, BOOT_MS);
});
after(() => machine.stop());

const MOUNT = "mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000";

test("a directory in memory is a file system", async () => {
  // Docker starts in the background; the figures shall not show that.
  await run("until [ -e /run/dinghy/docker-ready ]; do sleep 0.1; done; echo up $((6 * 7))", /^up 42$/m, BOOT_MS);
  await run(`mkdir /mnt/files && ${MOUNT} files /mnt/files; echo "mounted $?"`, /^mounted 0$/m, BOOT_MS);
  const text = await run(
    `/mnt/files/shares.sh /mnt/files ${ENTRIES}; echo "checked $((6 * 7))"`,
    /^checked 42$/m,
    CHECKS_MS,
  );
  const lines = text.split("\n");
  assert.deepEqual(
    lines.filter((line) => line.startsWith("WRONG")),
    [],
  );
  assert.equal(lines.filter((line) => line.startsWith("right: ")).length, 44, text);
  console.log(lines.filter((line) => line.startsWith("figures: ")).join());
});

test("a read-only directory is not written to", async () => {
  await run(`mkdir /mnt/fixed && ${MOUNT} fixed /mnt/fixed; echo "mounted $?"`, /^mounted 0$/m, BOOT_MS);
  const text = await run(
    "echo x >/mnt/fixed/note; cat /mnt/fixed/note; echo; rm /mnt/fixed/note; echo done $((1 + 1))",
    /^done 2$/m,
    BOOT_MS,
  );
  assert.match(text, /^cannot be changed$/m);
  assert.equal(text.match(/Read-only file system/g)?.length, 2, text);
});
