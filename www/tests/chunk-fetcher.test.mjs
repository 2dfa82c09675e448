/** Fetching disk chunks from a server that behaves, and from some that do not. */

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { afterEach, beforeEach, test } from "node:test";

import { ChunkFetcher } from "../lib/worker/chunk-fetcher.js";
import { probe } from "../lib/worker/remote-disk.js";

const CHUNK = 1024;
const IMAGE = Uint8Array.from({ length: 3 * CHUNK + 512 }, (_, index) => (index * 7) % 251);

let server;
let address;
/** The ranges that were asked for. */
let ranges;
/** How the server answers; replaced by tests. */
let answer;

function serveRange(request, response, etag = '"one"') {
  const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range).map(Number);
  const body = IMAGE.subarray(first, last + 1);
  response.writeHead(206, { "content-range": `bytes ${first}-${first + body.length - 1}/${IMAGE.length}`, etag });
  response.end(body);
}

beforeEach(async () => {
  ranges = [];
  answer = serveRange;
  server = createServer((request, response) => {
    ranges.push(request.headers.range);
    answer(request, response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  address = `http://127.0.0.1:${server.address().port}/guest.ext4`;
});

afterEach(() => {
  server.closeAllConnections();
  server.close();
});

/** A port that notes what is delivered, and resolves after `count` deliveries. */
function recorder(count) {
  const chunks = new Map();
  const failures = new Map();
  let done;
  const finished = new Promise((resolve) => (done = resolve));
  const note = (map, disk, index, value) => {
    map.set(`${disk}:${index}`, value);
    if (chunks.size + failures.size === count) done();
    return undefined;
  };
  return {
    chunks,
    failures,
    finished,
    port: {
      completeChunk: (disk, index, bytes) => note(chunks, disk, index, bytes.slice()),
      failChunk: (disk, index, reason) => note(failures, disk, index, reason),
      chunkLocation: () => undefined,
      chunkDigest: () => undefined,
      chunksToPrefetch: () => [],
    },
  };
}

test("the size is found without reading the image", async () => {
  assert.deepEqual(await probe(address), { kind: "raw", source: address, sizeBytes: IMAGE.length, entityTag: '"one"' });
  assert.deepEqual(ranges, ["bytes=0-511"]);
});

test("every chunk arrives whole, the last one shorter", async () => {
  const { chunks, finished, port } = recorder(4);
  let wakes = 0;
  const fetcher = new ChunkFetcher([await probe(address)], CHUNK, port, () => (wakes += 1), assert.fail);
  for (const index of [3, 0, 2, 1]) fetcher.request(0, index);
  await finished;
  for (const index of [0, 1, 2, 3]) {
    assert.deepEqual(chunks.get(`0:${index}`), IMAGE.slice(index * CHUNK, (index + 1) * CHUNK));
  }
  await new Promise((resolve) => setTimeout(resolve, 10));
  assert.ok(wakes >= 1);
});

test("neighbours that wait share a request", async () => {
  const disk = await probe(address);
  const held = [];
  answer = (request, response) => held.push([request, response]);
  const { port, chunks } = recorder(Infinity);
  const fetcher = new ChunkFetcher([disk], 128, port, () => undefined, assert.fail);
  // Six that are apart fill the connections; the rest wait.
  for (const index of [27, 25, 23, 21, 19, 17, 0, 1, 2, 3, 4]) fetcher.request(0, index);
  while (held.length < 6) await new Promise((resolve) => setTimeout(resolve, 5));
  answer = serveRange;
  held.forEach(([request, response]) => serveRange(request, response));
  while (chunks.size < 11) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(ranges.at(-1), "bytes=0-639");
});

test("a request that fails once is made again", async () => {
  const disk = await probe(address);
  answer = (request, response) => {
    answer = serveRange;
    response.destroy();
  };
  const { chunks, finished, port } = recorder(1);
  new ChunkFetcher([disk], CHUNK, port, () => undefined, assert.fail, { retryPausesMs: [1] }).request(0, 1);
  await finished;
  assert.deepEqual(chunks.get("0:1"), IMAGE.slice(CHUNK, 2 * CHUNK));
});

test("a request that keeps failing is an I/O error that the user is told of", async () => {
  const disk = await probe(address);
  answer = (request, response) => response.writeHead(503).end();
  const { failures, finished, port } = recorder(1);
  const messages = [];
  new ChunkFetcher(
    [disk],
    CHUNK,
    port,
    () => undefined,
    (message) => messages.push(message),
    { retryPausesMs: [1, 1] },
  ).request(0, 0);
  await finished;
  assert.match(failures.get("0:0"), /answered 503/);
  assert.equal(ranges.length, 1 + 3);
  assert.match(messages[0], /could not be read from http.*answered 503.*Check the connection/);
});

test("a changed image is not mixed with the old one", async () => {
  const disk = await probe(address);
  answer = (request, response) => serveRange(request, response, '"two"');
  const { failures, finished, port } = recorder(1);
  new ChunkFetcher(
    [disk],
    CHUNK,
    port,
    () => undefined,
    () => undefined,
    { retryPausesMs: [1, 1] },
  ).request(0, 0);
  await finished;
  assert.match(failures.get("0:0"), /changed on the server/);
});

test("a server without byte ranges is refused with advice", async () => {
  answer = (request, response) => response.writeHead(200).end(IMAGE);
  await assert.rejects(probe(address), /does not answer byte ranges; serve it from one that does/);
});

test("a missing image is named", async () => {
  answer = (request, response) => response.writeHead(404).end();
  await assert.rejects(probe(address), /answered 404 for http.*guest\.ext4; check that the file is there/);
});

test("a blob is read like a file on a server", async () => {
  const { chunks, finished, port } = recorder(1);
  const disk = await probe(new Blob([IMAGE]));
  new ChunkFetcher([disk], CHUNK, port, () => undefined, assert.fail).request(0, 3);
  await finished;
  assert.deepEqual(chunks.get("0:3"), IMAGE.slice(3 * CHUNK));
});

/** An image of three chunks in one pack, of which the last is stored first. */
const PACKED = [
  { index: 0, offset: 300, length: 200 },
  { index: 1, offset: 500, length: 100 },
  { index: 5, offset: 0, length: 300 },
];

/** A port of a machine with that image, which refuses bytes that are not the pack's. */
function packedPort(count, prefetch = []) {
  const { port, ...rest } = recorder(count);
  const find = (index) => PACKED.find((chunk) => chunk.index === index);
  return {
    ...rest,
    port: {
      ...port,
      chunkLocation: (disk, index) => [0, find(index).offset, find(index).length],
      chunkDigest: (disk, index) => `digest of ${index}`,
      chunksToPrefetch: () => prefetch,
      completeChunk: (disk, index, bytes) => {
        const { offset, length } = find(index);
        if (Buffer.compare(bytes, IMAGE.subarray(offset, offset + length)) !== 0)
          throw new Error("the digest is wrong");
        return port.completeChunk(disk, index, bytes);
      },
    },
  };
}

const packed = () => ({ kind: "chunked", source: address, manifest: new Uint8Array(), packs: ["0-ab.pack"] });

/** A cache that can be looked into. */
function mapCache(entries = []) {
  const map = new Map(entries);
  return {
    map,
    get: (digest) => map.get(digest),
    put: (digest, bytes) => map.set(digest, bytes.slice()),
    remove: (digest) => map.delete(digest),
  };
}

test("what a boot reads is fetched in its order, in few requests, and kept", async () => {
  const { port, chunks, finished } = packedPort(3, [5, 0, 1]);
  const cache = mapCache();
  new ChunkFetcher([packed()], CHUNK, port, () => undefined, assert.fail, { cache }).prefetch();
  await finished;
  assert.deepEqual([...chunks.keys()], ["0:5", "0:0", "0:1"]);
  assert.deepEqual(ranges, ["bytes=0-599"]);
  await new Promise((resolve) => setTimeout(resolve, 10));
  assert.deepEqual([...cache.map.keys()], ["digest of 5", "digest of 0", "digest of 1"]);
});

test("a chunk that is under way is not fetched twice", async () => {
  const { port, finished } = packedPort(3, [5, 0, 1]);
  const fetcher = new ChunkFetcher([packed()], CHUNK, port, () => undefined, assert.fail);
  fetcher.prefetch();
  fetcher.request(0, 1);
  await finished;
  assert.equal(ranges.length, 1);
});

test("what the cache has is not fetched, and what it has wrong is dropped and fetched", async () => {
  const { port, finished } = packedPort(2);
  const cache = mapCache([
    ["digest of 0", IMAGE.slice(300, 500)],
    ["digest of 1", new Uint8Array(100)],
  ]);
  const fetcher = new ChunkFetcher([packed()], CHUNK, port, () => undefined, assert.fail, { cache });
  fetcher.request(0, 0);
  fetcher.request(0, 1);
  await finished;
  assert.deepEqual(ranges, ["bytes=500-599"]);
  await new Promise((resolve) => setTimeout(resolve, 10));
  assert.deepEqual(cache.map.get("digest of 1"), IMAGE.slice(500, 600));
});

test("a damaged chunk is fetched again, past the caches on the way", async () => {
  const { port, chunks, finished } = packedPort(1);
  const asked = [];
  answer = (request, response) => {
    asked.push(request.headers["cache-control"]);
    if (asked.length > 1) return serveRange(request, response);
    response.writeHead(206).end(new Uint8Array(200));
  };
  new ChunkFetcher([packed()], CHUNK, port, () => undefined, assert.fail, { retryPausesMs: [1] }).request(0, 0);
  await finished;
  assert.ok(chunks.has("0:0"));
  assert.deepEqual(asked, [undefined, "no-cache"]);
});

test("a chunk that stays damaged is an I/O error that the user is told of", async () => {
  const { port, failures, finished } = packedPort(1);
  const messages = [];
  answer = (request, response) => response.writeHead(206).end(new Uint8Array(200));
  const options = { retryPausesMs: [1, 1] };
  new ChunkFetcher(
    [packed()],
    CHUNK,
    port,
    () => undefined,
    (message) => messages.push(message),
    options,
  ).request(0, 0);
  await finished;
  assert.match(failures.get("0:0"), /digest is wrong/);
  assert.equal(ranges.length, 3);
  assert.match(messages[0], /could not be read from http.*digest is wrong.*the guest sees a disk error/);
});

test("a failure of what nobody waits for is silent, and the guest's own read tries anew", async () => {
  const { port, chunks, finished } = packedPort(1, [5]);
  answer = (request, response) => response.writeHead(503).end();
  const fetcher = new ChunkFetcher([packed()], CHUNK, port, () => undefined, assert.fail, { retryPausesMs: [1] });
  fetcher.prefetch();
  while (ranges.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  await new Promise((resolve) => setTimeout(resolve, 20));
  answer = serveRange;
  fetcher.request(0, 5);
  await finished;
  assert.ok(chunks.has("0:5"));
});
