/** The guest's flows as sockets of this computer, and its ports as ports here. */

import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { test } from "node:test";

import { joinChannel, openConnection } from "../lib/network/channel.js";
import { Network } from "../lib/network/flows.js";
import { nowhere } from "../lib/network/nowhere.js";
import { PublishedPorts, SocketCarrier } from "../lib/node/sockets.js";
import { TestPort } from "./network-port.mjs";

function guest(carrier) {
  const port = new TestPort();
  const network = new Network(port, carrier, () => undefined);
  const act = (...command) => {
    port.command(...command);
    network.work();
  };
  return { port, network, act };
}

async function listening(server) {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server.address().port;
}

test("streams and datagrams go to IPv6 addresses too", async () => {
  const echo = createServer((socket) => socket.pipe(socket)).listen(0, "::1");
  await once(echo, "listening");
  const datagrams = createSocket("udp6");
  datagrams.on("message", (bytes, from) => datagrams.send(bytes, from.port, from.address));
  await new Promise((resolve) => datagrams.bind(0, "::1", resolve));
  const carrier = new SocketCarrier(undefined);
  const { port, act } = guest(carrier);
  act("open", 1, "tcp", "0:0:0:0:0:0:0:1", echo.address().port);
  act("open", 2, "udp", "0:0:0:0:0:0:0:1", datagrams.address().port);
  for (const flow of [1, 2]) {
    await port.until(flow, ({ isOpen }) => isOpen);
    act("send", flow, "hello");
    await port.until(flow, ({ bytes }) => bytes === 5);
  }
  carrier.end();
  echo.close();
  datagrams.close();
});

test("a stream goes both ways, and each way ends by itself", async () => {
  const echo = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
  const { port, act } = guest(new SocketCarrier(undefined));
  act("open", 1, "tcp", "127.0.0.1", await listening(echo));
  await port.until(1, ({ isOpen }) => isOpen);
  act("send", 1, "hello");
  await port.until(1, ({ bytes, sent }) => bytes === 5 && sent === 5);
  act("finish", 1);
  await port.until(1, ({ hasEnded }) => hasEnded);
  act("close", 1, false);
  assert.equal(port.text(1), "hello");
  echo.close();
});

test("refusals and resets are told", async () => {
  const resetting = createServer((socket) => socket.once("data", () => socket.resetAndDestroy()));
  const number = await listening(resetting);
  const { port, act } = guest(new SocketCarrier(undefined));
  act("open", 1, "tcp", "127.0.0.1", number);
  await port.until(1, ({ isOpen }) => isOpen);
  act("send", 1, "x");
  assert.equal((await port.until(1, ({ failure }) => failure)).failure, "reset");
  resetting.close();
  await once(resetting, "close");
  act("open", 2, "tcp", "127.0.0.1", number);
  assert.equal((await port.until(2, ({ failure }) => failure)).failure, "refused");
});

test("what the guest sent last arrives, though it closes at once", async () => {
  const { promise, resolve } = Promise.withResolvers?.() ?? deferred();
  const sink = createServer((socket) => {
    let bytes = 0;
    socket.on("data", (part) => (bytes += part.length));
    socket.on("end", () => resolve(bytes));
  });
  const { port, act } = guest(new SocketCarrier(undefined));
  act("open", 1, "tcp", "127.0.0.1", await listening(sink));
  await port.until(1, ({ isOpen }) => isOpen);
  for (let n = 0; n < 50; n++) act("send", 1, Buffer.alloc(100_000));
  act("finish", 1);
  act("close", 1, false);
  assert.equal(await promise, 5_000_000);
  sink.close();
});

function deferred() {
  let resolve;
  const promise = new Promise((settle) => (resolve = settle));
  return { promise, resolve };
}

