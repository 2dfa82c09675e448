/** A virtio disk under fio, which reads back all that it has written. `DINGHY_FIO_MIB` sets how much of the disk it uses. */

import assert from "node:assert/strict";
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { Machine } from "../lib/node/index.js";
import { programWithLibraries } from "./packages.mjs";
import { Terminal } from "./terminal.mjs";

const MIB = Number(process.env.DINGHY_FIO_MIB ?? 48);
const PATIENCE_MS = 300_000 + MIB * 2_000;
const build = (path) => fileURLToPath(new URL(`../../build/${path}`, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "dinghy-fio-"));

let machine;
let terminal;

before(async () => {
  const empty = join(folder, "empty.img");
  const file = openSync(empty, "w");
  ftruncateSync(file, 512 << 20);
  closeSync(file);
  machine = await Machine.boot({
    kernel: build("kernel/vmlinux"),
    disks: [
      { path: build("guest/guest.ext4"), writes: "overlay", identity: "-" },
      // What is written stays in memory.
      { path: empty, writes: "overlay", identity: "empty" },
    ],
    shares: [{ tag: "fio", folder: programWithLibraries("fio", "usr/bin/fio"), readOnly: true }],
    size: { columns: 400, rows: 50 },
  });
  terminal = new Terminal(machine, PATIENCE_MS);
  await terminal.ready();
  const copied = await terminal.run(
    "mkdir /mnt/fio && mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 fio /mnt/fio && cp -r /mnt/fio /run/fio && umount /mnt/fio",
  );
  assert.deepEqual(copied, { text: "", status: 0 });
});
after(async () => {
  machine.stop();
  await machine.gone;
  rmSync(folder, { recursive: true });
});

/** Runs fio on the second disk; what it tells of its one job. */
async function fio(options) {
  const words = Object.entries({ name: "job", filename: "/dev/vdb", direct: 1, size: `${MIB}m`, ...options });
  const { text, status } = await terminal.run(
    `/run/fio/ld.so --library-path /run/fio /run/fio/fio --output-format=json ${words.map(([name, value]) => `--${name}=${value}`).join(" ")}`,
  );
  assert.equal(status, 0, text);
  const [job] = JSON.parse(text.slice(text.indexOf("{"))).jobs;
  assert.equal(job.error, 0, text);
  return job;
}

for (const [name, options] of Object.entries({
  "written in sequence": { rw: "write", bs: "64k", ioengine: "libaio", iodepth: 8 },
  "written at random, reading meanwhile": {
    rw: "randrw",
    bsrange: "512-64k",
    bs_unaligned: 0,
    ioengine: "libaio",
    iodepth: 16,
    norandommap: 0,
  },
  "written at random by single pages": { rw: "randwrite", bs: "4k", ioengine: "psync", fsync: 64 },
  "trimmed and written": { rw: "randtrimwrite", bs: "64k", ioengine: "psync" },
})) {
  test(`what fio has ${name} is there`, async () => {
    const job = await fio({ ...options, verify: "crc32c", verify_fatal: 1, do_verify: 1 });
    console.log(
      `figures: ${name}: written ${job.write.io_kbytes} KiB, read ${job.read.io_kbytes} KiB without an error`,
    );
    assert.ok(job.write.io_kbytes > 0);
  });
}

test("a disk in memory is read in sequence at 300 MB/s", async () => {
  const whole = { bs: "1m", size: "256m", ioengine: "libaio", iodepth: 4 };
  await fio({ ...whole, rw: "write" });
  const { read } = await fio({ ...whole, rw: "read", loops: 4 });
  const speed = Math.round(read.bw_bytes / 1e6);
  console.log(`figures: ${read.io_kbytes} KiB read in sequence at ${speed} MB/s`);
  assert.ok(speed >= 300, `${speed} MB/s`);
});
