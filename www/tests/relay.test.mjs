/** The relay of `dinghy serve`, with the package's own client on the other side. */

import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { after, before, test } from "node:test";

import { decode, encode } from "dns-packet";
import { WebSocket } from "ws";

import { carrierFetch } from "../lib/network/carrier-fetch.js";
import { Network } from "../lib/network/flows.js";
import { RelayCarrier } from "../lib/network/relay.js";
import * as wisp from "../lib/network/wisp.js";
import { serve } from "../lib/node/serve/server.js";
import { TestPort } from "./network-port.mjs";

const BIG = Buffer.alloc(3_000_000, "0123456789abcdef");
let servers;
let serving;
let port;

/** Listens on a free port of 127.0.0.1. */
async function listen(server) {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  servers.push(server);
  return server.address().port;
}

const address = (path = "relay/") => `${serving.address.replace(/^http/, "ws")}${path}`;

/** A guest behind the relay, with flow 1 open to `port`. */
async function guest(number, { protocols, transport = "tcp" } = {}) {
  const test = new TestPort();
  const openSocket = (url, offered) => new WebSocket(url, protocols ?? offered);
  const carrier = new RelayCarrier(address(), `${serving.address}relay/dns-query`, openSocket);
  const network = new Network(test, carrier, () => undefined);
  const act = (...command) => {
    test.command(...command);
    network.work();
  };
  if (number !== undefined) {
    act("open", 1, transport, "127.0.0.1", number);
    await test.until(1, ({ isOpen, failure }) => isOpen || failure);
  }
  return { test, act, carrier };
}

before(async () => {
  servers = [];
  const echo = createServer({ allowHalfOpen: true }, (socket) => socket.on("error", () => undefined).pipe(socket));
  const source = createServer((socket) => socket.on("error", () => undefined).end(BIG));
  const names = createSocket("udp4");
  names.on("message", (query, from) => {
    const { id, questions } = decode(query);
    const data = questions[0].name === "good.example" ? "93.184.216.34" : "127.0.0.1";
    const answers = [{ type: "A", name: questions[0].name, ttl: 60, data }];
    names.send(encode({ id, type: "response", questions, answers }), from.port, from.address);
  });
  await new Promise((resolve) => names.bind(0, "127.0.0.1", resolve));
  servers.push(names);
  const refusing = createServer();
  port = { echo: await listen(echo), source: await listen(source), refusing: await listen(refusing) };
  servers.splice(servers.indexOf(refusing), 1);
  refusing.close();
  port.forbidden = await listen(createServer((socket) => socket.destroy(new Error("a forbidden port was reached"))));
  serving = await serve({
    folder: tmpdir(),
    host: "127.0.0.1",
    port: 0,
    allow: [`127.0.0.1:${port.echo}`, `127.0.0.1:${port.source}`, `127.0.0.1:${port.refusing}`, "good.example:443"],
    origins: ["https://page.example"],
    nameServer: `127.0.0.1:${names.address().port}`,
  });
});
after(async () => {
  await serving.close();
  servers.forEach((server) => server.close());
});

test("a stream goes through whole, and each direction ends by itself", async () => {
  const { test, act, carrier } = await guest(port.echo);
  for (let at = 0; at < BIG.length; at += 60_000) {
    const piece = BIG.subarray(at, at + 60_000);
    act("send", 1, piece);
    await test.until(1, ({ sent }) => sent >= at);
  }
  act("finish", 1);
  await test.until(1, ({ hasEnded }) => hasEnded);
  assert.ok(Buffer.concat(test.flow(1).data).equals(BIG));
  carrier.end();
});

test("a client of version 1 gets the same bytes", async () => {
  const { test, carrier } = await guest(port.source, { protocols: [] });
  await test.until(1, ({ hasEnded }) => hasEnded);
  assert.ok(Buffer.concat(test.flow(1).data).equals(BIG));
  carrier.end();
});

test("a guest that does not read holds the relay back", async () => {
  const { test, act, carrier } = await guest(port.source);
  test.hasRoom = false;
  await test.until(1, ({ bytes }) => bytes >= 200_000);
  await new Promise((resolve) => setTimeout(resolve, 200));
  const held = test.flow(1).bytes;
  assert.ok(held <= 600_000, `${held} bytes came to a guest that took none`);
  test.hasRoom = true;
  act("resume", 1);
  await test.until(1, ({ hasEnded }) => hasEnded);
  assert.ok(Buffer.concat(test.flow(1).data).equals(BIG));
  carrier.end();
});

