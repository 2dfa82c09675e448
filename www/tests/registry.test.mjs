import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { randomBytes } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";

import { openCacheFolder } from "../lib/node/cache-files.js";
import { registryFetch } from "../lib/node/registry-fetch.js";
import { Network } from "../lib/network/flows.js";
import { nowhere } from "../lib/network/nowhere.js";
import { SERVICES_ADDRESS, withServices } from "../lib/network/services.js";
import { registryServices } from "../lib/registry/service.js";
import { TestPort } from "./network-port.mjs";
import { digestOf, makeImage, TestRegistry } from "./registry-upstream.mjs";

let folder;
let outside;
let events;
let guest;

/** The guest's side: requests as bytes on flows of the test's port. */
class Guest {
  #next = 1;

  constructor(registries) {
    events = [];
    this.port = new TestPort();
    const services = registryServices(openCacheFolder(folder), registries, registryFetch(registries), (event) =>
      events.push(event),
    );
    this.network = new Network(this.port, withServices(nowhere, services), () => undefined);
  }

  /** Sends one request on a connection of its own. Returns status, headers and body; `isCut` if it was reset. */
  async request(method, path, { headers = {}, body } = {}) {
    const flow = this.#next++;
    const head = { host: "registry.dinghy.internal", connection: "close", ...headers };
    if (body) head["content-length"] = body.length;
    const lines = Object.entries(head).map(([name, value]) => `${name}: ${value}\r\n`);
    this.port.command("open", flow, "tcp", SERVICES_ADDRESS, 80);
    this.port.command("send", flow, Buffer.from(`${method} ${path} HTTP/1.1\r\n${lines.join("")}\r\n`));
    if (body) this.port.command("send", flow, body);
    this.network.work();
    const { data, failure } = await this.port.until(flow, (flow) => flow.hasEnded || flow.failure !== undefined);
    const whole = Buffer.concat(data);
    const end = whole.indexOf("\r\n\r\n");
    const [first = "", ...fields] = whole.subarray(0, end).toString().split("\r\n");
    return {
      status: Number(first.split(" ")[1]),
      headers: new Map(fields.map((field) => field.split(/: (.*)/).slice(0, 2))),
      body: whole.subarray(end + 4),
      isCut: failure !== undefined,
    };
  }

  /** Pulls an image as Docker does. */
  async pull(name, tag) {
    const manifest = await this.request("GET", `/v2/${name}/manifests/${tag}`);
    assert.equal(manifest.status, 200, manifest.body.toString());
    assert.equal(manifest.headers.get("docker-content-digest"), digestOf(manifest.body));
    const { config, layers } = JSON.parse(manifest.body.toString());
    const parts = [];
    for (const { digest } of [config, ...layers]) {
      parts.push(await this.request("GET", `/v2/${name}/blobs/${digest}`));
    }
    return parts;
  }

  failures() {
    return events.filter(({ kind }) => kind === "failed").map(({ message }) => message);
  }
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "dinghy-registry-"));
  outside = await new TestRegistry().listen();
  guest = new Guest([outside.url]);
});
afterEach(async () => {
  await outside.close().catch(() => undefined);
  await rm(folder, { recursive: true });
});

test("what was pulled once is there without the registry", async () => {
  const image = makeImage(randomBytes(3_000_000));
  outside.add("library/thing:1", image);
  const [config, layer] = await guest.pull("library/thing", "1");
  assert.deepEqual([config.body, layer.body], [image.config, image.layer]);
  assert.ok(events.some(({ kind, bytes }) => kind === "progress" && bytes === image.layer.length));
  await outside.close();
  // As after a restart.
  guest = new Guest([outside.url]);
  const [, again] = await guest.pull("library/thing", "1");
  assert.deepEqual(again.body, image.layer);
  assert.match(guest.failures().join(), /cannot be reached/);
  assert.equal((await guest.request("GET", "/v2/library/other/manifests/1")).status, 404);
});

test("a registry that wants a token is given one, and where it redirects to is not", async () => {
  outside.token = "abc";
  const elsewhere = await new TestRegistry().listen();
  const image = makeImage(Buffer.from("layer"));
  outside.add("team/app:v1", image);
  elsewhere.add("team/app:v1", image);
  outside.blobHost = elsewhere.url;
  // Another origin on loopback, which only the user's naming it lets be reached.
  guest = new Guest([outside.url, `other=${elsewhere.url}`]);
  const [, layer] = await guest.pull("team/app", "v1");
  assert.equal(layer.body.toString(), "layer");
  assert.equal(outside.scope, "repository:team/app:pull");
  assert.equal(elsewhere.lastAuthorization, undefined);
  await elsewhere.close();
});

