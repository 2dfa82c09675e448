/** Looking after the images in the cache: the limit and pins, and archives of them. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtemp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { gzipSync } from "node:zlib";

import { Images, openCacheFolder } from "../lib/node/index.js";
import { Registry } from "../lib/registry/registry.js";
import { digestOf, makeImage } from "./registry-upstream.mjs";

let folder;
let files;
let images;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "dinghy-images-"));
  files = await openCacheFolder(join(folder, "cache"));
  images = new Images(files);
});
afterEach(() => rm(folder, { recursive: true }));

/** Pushes an image as Docker does, with a layer of so many bytes. */
async function push(registry, name, size, fill) {
  const [repository, tag] = name.split(":");
  const image = makeImage(Buffer.alloc(size, fill));
  const send = async (method, target, body) => {
    const headers = new Headers({ host: "registry.dinghy.internal" });
    const answer = await registry.answer({ method, target, headers, body: new Blob(body ? [body] : []).stream() });
    assert.ok(answer.status < 300, `${method} ${target}: ${answer.status}`);
    return answer.headers.get("location");
  };
  for (const blob of [image.layer, image.config]) {
    const upload = await send("POST", `/v2/${repository}/blobs/uploads/`);
    await send("PUT", `${upload}?digest=${digestOf(blob)}`, blob);
  }
  await send("PUT", `/v2/${repository}/manifests/${tag}`, image.manifest);
  return image;
}

/** Names without the registry's own, with when they were used made different. */
const names = async () => (await images.list()).map(({ name }) => name.replace("registry.dinghy.internal/", ""));
const blobs = () => readdir(join(folder, "cache/blobs/sha256"));
const archived = async (stream) => new Blob([await new Response(stream).arrayBuffer()]);
const pause = () => new Promise((resolve) => setTimeout(resolve, 5));

test("the least recently used images are forgotten above the limit, but no pinned one", async () => {
  const events = [];
  const registry = new Registry(files, [], (event) => events.push(event), 310_000);
  await push(registry, "first:1", 100_000, 1);
  await pause();
  await push(registry, "second:1", 100_000, 2);
  await images.pin("registry.dinghy.internal/first:1", true);
  await pause();
  await push(registry, "third:1", 100_000, 3);
  await pause();
  // A fourth is too much: the first is older, but pinned.
  await push(registry, "fourth:1", 100_000, 4);
  while (!events.some(({ kind }) => kind === "forgotten")) await pause();
  assert.deepEqual(await names(), ["first:1", "fourth:1", "third:1"]);
  assert.ok((await images.bytes()) <= 310_000);
  assert.equal((await blobs()).length, 9);
  const [{ isPinned, bytes, usedAt }] = await images.list();
  assert.ok(isPinned && bytes > 100_000 && usedAt > Date.now() - 60_000);
  // What is larger than the limit by itself stays until something else comes.
  await images.pin("registry.dinghy.internal/first:1", false);

  assert.equal((await images.trim(1)).length, 2);
  assert.deepEqual(await names(), ["fourth:1"]);
  await images.forget("registry.dinghy.internal/fourth:1");
  assert.deepEqual(await blobs(), []);
  await assert.rejects(images.pin("registry.dinghy.internal/fourth:1", true), /no image/);
});

test("images that share a layer keep it until the last one is forgotten", async () => {
  const registry = new Registry(files, [], () => undefined);
  await push(registry, "one:1", 1000, 7);
  await push(registry, "two:1", 1000, 7);
  await images.forget("registry.dinghy.internal/one:1");
  assert.equal((await blobs()).length, 3);
  assert.equal((await images.trim(10_000)).length, 0);
});