test("a guest without room stops its sender until it has some", async () => {
  const source = createServer((socket) => socket.on("error", () => undefined).end(Buffer.alloc(20_000_000)));
  const { port, act } = guest(new SocketCarrier(undefined));
  port.hasRoom = false;
  act("open", 1, "tcp", "127.0.0.1", await listening(source));
  await port.until(1, ({ bytes }) => bytes > 0);
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.ok(port.flow(1).bytes < 200_000, `${port.flow(1).bytes} bytes came`);
  port.hasRoom = true;
  act("resume", 1);
  await port.until(1, ({ hasEnded }) => hasEnded);
  assert.equal(port.flow(1).bytes, 20_000_000);
  act("close", 1, false);
  source.close();
});

test("datagrams and questions for names go out and come back", async () => {
  const server = createSocket("udp4");
  server.on("message", (datagram, from) => server.send(`${datagram}!`, from.port, from.address));
  await new Promise((resolve) => server.bind(0, "127.0.0.1", resolve));
  const { port: number } = server.address();
  const { port, act } = guest(new SocketCarrier(`127.0.0.1:${number}`));
  act("open", 1, "udp", "127.0.0.1", number);
  await port.until(1, ({ isOpen }) => isOpen);
  act("send", 1, "ping");
  await port.until(1, ({ bytes }) => bytes > 0);
  assert.equal(port.text(1), "ping!");
  act("ask", 9, "who");
  await port.until(1, () => port.answers.has(9));
  assert.equal(Buffer.from(port.answers.get(9)).toString(), "who!");
  act("close", 1, false);
  server.close();
});

test("a published port leads to the guest, also for who came before it was there", async () => {
  const published = new PublishedPorts();
  const [{ hostPort }] = await published.listen([{ hostPort: 0, guestPort: 80 }]);
  await assert.rejects(
    new PublishedPorts().listen([{ hostPort, guestPort: 81 }]),
    /cannot be published .*choose another/,
  );
  const client = connect(hostPort, "127.0.0.1");
  client.write("early");
  await once(client, "connect");
  const { port, network, act } = guest(nowhere);
  published.connect(network);
  const [number, guestPort] = await Promise.race([once(port, "connect"), Promise.resolve([-1, 80])]);
  assert.deepEqual([number, guestPort], [-1, 80]);
  await port.until(-1, ({ bytes }) => bytes === 5);
  act("send", -1, "answer");
  act("finish", -1);
  const [answer] = await once(client, "data");
  assert.equal(answer.toString(), "answer");
  client.end();
  await port.until(-1, ({ hasEnded }) => hasEnded);
  act("close", -1, false);
  published.end();
});

test("a connection over a channel has back-pressure both ways, and ends", async () => {
  const { port, network, act } = guest(nowhere);
  const { port1, port2 } = new MessageChannel();
  const connection = openConnection(8080, port1);
  joinChannel(network, 8080, port2);
  assert.equal(port.flow(-1).port, 8080);
  const writer = connection.writable.getWriter();
  port.hasRoom = false;
  const written = writer.write(new Uint8Array(1_000_000));
  await port.until(-1, ({ bytes }) => bytes > 0);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.ok(port.flow(-1).bytes <= 256 * 1024, `${port.flow(-1).bytes} bytes came`);
  port.hasRoom = true;
  act("resume", -1);
  await written;
  await port.until(-1, ({ bytes }) => bytes === 1_000_000);
  for (let n = 0; n < 10; n++) act("send", -1, Buffer.alloc(100_000, n));
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.ok(port.flow(-1).sent < 1_000_000, "what nobody reads is confirmed");
  act("finish", -1);
  const received = await new Response(connection.readable).arrayBuffer();
  assert.equal(received.byteLength, 1_000_000);
  await writer.close();
  await port.until(-1, ({ hasEnded }) => hasEnded);
  connection.close();
  assert.equal((await port.until(-1, ({ failure }) => failure)).failure, "reset");
});

test("a port that nobody listens on fails the connection", async () => {
  const { network, act } = guest(nowhere);
  const { port1, port2 } = new MessageChannel();
  const connection = openConnection(81, port1);
  joinChannel(network, 81, port2);
  act("close", -1, true);
  await assert.rejects(connection.readable.getReader().read(), /Port 81 of the guest refused or reset/);
});