test("a registry cannot send the cache to what is private here", async () => {
  const secret = await new TestRegistry().listen();
  const image = makeImage(Buffer.from("layer"));
  outside.add("team/app:v1", image);
  secret.add("team/app:v1", image);
  for (const host of [secret.url, secret.url.replace("127.0.0.1", "localhost")]) {
    outside.blobHost = host;
    const [config] = await guest.pull("team/app", "v1");
    assert.equal(config.status, 404);
  }
  assert.deepEqual(secret.requests, []);
  assert.match(guest.failures().join(), /policy does not allow/);
  await secret.close();
});

test("contents with another digest are cut before their end, told of, and not kept", async () => {
  const image = makeImage(randomBytes(300_000));
  outside.add("library/thing:1", image);
  const tampered = Buffer.from(image.layer);
  tampered[150_000] ^= 1;
  outside.blobs.set(digestOf(image.layer), tampered);
  const [, layer] = await guest.pull("library/thing", "1");
  assert.ok(layer.isCut);
  assert.ok(layer.body.length < image.layer.length);
  assert.match(guest.failures().join(), /another digest; they were refused/);
  assert.equal((await guest.request("HEAD", `/v2/library/thing/blobs/${digestOf(image.layer)}`)).status, 404);
  assert.deepEqual(await readdir(join(folder, "new")), []);
  // Manifests that are asked for by their digest as well.
  outside.blobs.set(digestOf(image.manifest), Buffer.concat([image.manifest, Buffer.from(" ")]));
  guest = new Guest([outside.url]);
  await rm(join(folder, "blobs/sha256", digestOf(image.manifest).slice(7)));
  const manifest = await guest.request("GET", `/v2/library/thing/manifests/${digestOf(image.manifest)}`);
  assert.equal(manifest.status, 502);
});

test("what is damaged in the cache is removed and fetched again", async () => {
  const image = makeImage(randomBytes(200_000));
  outside.add("library/thing:1", image);
  await guest.pull("library/thing", "1");
  const damaged = Buffer.from(image.layer);
  damaged[0] ^= 1;
  await writeFile(join(folder, "blobs/sha256", digestOf(image.layer).slice(7)), damaged);
  guest = new Guest([outside.url]);
  const [, cut] = await guest.pull("library/thing", "1");
  assert.ok(cut.isCut);
  assert.match(guest.failures().join(), /were damaged/);
  const [, whole] = await guest.pull("library/thing", "1");
  assert.deepEqual(whole.body, image.layer);
});

test("what is pushed is kept, and only if its digests are right", async () => {
  const { manifest, config, layer } = makeImage(randomBytes(100_000));
  const push = async (bytes, digest) => {
    const { status, headers } = await guest.request("POST", "/v2/mine/app/blobs/uploads/");
    assert.equal(status, 202);
    const half = bytes.length >> 1;
    const first = await guest.request("PATCH", headers.get("location"), { body: bytes.subarray(0, half) });
    assert.equal(first.headers.get("range"), `0-${half - 1}`);
    return guest.request("PUT", `${headers.get("location")}?digest=${digest}`, { body: bytes.subarray(half) });
  };
  const putManifest = () => guest.request("PUT", "/v2/mine/app/manifests/latest", { body: manifest });
  assert.equal((await push(layer, digestOf(config))).status, 400);
  assert.equal((await push(layer, digestOf(layer))).status, 201);
  assert.match((await putManifest()).body.toString(), /MANIFEST_BLOB_UNKNOWN/);
  assert.equal((await push(config, digestOf(config))).status, 201);
  assert.equal((await putManifest()).status, 201);
  guest = new Guest([outside.url]);
  const [, pulled] = await guest.pull("mine/app", "latest");
  assert.deepEqual(pulled.body, layer);
  assert.deepEqual(outside.requests, []);
  const tags = await guest.request("GET", "/v2/mine/app/tags/list");
  assert.deepEqual(JSON.parse(tags.body.toString()), { name: "mine/app", tags: ["latest"] });
});

test("an image for which there is no room is passed on all the same", async () => {
  const image = makeImage(randomBytes(100_000));
  outside.add("library/thing:1", image);
  await guest.pull("library/thing", "1");
  await rm(join(folder, "blobs/sha256", digestOf(image.layer).slice(7)));
  await rm(join(folder, "new"), { recursive: true });
  const path = `/v2/library/thing/blobs/${digestOf(image.layer)}`;
  const { status, body } = await guest.request("GET", path);
  assert.equal(status, 200);
  assert.deepEqual(body, image.layer);
  assert.match(guest.failures().join(), /no room to keep/);
  assert.equal((await guest.request("HEAD", path)).status, 404);
});