test("an exported image is an OCI layout, and comes back from it", async () => {
  const registry = new Registry(files, [], () => undefined);
  const image = await push(registry, "a/thing:1", 50_000, 5);
  const name = "registry.dinghy.internal/a/thing:1";
  const archive = await archived(await images.export(name));
  // As tar sees it.
  await writeFile(join(folder, "image.tar"), Buffer.from(await archive.arrayBuffer()));
  await mkdir(join(folder, "layout"));
  execFileSync("tar", ["--extract", "--file", join(folder, "image.tar"), "--directory", join(folder, "layout")]);
  const index = JSON.parse(await readFile(join(folder, "layout/index.json"), "utf8"));
  assert.equal(index.manifests[0].digest, digestOf(image.manifest));
  assert.equal(index.manifests[0].annotations["org.opencontainers.image.ref.name"], name);
  const layer = await readFile(join(folder, "layout/blobs/sha256", digestOf(image.layer).slice(7)));
  assert.deepEqual(layer, image.layer);

  await images.forget(name);
  for (const form of [archive, new Blob([gzipSync(Buffer.from(await archive.arrayBuffer()))])]) {
    assert.deepEqual(await images.import(form), [name]);
    assert.deepEqual(await names(), ["a/thing:1"]);
  }
  await images.forget(name);
  await assert.rejects(images.export(name), /no image/);
});

test("what docker save makes is taken, in its old form as well", async () => {
  const save = join(folder, "save");
  await mkdir(join(save, "abc"), { recursive: true });
  const { config, layer } = makeImage(Buffer.alloc(3000, 9));
  await writeFile(join(save, "config.json"), config);
  await writeFile(join(save, "abc/layer.tar"), layer);
  const manifest = [{ Config: "config.json", RepoTags: ["busy:2"], Layers: ["abc/layer.tar"] }];
  await writeFile(join(save, "manifest.json"), JSON.stringify(manifest));
  const tar = execFileSync("tar", ["--create", "--format=pax", "--directory", save, "."]);
  assert.deepEqual(await images.import(new Blob([tar])), ["library/busy:2"]);
  // Docker finds it by its name, at the mirror.
  const registry = new Registry(files, [], () => undefined);
  const headers = new Headers({ host: "10.86.0.253" });
  const target = "/v2/library/busy/manifests/2?ns=docker.io";
  const answer = await registry.answer({ method: "GET", target, headers, body: new Blob([]).stream() });
  assert.equal(answer.status, 200);
  assert.equal((await answer.json()).layers[0].digest, digestOf(layer));
});

test("an image whose manifest is damaged is said to be", async () => {
  const registry = new Registry(files, [], () => undefined);
  const { manifest } = await push(registry, "first:1", 1000, 1);
  await push(registry, "second:1", 1000, 2);
  const damaged = async () => (await images.list()).map(({ isDamaged }) => isDamaged);
  assert.deepEqual(await damaged(), [false, false]);
  const changed = Buffer.from(manifest);
  changed[0] ^= 1;
  await writeFile(join(folder, "cache/blobs/sha256", digestOf(manifest).slice(7)), changed);
  images = new Images(files);
  assert.deepEqual(await damaged(), [true, false]);
  // What was found damaged was removed; without it, the image is no better.
  assert.deepEqual(await damaged(), [true, false]);
  await push(registry, "first:1", 1000, 1);
  assert.deepEqual(await damaged(), [false, false]);
});

test("a damaged archive, and what is none, are refused with a sentence", async () => {
  const registry = new Registry(files, [], () => undefined);
  await push(registry, "thing:1", 5000, 5);
  const archive = Buffer.from(
    await (await archived(await images.export("registry.dinghy.internal/thing:1"))).arrayBuffer(),
  );
  await images.forget("registry.dinghy.internal/thing:1");
  const damaged = Buffer.from(archive);
  damaged[damaged.indexOf(Buffer.alloc(1000, 5)) + 7] ^= 1;
  await assert.rejects(images.import(new Blob([damaged])), /archive is damaged/);
  await assert.rejects(images.import(new Blob([archive.subarray(0, 3000)])), { name: "DinghyError" });
  await assert.rejects(images.import(new Blob([Buffer.alloc(5000, 1)])), /no archive of an image/);
  await assert.rejects(images.import(new Blob([])), /no images/);
  assert.deepEqual(await images.list(), []);
});
