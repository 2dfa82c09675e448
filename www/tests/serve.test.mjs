/** The files that `dinghy serve` serves: as the page needs them, and nothing beside them. */

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { brotliCompressSync, gzipSync } from "node:zlib";

import { serve } from "../lib/node/serve/server.js";

const TEXT = "console.log(42);\n".repeat(200);
let folder;
let serving;

/** Asks with headers that `fetch` would set itself. */
function get(path, headers = {}, method = "GET") {
  return new Promise((resolve, reject) => {
    const asked = request(serving.address, { method, headers, path }, (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("end", () =>
        resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(parts) }),
      );
    });
    asked.on("error", reject).end();
  });
}

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "dinghy-serve-"));
  mkdirSync(join(folder, "site/assets"), { recursive: true });
  const write = (name, bytes) => writeFileSync(join(folder, "site", name), bytes);
  write("index.html", "<p>hello");
  write("assets/app-1a2b.js", TEXT);
  write("assets/app-1a2b.js.br", brotliCompressSync(TEXT));
  write("assets/app-1a2b.js.gz", gzipSync(TEXT));
  write("vmlinux.gz", gzipSync("a kernel"));
  write("disk.img", Buffer.alloc(1000, "0123456789"));
  writeFileSync(join(folder, "secret"), "not to be served");
  serving = await serve({
    folder: join(folder, "site"),
    host: "127.0.0.1",
    port: 0,
    allow: [],
    origins: [],
    nameServer: undefined,
  });
});
after(async () => {
  await serving.close();
  rmSync(folder, { recursive: true });
});

test("the page is isolated, and not kept without asking", async () => {
  const { status, headers, body } = await get("/");
  assert.equal(status, 200);
  assert.equal(body.toString(), "<p>hello");
  assert.equal(headers["cross-origin-opener-policy"], "same-origin");
  assert.equal(headers["cross-origin-embedder-policy"], "require-corp");
  assert.equal(headers["cache-control"], "no-cache");
  assert.match(headers["content-type"], /^text\/html/);
  assert.equal((await get("/", { "if-none-match": headers.etag })).status, 304);
});

test("names with a digest are kept for good, and sent compressed to whom can take it", async () => {
  const plain = await get("/assets/app-1a2b.js");
  assert.match(plain.headers["cache-control"], /immutable/);
  assert.equal(plain.body.toString(), TEXT);
  for (const coding of ["br", "gzip"]) {
    const packed = await get("/assets/app-1a2b.js", { "accept-encoding": coding });
    assert.equal(packed.headers["content-encoding"], coding);
    assert.match(packed.headers["content-type"], /javascript/);
    assert.ok(packed.body.length < TEXT.length / 4);
  }
});

test("a file that is itself compressed comes as it is", async () => {
  const { headers, body } = await get("/vmlinux.gz", { "accept-encoding": "gzip, br" });
  assert.equal(headers["content-encoding"], "identity");
  assert.ok(body.equals(gzipSync("a kernel")));
});

test("a range is sent as a part, one outside of the file refused", async () => {
  const part = await get("/disk.img", { range: "bytes=995-2000" });
  assert.equal(part.status, 206);
  assert.equal(part.headers["content-range"], "bytes 995-999/1000");
  assert.equal(part.body.toString(), "56789");
  assert.equal((await get("/disk.img", { range: "bytes=1000-" })).status, 416);
});

test("nothing beside the folder is served, and nothing but files", async () => {
  for (const path of ["/../secret", "/%2e%2e/secret", "/..%2fsecret", "/none", "//secret"]) {
    assert.equal((await get(path)).status, 404, path);
  }
  assert.equal((await get("/", {}, "POST")).status, 405);
  assert.equal((await get("/relay/")).status, 426);
});

test("a server on a loopback address answers to its own names only", async () => {
  const { port } = new URL(serving.address);
  for (const host of [
    `localhost:${port}`,
    `127.0.0.1:${port}`,
    `[::1]:${port}`,
    `p80.localhost:${port}`,
    `p80-1.localhost`,
  ]) {
    assert.equal((await get("/", { host })).status, 200, host);
  }
  for (const host of ["evil.example", `evil.example:${port}`, "localhost.evil.example", "p80.evil.example"]) {
    assert.equal((await get("/", { host })).status, 421, host);
  }
});

test("a preview's origin may be framed by the page", async () => {
  const { headers } = await get("/", { host: "p8080.localhost" });
  assert.equal(headers["cross-origin-resource-policy"], "cross-origin");
  assert.equal(headers["cross-origin-embedder-policy"], "credentialless");
  assert.equal((await get("/")).headers["cross-origin-resource-policy"], "same-origin");
});
