/** A directory of this computer as what serves a share, and the service in front of it. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

import { FileService } from "../lib/files/service.js";
import { HostDirectory } from "../lib/node/directory.js";

const outside = mkdtempSync(join(tmpdir(), "dinghy-directory-"));
const inside = join(outside, "inside");
mkdirSync(join(inside, "folder"), { recursive: true });
writeFileSync(join(outside, "secret"), "secret");
writeFileSync(join(inside, "folder/file"), "text");
symlinkSync("..", join(inside, "up"));
symlinkSync("../secret", join(inside, "link"));
symlinkSync(outside, join(inside, "out"));
execFileSync("mkfifo", [join(inside, "pipe")]);
const directory = new HostDirectory(inside);
after(() => {
  directory.end();
  rmSync(outside, { recursive: true });
});

const READ = { read: true, write: false, truncate: false };
const WRITE = { read: false, write: true, truncate: true };

test("no path leads out of the directory", () => {
  for (const path of [
    "..",
    "../secret",
    "folder/../../secret",
    "folder//file",
    "./folder",
    "folder/.",
    "/secret",
    "a\0b",
  ]) {
    assert.throws(() => directory.stat(path), { code: "EINVAL" }, path);
    assert.throws(() => directory.open(path, READ), { code: "EINVAL" }, path);
    assert.throws(() => directory.rename("folder/file", path), { code: "EINVAL" }, path);
  }
  for (const path of ["up/secret", "out/secret", "up/inside/folder", "out/inside/folder/file"]) {
    assert.throws(() => directory.stat(path), { code: "ENOTDIR" }, path);
    assert.throws(() => directory.open(path, WRITE), { code: "ENOTDIR" }, path);
    assert.throws(() => directory.remove(path), { code: "ENOTDIR" }, path);
    assert.throws(() => directory.link("folder/file", path), { code: "ENOTDIR" }, path);
  }
  for (const path of ["up", "out"]) assert.throws(() => directory.list(path), { code: "ENOTDIR" }, path);
});

test("links are seen and not followed", () => {
  assert.equal(directory.stat("link").kind, "link");
  assert.equal(directory.readLink("link"), "../secret");
  assert.throws(() => directory.open("link", READ), { code: "ELOOP" });
  assert.throws(() => directory.open("link", WRITE), { code: "ELOOP" });
  assert.throws(() => directory.change("link", { size: 0 }), { code: "ELOOP" });
  assert.throws(() => directory.change("link", { permissions: 0o777 }), { code: "EOPNOTSUPP" });
  directory.change("link", { modified: 1000 });
  assert.equal(directory.stat("link").modified, 1000);
  assert.equal(readFileSync(join(outside, "secret"), "utf8"), "secret");
  assert.throws(() => directory.create("link", { permissions: 0o644, user: 0, group: 0 }, READ), { code: "EEXIST" });
});

test("what is no regular file is not opened", () => {
  assert.equal(directory.stat("pipe").kind, "fifo");
  assert.throws(() => directory.open("pipe", READ), { code: "EPERM" });
  assert.throws(() => directory.open("folder", READ), { code: "EPERM" });
  assert.deepEqual(
    directory
      .list("")
      .map(({ name, kind }) => `${name} ${kind}`)
      .sort(),
    ["folder directory", "link link", "out link", "pipe fifo", "up link"],
  );
});

test("the service answers every operation, in order for one file, and names its errors", async () => {
  const answers = new Map();
  const failures = [];
  const odd = {
    stat: () => {
      throw new Error("odd");
    },
    list: () => [],
    open: () => ({ read: () => new Uint8Array(9) }),
  };
  const service = new FileService(
    directory,
    "t",
    (answer) => answers.set(answer.id, answer),
    (text) => failures.push(text),
  );
  let id = 0;
  const ask = (operation, data) => {
    id += 1;
    service.take({ type: "operation", share: 0, id, operation: JSON.stringify(operation), data });
  };
  const fresh = { permissions: 0o600, user: process.getuid(), group: process.getgid() };
  ask({ kind: "create", path: "new", handle: 1, read: true, new: fresh });
  ask({ kind: "write", handle: 1, offset: 0, length: 3 }, Buffer.from("abc"));
  ask({ kind: "read", handle: 1, offset: 1, length: 9 });
  ask({ kind: "stat", path: "new", handle: 1 });
  ask({ kind: "stat", path: "missing", handle: null });
  ask({ kind: "read", handle: 7, offset: 0, length: 1 });
  service.take({ type: "operation", share: 0, id: 0, operation: '{"kind":"close","handle":1}', data: undefined });
  service.replaceProvider(odd);
  ask({ kind: "stat", path: "x", handle: null });
  ask({ kind: "makeDirectory", path: "x", new: fresh });
  ask({ kind: "open", path: "x", handle: 2, read: true, write: false, truncate: false });
  ask({ kind: "read", handle: 2, offset: 0, length: 4 });
  for (let waited = 0; answers.size < id; waited += 1) {
    assert.ok(waited < 1000, "not all is answered");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.deepEqual(
    [...answers.values()].sort((a, b) => a.id - b.id).map(({ errno }) => errno),
    [0, 0, 0, 0, 2, 9, 5, 95, 0, 5],
  );
  assert.equal(Buffer.from(answers.get(3).data).toString(), "bc");
  assert.equal(JSON.parse(answers.get(4).json).size, 3);
  assert.deepEqual(failures, ["The share t has failed: odd. The guest sees an I/O error."]);
});