test("refusals say why", async () => {
  const refused = await guest(port.refusing);
  assert.equal(refused.test.flow(1).failure, "refused");
  refused.carrier.end();
  const forbidden = await guest(port.forbidden);
  assert.equal(forbidden.test.flow(1).failure, "forbidden");
  forbidden.carrier.end();
});

test("a redirect to a forbidden place is followed into a refusal", async () => {
  const redirecting = createHttpServer((_, response) => {
    response.writeHead(302, { location: `http://127.0.0.1:${port.forbidden}/` }).end();
  });
  const place = await listen(redirecting);
  const open = await serve({
    folder: tmpdir(),
    host: "127.0.0.1",
    port: 0,
    allow: [`127.0.0.1:${place}`],
    origins: [],
    nameServer: undefined,
  });
  const test = new TestPort();
  const carrier = new RelayCarrier(
    `${open.address.replace(/^http/, "ws")}relay/`,
    undefined,
    (url, offered) => new WebSocket(url, offered),
  );
  const network = new Network(test, carrier, () => undefined);
  const act = (...command) => (test.command(...command), network.work());
  act("open", 1, "tcp", "127.0.0.1", place);
  act("send", 1, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
  await test.until(1, ({ hasEnded }) => hasEnded);
  const location = new URL(/location: (\S+)/i.exec(test.text(1))[1]);
  act("open", 2, "tcp", location.hostname, Number(location.port));
  assert.equal((await test.until(2, ({ failure }) => failure)).failure, "forbidden");
  carrier.end();
  await open.close();
});

test("a relay that is killed in mid-transfer resets the guest's streams, and serves again when it is back", async () => {
  const options = {
    folder: tmpdir(),
    host: "127.0.0.1",
    port: 0,
    allow: [`127.0.0.1:${port.source}`],
    origins: [],
    nameServer: undefined,
  };
  let relay = await serve(options);
  const relayPort = Number(new URL(relay.address).port);
  const test = new TestPort();
  const carrier = new RelayCarrier(
    `ws://127.0.0.1:${relayPort}/relay/`,
    undefined,
    (url, offered) => new WebSocket(url, offered),
  );
  const network = new Network(test, carrier, () => undefined);
  const act = (...command) => (test.command(...command), network.work());
  test.hasRoom = false;
  act("open", 1, "tcp", "127.0.0.1", port.source);
  await test.until(1, ({ bytes }) => bytes > 0);
  await relay.close();
  assert.equal((await test.until(1, ({ failure }) => failure)).failure, "reset");
  act("open", 2, "tcp", "127.0.0.1", port.source);
  assert.equal((await test.until(2, ({ failure }) => failure)).failure, "unreachable");
  relay = await serve({ ...options, port: relayPort });
  test.hasRoom = true;
  // The attempt that failed has made the client doubt that the relay knows version 2: both ways lead there.
  act("open", 3, "tcp", "127.0.0.1", port.source);
  await test.until(3, ({ hasEnded }) => hasEnded);
  assert.ok(Buffer.concat(test.flow(3).data).equals(BIG));
  carrier.end();
  await relay.close();
});

test("datagrams go through", async () => {
  const server = createSocket("udp4");
  server.on("message", (datagram, from) => server.send(`${datagram}!`, from.port, from.address));
  await new Promise((resolve) => server.bind(port.echo, "127.0.0.1", resolve));
  const { test, act, carrier } = await guest(port.echo, { transport: "udp" });
  act("send", 1, "ping");
  await test.until(1, ({ bytes }) => bytes > 0);
  assert.equal(test.text(1), "ping!");
  carrier.end();
  server.close();
});

test("names are asked over HTTPS's form of DNS, and allow what they are allowed for", async () => {
  const { test, act, carrier } = await guest();
  const ask = async (id, name) => {
    act("ask", id, encode({ id, type: "query", questions: [{ type: "A", name }] }));
    await test.until(-99, () => test.answers.has(id));
    return decode(Buffer.from(test.answers.get(id)));
  };
  const good = await ask(7, "good.example");
  assert.equal(good.id, 7);
  assert.equal(good.answers[0].data, "93.184.216.34");
  carrier.end();
});

test("questions for names that are not allowed are refused without asking", async () => {
  const query = encode({ id: 5, type: "query", questions: [{ type: "A", name: "inside.example" }] });
  const named = await serve({
    folder: tmpdir(),
    host: "127.0.0.1",
    port: 0,
    allow: ["good.example"],
    origins: [],
    nameServer: "127.0.0.1:1",
  });
  const headers = { "content-type": "application/dns-message" };
  const response = await fetch(`${named.address}relay/dns-query`, { method: "POST", headers, body: query });
  assert.equal(decode(Buffer.from(await response.arrayBuffer())).rcode, "REFUSED");
  await named.close();
});

test("pages of other origins, previews and other names of the server are turned away", async () => {
  const outcome = (headers, path) =>
    new Promise((resolve) => {
      const socket = new WebSocket(address(path), { headers });
      socket.on("open", () => (socket.close(), resolve("open")));
      socket.on("unexpected-response", (_, response) => resolve(response.statusCode));
      socket.on("error", () => undefined);
    });
  const own = new URL(serving.address).host;
  const number = own.split(":")[1];
  assert.equal(await outcome({}), "open");
  assert.equal(await outcome({ origin: `http://${own}` }), "open");
  assert.equal(await outcome({ origin: "https://page.example" }), "open");
  assert.equal(await outcome({ origin: "https://other.example" }), 403);
  assert.equal(await outcome({ origin: "null" }), 403);
  assert.equal(await outcome({ origin: `http://p80.localhost:${number}` }), 403);
  assert.equal(await outcome({ origin: `http://p80.dinghy.localhost:${number}` }), 403);
  assert.equal(
    await outcome({ origin: `http://dinghy.localhost:${number}`, host: `dinghy.localhost:${number}` }),
    "open",
  );
  assert.equal(await outcome({ origin: `http://p80.localhost:${number}`, host: `p80.localhost:${number}` }), 403);
  // Rebinding of the server's own name.
  assert.equal(await outcome({ origin: `http://evil.example:${number}`, host: `evil.example:${number}` }), 403);
  assert.equal(await outcome({}, "other/"), 404);
});

test("a client that sends ahead of its credit, or nonsense, loses the stream and no more", async () => {
  const socket = new WebSocket(address(), []);
  const closed = new Map();
  const opened = once(socket, "message");
  socket.on("message", (message) => {
    const packet = wisp.parsePacket(new Uint8Array(message));
    if (packet?.type === "close") closed.set(packet.stream, packet.reason);
  });
  await opened;
  socket.send(Buffer.from([1, 2]));
  socket.send(Buffer.from([9, 0, 0, 0, 0, 0]));
  socket.send(Buffer.from([1, 1, 0, 0, 0, 7, 80, 0, 65]));
  socket.send(wisp.dataPacket(77, Buffer.from("to nobody")));
  socket.send(wisp.connectPacket(0, "tcp", "127.0.0.1", port.echo));
  socket.send(wisp.connectPacket(2, "tcp", "127.0.0.1", port.echo));
  for (let n = 0; n < 40; n++) socket.send(wisp.dataPacket(2, Buffer.from("x")));
  for (let id = 10; id < 300; id++) socket.send(wisp.connectPacket(id, "tcp", "127.0.0.1", port.echo));
  while (!closed.has(299)) await once(socket, "message");
  assert.equal(closed.get(0), wisp.CLOSE.invalid);
  assert.equal(closed.get(2), wisp.CLOSE.throttled);
  assert.equal(closed.get(299), wisp.CLOSE.throttled);
  assert.equal(closed.get(10), undefined);
  socket.terminate();
});

test("plain HTTP goes over the relay for the emulator itself, and as far as the relay's policy", async () => {
  const server = createHttpServer(({ url, headers }, response) => {
    if (url === "/moved") response.writeHead(302, { location: "/there?x=1" }).end();
    else if (url === "/forbidden") response.writeHead(302, { location: `http://127.0.0.1:${port.forbidden}/` }).end();
    else response.end(`${url} ${headers.authorization} ${headers.host}`);
  });
  const number = await listen(server);
  const own = await serve({
    folder: tmpdir(),
    host: "127.0.0.1",
    port: 0,
    allow: [`127.0.0.1:${number}`],
    origins: [],
    nameServer: undefined,
  });
  const openSocket = (url, offered) => new WebSocket(url, offered);
  const carrier = new RelayCarrier(`${own.address.replace(/^http/, "ws")}relay/`, undefined, openSocket);
  const fetch = carrierFetch(carrier, () => Promise.reject(new Error("TLS was asked for")));
  try {
    const answer = await fetch(new URL(`http://127.0.0.1:${number}/moved`), { authorization: "Bearer x" });
    assert.equal(answer.status, 200);
    assert.equal(await answer.text(), `/there?x=1 Bearer x 127.0.0.1:${number}`);
    await assert.rejects(fetch(new URL(`http://127.0.0.1:${number}/forbidden`), {}), /forbidden/);
    await assert.rejects(fetch(new URL("https://127.0.0.1/"), {}), /TLS was asked for/);
  } finally {
    carrier.end();
    await own.close();
  }
});
