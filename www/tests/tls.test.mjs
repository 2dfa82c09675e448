/** HTTPS by fetch, seen by node's own TLS as the guest's, and HTTPS over a relay, from node's own server. */

import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer as createHttpsServer } from "node:https";
import { Duplex } from "node:stream";
import { tmpdir } from "node:os";
import { after, before, beforeEach, test } from "node:test";
import { connect, rootCertificates } from "node:tls";

import { WebSocket } from "ws";

import { carrierFetch } from "../lib/network/carrier-fetch.js";
import { fetchCarrier } from "../lib/network/fetch-carrier.js";
import { Network } from "../lib/network/flows.js";
import { RelayCarrier } from "../lib/network/relay.js";
import { loadTls } from "../lib/network/tls.js";
import { httpsPorts, withCertificate } from "../lib/network/trust.js";
import { serve } from "../lib/node/serve/server.js";
import { serverCertificate } from "./certificates.mjs";
import { TestPort } from "./network-port.mjs";

const BIG = Buffer.alloc(3_000_000, "0123456789abcdef");

let tls;
let authority;
let port;
let network;
let asked;
let reply;
let flow = 0;

before(async () => {
  tls = await loadTls(readFile);
  authority = new tls.Authority();
});

beforeEach(() => {
  asked = [];
  reply = () => new Response("from outside");
  port = new TestPort();
  const carrier = fetchCarrier({
    fetch: async (address, options) => {
      asked.push([address, options.method]);
      return reply();
    },
    ownHost: "page.example",
    isEncrypted: false,
    https: { authority, ports: [443, 8443] },
  });
  network = new Network(port, carrier, () => undefined);
});

/** The guest's end of a new flow, as a stream. */
function guestStream(toPort, address = "198.18.0.1") {
  const number = ++flow;
  let given = 0;
  let isEnded = false;
  const act = (...command) => {
    port.command(...command);
    network.work();
  };
  act("open", number, "tcp", address, toPort);
  const stream = new Duplex({
    read: () => undefined,
    write(bytes, _, done) {
      act("send", number, bytes);
      done();
    },
    final(done) {
      act("finish", number);
      done();
    },
    destroy(error, done) {
      act("close", number, true);
      done(error);
    },
  });
  port.on("change", () => {
    const { data, hasEnded, failure } = port.flow(number);
    for (; given < data.length; given++) stream.push(data[given]);
    if (hasEnded && !isEnded) stream.push(null);
    isEnded ||= hasEnded;
    if (failure) stream.destroy(new Error(failure));
  });
  return { stream, number };
}

/** Connects as a program of the guest's would. */
async function connectGuest(servername, { toPort = 443, ca = [authority.certificate()], ...others } = {}) {
  const { stream, number } = guestStream(toPort);
  const socket = connect({ socket: stream, servername, ca, ALPNProtocols: ["h2", "http/1.1"], ...others });
  await once(socket, "secureConnect");
  return { socket, number };
}

async function request(socket, text) {
  const pieces = [];
  socket.on("data", (bytes) => pieces.push(bytes));
  socket.write(text);
  await once(socket, "end");
  return Buffer.concat(pieces);
}

