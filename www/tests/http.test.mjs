/** `Machine.fetch`: HTTP over connections, here to servers of this process. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { connect, createServer } from "node:net";
import { Duplex } from "node:stream";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";

import { GuestHttp } from "../lib/network/http.js";

const BIG = Buffer.alloc(5_000_000, "0123456789abcdef");
const servers = [];
let port;
let connections = 0;

async function listen(server) {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  servers.push(server);
  return server.address().port;
}

/** A server that sends these bytes whatever it is asked, then ends the connection. */
const raw = (text) =>
  listen(createServer((socket) => socket.on("error", () => undefined).once("data", () => socket.end(text))));

/** As the machine connects to its guest. */
function client() {
  return new GuestHttp((port) => {
    connections += 1;
    const socket = connect({ host: "127.0.0.1", port });
    socket.on("error", () => undefined);
    return { ...Duplex.toWeb(socket), close: () => socket.destroy() };
  });
}

before(async () => {
  const server = createHttpServer((request, response) => {
    const { pathname } = new URL(request.url, "http://x");
    switch (pathname) {
      case "/echo": {
        const { method, headers } = request;
        const parts = [];
        request.on("data", (part) => parts.push(part));
        request.on("end", () => {
          const body = Buffer.concat(parts);
          response.end(JSON.stringify({ method, url: request.url, headers, bytes: body.length }));
        });
        break;
      }
      case "/big":
        response.writeHead(200, { "content-length": BIG.length }).end(BIG);
        break;
      case "/chunks":
        for (let n = 0; n < 100; n++) response.write(`${n},`);
        response.end();
        break;
      case "/gzip":
        response.writeHead(200, { "content-encoding": "gzip" }).end(gzipSync("unpacked"));
        break;
      case "/moved":
        response.writeHead(302, { location: "/elsewhere" }).end();
        break;
      case "/none":
        response.writeHead(204).end();
        break;
      case "/slow":
        response.write("first");
        break;
      default:
        response.writeHead(404, { "x-two": ["a", "b"] }).end("nothing here");
    }
  });
  server.keepAliveTimeout = 200;
  port = await listen(server);
});
after(() =>
  servers.forEach((server) => {
    server.closeAllConnections?.();
    server.close();
  }),
);

test("requests and answers keep their parts", async () => {
  const http = client();
  const response = await http.fetch(port, "/echo?a=1", { method: "PUT", headers: { "x-own": "yes" }, body: "hello" });
  const echo = await response.json();
  assert.deepEqual([echo.method, echo.url, echo.bytes], ["PUT", "/echo?a=1", 5]);
  assert.equal(echo.headers["x-own"], "yes");
  assert.equal(echo.headers.host, `localhost:${port}`);
  assert.equal(echo.headers["content-length"], "5");
  const missing = await http.fetch(port, new URL("http://ignored.example/missing"));
  assert.deepEqual([missing.status, missing.statusText, missing.headers.get("x-two")], [404, "Not Found", "a, b"]);
  assert.equal(await missing.text(), "nothing here");
  assert.equal((await http.fetch(port, "/moved")).status, 302);
  assert.equal((await http.fetch(port, "/none")).status, 204);
  const head = await http.fetch(port, "/big", { method: "HEAD" });
  assert.deepEqual([head.headers.get("content-length"), await head.text()], [String(BIG.length), ""]);
  http.close();
});

test("bodies of every framing come whole, one after the other on one connection", async () => {
  const http = client();
  connections = 0;
  const big = await (await http.fetch(port, "/big")).arrayBuffer();
  assert.ok(Buffer.from(big).equals(BIG));
  assert.match(await (await http.fetch(port, "/chunks")).text(), /^0,1,.*,99,$/);
  assert.equal(await (await http.fetch(port, "/gzip")).text(), "unpacked");
  assert.equal(connections, 1);
  // The server ends what is idle: that is no failure of the next request.
  await new Promise((resolve) => setTimeout(resolve, 400));
  assert.equal((await http.fetch(port, "/echo")).status, 200);
  http.close();
});

test("a large body is sent in chunks, as it comes", async () => {
  const http = client();
  let left = 50;
  const body = new ReadableStream({
    pull(controller) {
      if (left-- > 0) controller.enqueue(new Uint8Array(100_000));
      else controller.close();
    },
  });
  const echo = await (await http.fetch(port, "/echo", { method: "POST", body })).json();
  assert.equal(echo.bytes, 5_000_000);
  assert.equal(echo.headers["transfer-encoding"], "chunked");
  http.close();
});

test("many requests at once share a bounded number of connections", async () => {
  const http = client();
  connections = 0;
  const texts = await Promise.all(
    Array.from({ length: 200 }, async (_, n) => (await (await http.fetch(port, `/echo?${n}`)).json()).url),
  );
  assert.deepEqual(
    texts,
    texts.map((_, n) => `/echo?${n}`),
  );
  assert.ok(connections <= 32, `${connections} connections`);
  http.close();
});

test("an answer is there before its body is, and can be given up", async () => {
  const http = client();
  const aborter = new AbortController();
  const response = await http.fetch(port, "/slow", { signal: aborter.signal });
  const reader = response.body.getReader();
  assert.equal(Buffer.from((await reader.read()).value).toString(), "first");
  aborter.abort();
  await assert.rejects(reader.read());
  http.close();
});

test("nobody there, and what is no answer, is a 502", async () => {
  const http = client();
  const closed = createServer();
  const free = await listen(closed);
  servers.pop();
  closed.close();
  const failing = async (number) => {
    const error = await http.fetch(number, "/").then(
      (response) => response.text(),
      (error) => error,
    );
    return [error.name, error.status];
  };
  assert.deepEqual(await failing(free), ["GuestHttpError", 502]);
  for (const text of [
    "",
    "SSH-2.0-server\r\n",
    "HTTP/1.1 999 What\r\n\r\n",
    "HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
    "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
    "HTTP/1.1 200 OK\r\ncontent-length: 1, 2\r\n\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: strange\r\n\r\n",
    "HTTP/1.1 200 OK\r\nx: " + "y".repeat(100_000),
  ]) {
    assert.deepEqual(await failing(await raw(text)), ["GuestHttpError", 502], text.slice(0, 60));
  }
  http.close();
});

test("a body that breaks off is an error, one that ends with its connection is not", async () => {
  const http = client();
  const broken = await raw("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfive!");
  await assert.rejects(async () => (await http.fetch(broken, "/")).text(), /less than it had announced/);
  const chunk = await raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n");
  await assert.rejects(async () => (await http.fetch(chunk, "/")).text(), /a chunk without a size/);
  const plain = await raw("HTTP/1.0 200 OK\r\n\r\nto the end");
  assert.equal(await (await http.fetch(plain, "/")).text(), "to the end");
  const interim = await raw("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
  assert.equal(await (await http.fetch(interim, "/")).text(), "ok");
  http.close();
});