test("what was pushed is not taken for an image from outside", async () => {
  const mine = makeImage(Buffer.from("pushed by a container"));
  const theirs = makeImage(Buffer.from("from outside"));
  outside.add("library/thing:1", theirs);
  for (const bytes of [mine.layer, mine.config]) {
    const path = `/v2/library/thing/blobs/uploads/?digest=${digestOf(bytes)}`;
    assert.equal((await guest.request("POST", path, { body: bytes })).status, 201);
  }
  for (const tag of ["1", "2"]) {
    const put = await guest.request("PUT", `/v2/library/thing/manifests/${tag}`, { body: mine.manifest });
    assert.equal(put.status, 201);
  }
  const asMirror = (tag) =>
    guest.request("GET", `/v2/library/thing/manifests/${tag}`, { headers: { host: "10.86.0.253" } });
  const byName = (tag) => guest.request("GET", `/v2/library/thing/manifests/${tag}`);
  assert.deepEqual((await asMirror("1")).body, theirs.manifest);
  assert.equal((await asMirror("2")).status, 404);
  assert.deepEqual((await byName("1")).body, mine.manifest);
  assert.equal((await guest.request("DELETE", "/v2/library/thing/manifests/1")).status, 202);
  assert.deepEqual((await byName("1")).body, theirs.manifest);
});

test("the cache's folder is an OCI layout, from which another registry's cache can pull", async () => {
  const image = makeImage(randomBytes(50_000));
  outside.add("library/thing:1", image);
  await guest.pull("library/thing", "1");
  const index = JSON.parse(await readFile(join(folder, "index.json"), "utf8"));
  assert.deepEqual(index.manifests, [
    {
      mediaType: "application/vnd.docker.distribution.manifest.v2+json",
      digest: digestOf(image.manifest),
      size: image.manifest.length,
      annotations: { "org.opencontainers.image.ref.name": "library/thing:1" },
    },
  ]);
  const files = createServer((request, response) => {
    readFile(join(folder, request.url)).then(
      (bytes) => response.end(bytes),
      () => response.writeHead(404).end(),
    );
  });
  files.listen(0, "127.0.0.1");
  await once(files, "listening");
  const first = folder;
  folder = await mkdtemp(join(tmpdir(), "dinghy-registry-"));
  try {
    const other = new Guest([`oci+http://127.0.0.1:${files.address().port}`]);
    const served = folder;
    folder = first;
    const [, layer] = await other.pull("library/thing", "1");
    assert.deepEqual(layer.body, image.layer);
    await rm(served, { recursive: true });
  } finally {
    folder = first;
    files.close();
  }
});

test("a layer can be had in ranges", async () => {
  const image = makeImage(randomBytes(100_000));
  outside.add("library/thing:1", image);
  const path = `/v2/library/thing/blobs/${digestOf(image.layer)}`;
  for (const [range, from, to] of [
    ["bytes=99000-", 99_000, 100_000],
    ["bytes=-10", 99_990, 100_000],
    ["bytes=5-9", 5, 10],
  ]) {
    const { status, body } = await guest.request("GET", path, { headers: { range } });
    assert.equal(status, 206);
    assert.deepEqual(body, image.layer.subarray(from, to));
  }
  assert.equal((await guest.request("GET", path, { headers: { range: "bytes=100000-" } })).status, 416);
});

test("names choose the registry, and no others are asked", async () => {
  const image = makeImage(Buffer.from("x"));
  outside.add("team/app:1", image);
  guest = new Guest([`example.org=${outside.url}`]);
  assert.equal((await guest.request("GET", "/v2/team/app/manifests/1")).status, 404);
  assert.equal((await guest.request("GET", "/v2/other.org/team/app/manifests/1")).status, 404);
  assert.deepEqual(outside.requests, []);
  await guest.pull("example.org/team/app", "1");
});

test("what is no image's path is refused, and no name leads out of the cache", async () => {
  for (const path of [
    "/",
    "/v2/../../etc/passwd",
    "/v2/a/manifests/%2e%2e",
    "/v2/A/manifests/x",
    "/v2/a/blobs/sha256:0",
  ]) {
    const { status } = await guest.request("GET", path);
    assert.ok(status === 404 || status === 400, `${path}: ${status}`);
  }
  assert.equal((await guest.request("GET", "/v2/")).status, 200);
});