const get = (host, path = "/") => `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;

test("the guest's HTTPS is verified against the tab's authority, and carried by fetch", async () => {
  const { socket, number } = await connectGuest("example.org");
  assert.equal(socket.authorized, true);
  assert.equal(socket.alpnProtocol, "http/1.1");
  assert.equal(socket.getProtocol(), "TLSv1.3");
  const sent = "GET /a?b=c HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n";
  assert.match(String(await request(socket, sent)), /^HTTP\/1\.1 200 [^]*from outside/);
  assert.deepEqual(asked, [["https://example.org/a?b=c", "GET"]]);
  // What has been read was confirmed, the handshake's bytes too.
  assert.ok(port.flow(number).sent > sent.length);
});

test("TLS 1.2 does too, and other ports", async () => {
  const { socket } = await connectGuest("example.org", { toPort: 8443, maxVersion: "TLSv1.2" });
  assert.match(String(await request(socket, get("example.org:8443"))), / 200 /);
  assert.deepEqual(asked, [["https://example.org:8443/", "GET"]]);
});

test("the certificates lead to the authority, whose key makes no others", async () => {
  const root = new X509Certificate(authority.certificate());
  assert.equal(root.ca, true);
  assert.ok(root.verify(root.publicKey));
  const { socket } = await connectGuest("example.org");
  const leaf = socket.getPeerX509Certificate();
  socket.destroy();
  assert.equal(leaf.ca, false);
  assert.equal(leaf.subjectAltName, "DNS:example.org");
  assert.ok(leaf.checkIssued(root));
  assert.ok(leaf.verify(root.publicKey));
  assert.ok(!leaf.verify(new X509Certificate(new tls.Authority().certificate()).publicKey));
  for (const { validFrom, validTo } of [root, leaf]) {
    assert.ok(Date.parse(validFrom) < Date.now() && Date.now() < Date.parse(validTo));
  }
});

test("who does not trust the authority gets no connection", async () => {
  for (const ca of [rootCertificates, [new tls.Authority().certificate()]]) {
    await assert.rejects(connectGuest("example.org", { ca }), /certificate|signature/);
  }
  await assert.rejects(
    connectGuest("example.org", { checkServerIdentity: (_, { subjectaltname }) => new Error(subjectaltname) }),
    /^Error: DNS:example.org$/,
  );
  assert.deepEqual(asked, []);
});

test("a large answer arrives whole", async () => {
  reply = () => new Response(BIG);
  const { socket } = await connectGuest("example.org");
  const answer = await request(socket, get("example.org"));
  const start = answer.indexOf("\r\n\r\n") + 4;
  const body = answer
    .subarray(start)
    .toString("latin1")
    .replaceAll(/(?:^|\r\n)[0-9a-f]+\r\n(?:\r\n$)?/g, "");
  assert.equal(body.length, BIG.length);
  assert.equal(body, BIG.toString("latin1"));
});

test("a request for another host than the certificate's is not carried", async () => {
  const { socket } = await connectGuest("example.org");
  assert.match(String(await request(socket, get("other.example"))), /^HTTP\/1\.1 421 [^]*is for example\.org/);
  assert.deepEqual(asked, []);
});

test("hosts that the policy refuses stay refused, and what fetch refuses is explained", async () => {
  for (const host of ["page.example", "localhost", "x.internal"]) {
    const { socket } = await connectGuest(host);
    assert.match(String(await request(socket, get(host))), /^HTTP\/1\.1 403 [^]*policy/, host);
  }
  assert.deepEqual(asked, []);
  reply = () => Promise.reject(new TypeError("Failed to fetch"));
  const { socket } = await connectGuest("example.org");
  assert.match(String(await request(socket, get("example.org"))), /^HTTP\/1\.1 502 [^]*Access-Control-Allow-Origin/);
});

test("what is no TLS ends with an alert", async () => {
  const { stream, number } = guestStream(443);
  stream.resume();
  stream.write("GET / HTTP/1.1\r\n\r\n");
  await port.until(number, ({ hasEnded }) => hasEnded);
  assert.equal(port.flow(number).data[0][0], 21);
});

test("where HTTPS is not wanted, its ports are closed", async () => {
  const carrier = fetchCarrier({ fetch, ownHost: "page.example", isEncrypted: false });
  network = new Network(port, carrier, () => undefined);
  const { stream, number } = guestStream(443);
  await once(stream, "error");
  assert.equal(port.flow(number).failure, "refused");
  assert.deepEqual([...withCertificate(new Map(), undefined).keys()], []);
  assert.deepEqual(httpsPorts({ to: "fetch" }), []);
  for (const wrong of [0, 80, 65536, 1.5]) assert.throws(() => httpsPorts({ to: "fetch", https: [wrong] }), /port/);
});

test("the guest gets the authority's certificate by plain HTTP", async () => {
  const services = withCertificate(new Map(), authority);
  const [[number, service]] = services;
  assert.equal(number, 81);
  const ask = async (path) => {
    let text = "";
    const said = new Promise((resolve) => {
      const user = {
        opened() {},
        failed: resolve,
        data: (bytes) => (text += Buffer.from(bytes)),
        ended: resolve,
        sent() {},
      };
      service(user).send(Buffer.from(get("registry.dinghy.internal:81", path)));
    });
    await said;
    return text;
  };
  assert.ok((await ask("/certificate-authority.pem")).endsWith(authority.certificate()));
  assert.match(await ask("/"), /^HTTP\/1\.1 404 /);
});

test("HTTPS over a relay: verified, with the user's roots, not without, and nothing for another name", async (context) => {
  const { ca, key, cert } = serverCertificate("localhost");
  const server = createHttpsServer({ key, cert }, ({ url }, response) => {
    if (url === "/big") response.end(BIG);
    else if (url === "/plain") response.writeHead(302, { location: "http://localhost:1/" }).end();
    else response.writeHead(302, { location: "/big" }).end();
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port: number } = server.address();
  const serving = await serve({
    folder: tmpdir(),
    host: "127.0.0.1",
    port: 0,
    allow: [`127.0.0.1:${number}`],
    origins: [],
    nameServer: undefined,
  });
  const relay = new RelayCarrier(
    `${serving.address.replace(/^http/, "ws")}relay/`,
    undefined,
    (url, protocols) => new WebSocket(url, protocols),
  );
  context.after(async () => {
    relay.end();
    await serving.close();
    server.close();
  });
  const get = (roots, address) => carrierFetch(relay, async () => new tls.Client(roots))(new URL(address), {});
  const answer = await get(ca, `https://localhost:${number}/moved`);
  assert.equal(answer.status, 200);
  assert.deepEqual(Buffer.from(await answer.arrayBuffer()), BIG);
  await assert.rejects(get("", `https://localhost:${number}/big`), /invalid peer certificate: UnknownIssuer/);
  await assert.rejects(get(ca, `https://127.0.0.1:${number}/big`), /not valid for name/);
  await assert.rejects(get(ca, `https://localhost:${number}/plain`), /is not asked in its place/);
  await assert.rejects(get(ca, "https://localhost:1/"), /forbidden/);
  assert.throws(() => new tls.Client("no certificate"), /no certificates in PEM/);
});

after(() => {
  port?.removeAllListeners();
});
