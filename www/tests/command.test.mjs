/** The `dinghy` command as a process: what it says and how it ends on bad input. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { openDisk, readImage } from "../lib/node/files.js";

const command = fileURLToPath(new URL("../bin/dinghy.mjs", import.meta.url));

function dinghy(...words) {
  return spawnSync(process.execPath, [command, ...words], { encoding: "utf8", input: "", timeout: 60_000 });
}

test("help goes to stdout, with exit code 0", () => {
  const { status, stdout } = dinghy("--help");
  assert.equal(status, 0);
  assert.match(stdout, /^Usage: dinghy run \[options\]/);
});

test("an unknown option is one line on stderr, with exit code 2", () => {
  const { status, stdout, stderr } = dinghy("run", "--fast");
  assert.equal(status, 2);
  assert.equal(stdout, "");
  assert.equal(stderr, "dinghy: Unknown option '--fast'; see `dinghy --help`.\n");
});

describe("files", () => {
  let folder;
  const file = (name) => join(folder, name);
  before(() => (folder = mkdtempSync(join(tmpdir(), "dinghy-test-"))));
  after(() => rmSync(folder, { recursive: true }));

  test("a missing kernel is named", () => {
    assert.throws(() => readImage("kernel", file("none")), /The kernel .*none cannot be opened \(ENOENT/);
  });

  test("a damaged gzip file is no kernel", () => {
    writeFileSync(file("bad.gz"), Uint8Array.of(0x1f, 0x8b, 1, 2, 3));
    assert.throws(() => readImage("kernel", file("bad.gz")), /damaged gzip file/);
  });

  test("an initial RAM file system stays packed", () => {
    const packed = Uint8Array.of(0x1f, 0x8b, 1, 2, 3);
    writeFileSync(file("initrd.gz"), packed);
    assert.deepEqual(new Uint8Array(readImage("initial RAM file system", file("initrd.gz"))), packed);
  });

  test("a disk must be made of whole sectors", () => {
    writeFileSync(file("odd.img"), new Uint8Array(1000));
    assert.throws(() => openDisk({ path: file("odd.img"), writes: "through" }), /1000 bytes.*512-byte sectors/);
  });

  test("a folder is no disk", () => {
    assert.throws(() => openDisk({ path: folder, writes: "refused" }), /cannot be opened \(it is not a file\)/);
  });

  test("writes to a disk reach its file", () => {
    writeFileSync(file("disk.img"), new Uint8Array(2048));
    const disk = openDisk({ path: file("disk.img"), writes: "through" });
    disk.write(
      512,
      Uint8Array.from({ length: 512 }, () => 7),
    );
    disk.flush();
    assert.equal(disk.sizeBytes, 2048);
    assert.deepEqual(readImage("kernel", file("disk.img")).subarray(510, 514), Buffer.from([0, 0, 7, 7]));
    assert.deepEqual(disk.read(1022, 4), Uint8Array.of(7, 7, 0, 0));
  });
});
