import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { connect } from "node:net";
import { Readable, Writable } from "node:stream";
import { afterEach, beforeEach, test } from "node:test";

import { WebSocketServer } from "ws";

import { GuestWebSocket } from "../lib/network/web-socket.js";

let http;
let server;
let sockets;

beforeEach(async () => {
  http = createServer((request, response) => response.writeHead(418).end());
  server = new WebSocketServer({ server: http, path: "/echo", handleProtocols: (offered) => [...offered].at(-1) });
  server.on("connection", (socket, request) => {
    server.emit("served", socket, request);
    socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  });
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  sockets = [];
});
afterEach(() => {
  sockets.forEach((socket) => socket.destroy());
  server.close();
  http.close();
});

/** A socket to the server, as the machine would connect it, and what it tells. */
function open(path, protocols = []) {
  const socket = connect(http.address().port, "127.0.0.1");
  socket.on("error", () => undefined);
  sockets.push(socket);
  const connection = {
    readable: Readable.toWeb(socket),
    writable: Writable.toWeb(socket),
    close: () => socket.destroy(),
  };
  const guest = new GuestWebSocket(connection, 80, path, protocols);
  const next = (name) => new Promise((resolve) => guest.on(name, resolve));
  return { guest, socket, opened: next("open"), closed: next("close"), next };
}

test("text and bytes of all sizes come back, and the end is agreed on", async () => {
  const { guest, opened, closed, next } = open("/echo?x=1", ["one", "two"]);
  const [, request] = await once(server, "served");
  assert.equal(request.url, "/echo?x=1");
  assert.deepEqual(await opened, { protocol: "two" });
  for (const size of [0, 1, 125, 126, 65_535, 65_536, 1_000_000]) {
    const came = next("message");
    guest.send(new Uint8Array(size).fill(size & 0xff));
    const bytes = await came;
    assert.equal(bytes.byteLength, size);
    assert.ok(bytes.every((byte) => byte === (size & 0xff)));
  }
  const came = next("message");
  guest.send("grün");
  assert.equal(await came, "grün");
  guest.close(3001, "enough");
  assert.deepEqual(await closed, { code: 3001, reason: "enough", wasClean: true });
  assert.throws(() => guest.send("late"), /not open/);
});

test("pieces are joined, and pings answered", async () => {
  const { next } = open("/echo");
  const [socket] = await once(server, "served");
  const came = next("message");
  const answered = once(socket, "pong");
  socket.send("in ", { fin: false });
  socket.ping("still there?");
  socket.send("pieces", { fin: true });
  assert.equal(await came, "in pieces");
  assert.equal(String((await answered)[0]), "still there?");
});

test("the server's end is told with its reason, and a lost connection as such", async () => {
  const first = open("/echo");
  const [socket] = await once(server, "served");
  await first.opened;
  socket.close(1001, "going away");
  assert.deepEqual(await first.closed, { code: 1001, reason: "going away", wasClean: true });
  const second = open("/echo");
  const [lost] = await once(server, "served");
  await second.opened;
  lost.terminate();
  assert.equal((await second.closed).code, 1006);
});

test("a server that speaks no WebSocket, or breaks its rules, ends it", async () => {
  assert.match((await open("/other").closed).reason, /answered 4\d\d/);
  for (const frame of [
    [0xc1, 0],
    [0x81, 0x80, 1, 2, 3, 4],
    [0x83, 0],
    [0x80, 0],
    [0x09, 0],
    [0x82, 127, 0, 0, 0, 0, 0xff, 0, 0, 0],
    [0x81, 1, 0xff],
  ]) {
    const { closed } = open("/echo");
    const [socket] = await once(server, "served");
    const told = once(socket, "close");
    socket._socket.write(Buffer.from(frame));
    assert.equal((await closed).wasClean, false, frame.join());
    assert.ok([1002, 1007, 1009].includes((await told)[0]));
  }
});
