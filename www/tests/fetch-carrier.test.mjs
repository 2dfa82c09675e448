import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { decode, encode } from "dns-packet";

import { fetchCarrier, withFetchFor } from "../lib/network/fetch-carrier.js";
import { Network } from "../lib/network/flows.js";
import { TestPort } from "./network-port.mjs";

let port;
let network;
let asked;
let reply;
let flow = 0;

beforeEach(() => {
  asked = [];
  reply = () => new Response("from outside", { headers: { "content-type": "text/plain", "x-mark": "1" } });
  port = new TestPort();
  const fetch = async (address, options) => {
    asked.push([address, options]);
    return reply();
  };
  const carrier = fetchCarrier({ fetch, ownHost: "page.example:8080", isEncrypted: false });
  network = new Network(port, carrier, () => undefined);
});

async function request(text, toPort = 80) {
  flow += 1;
  port.command("open", flow, "tcp", "198.18.0.1", toPort);
  port.command("send", flow, Buffer.from(text));
  network.work();
  const { failure } = await port.until(flow, (flow) => flow.hasEnded || flow.failure !== undefined);
  return failure ?? port.text(flow);
}

const get = (host, path = "/a?b=c") =>
  request(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\nX-Own: 2\r\n\r\n`);

test("the guest's requests become the browser's", async () => {
  const answer = await get("example.org");
  assert.match(answer, /^HTTP\/1\.1 200 [^]*x-mark: 1\r\n[^]*from outside/);
  const [[address, { method, headers, credentials }]] = asked;
  assert.deepEqual([address, method, credentials], ["http://example.org/a?b=c", "GET", "omit"]);
  assert.deepEqual([...headers], [["x-own", "2"]]);
});

test("bodies go along", async () => {
  const head = "POST /x HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
  await request(`${head}3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n`);
  assert.equal(Buffer.from(asked[0][1].body).toString(), "abcde");
});

test("what the browser refuses is explained to the guest", async () => {
  reply = () => Promise.reject(new TypeError("Failed to fetch"));
  const answer = await get("example.org");
  assert.match(answer, /^HTTP\/1\.1 502 [^]*Access-Control-Allow-Origin[^]*relay/);
});

test("neither the page's own host nor private ones are asked", async () => {
  for (const host of [
    "page.example:8080",
    "localhost",
    "x.localhost:80",
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1:8080",
    "169.254.169.254",
    "[::1]",
    "printer.local.",
  ]) {
    assert.match(await get(host), /^HTTP\/1\.1 403 /, host);
  }
  assert.deepEqual(asked, []);
  assert.match(await get("192.0.2.1.example"), /^HTTP\/1\.1 200 /);
});

test("other ports are refused, and every name has an address", async () => {
  assert.equal(await request("hello", 443), "refused");
  const ask = async (type) => {
    port.command("ask", 7, encode({ type: "query", id: 9, questions: [{ name: "example.org", type }] }));
    network.work();
    while (!port.answers.has(7)) await new Promise((resolve) => setTimeout(resolve, 1));
    const answer = decode(Buffer.from(port.answers.get(7)));
    port.answers.clear();
    return [answer.id, ...answer.answers.map(({ data }) => data)];
  };
  assert.deepEqual(await ask("A"), [9, "198.18.0.1"]);
  assert.deepEqual(await ask("AAAA"), [9]);
});

test("fetch carries what its names say, and another carrier the rest", async () => {
  const called = [];
  const carrier = (name) => ({
    open: (flow, transport, address) => called.push(`${name} opens ${address}`),
    ask: async () => Buffer.from(name),
    end: () => called.push(`${name} ends`),
  });
  const both = withFetchFor(["one.example", "*.two.example"], carrier("fetch"), carrier("relay"));
  const ask = async (name) => (await both.ask(encode({ type: "query", questions: [{ type: "A", name }] }))).toString();
  for (const name of ["one.example", "ONE.example", "a.two.example", "b.a.two.example"])
    assert.equal(await ask(name), "fetch", name);
  for (const name of ["a.one.example", "two.example", "atwo.example", "three.example"])
    assert.equal(await ask(name), "relay", name);
  assert.equal((await both.ask(Buffer.alloc(3))).toString(), "relay");
  both.open(undefined, "tcp", "198.18.0.1", 80);
  both.open(undefined, "tcp", "93.184.216.34", 80);
  both.end();
  assert.deepEqual(called, ["fetch opens 198.18.0.1", "relay opens 93.184.216.34", "fetch ends", "relay ends"]);
});
