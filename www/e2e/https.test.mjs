/**
 * The guest's HTTPS by requests of this computer: ended with certificates of the authority that the guest trusts, made anew
 * towards a server that only NODE_EXTRA_CA_CERTS makes node trust. Docker and apt in a container verify it.
 */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createReadStream, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer, request as requestHttps } from "node:https";
import { connect, createServer as createListener } from "node:net";
import { tmpdir } from "node:os";
import { join, normalize } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

import { WebSocket } from "ws";

import { collect } from "../lib/bytes.js";
import { carrierFetch } from "../lib/network/carrier-fetch.js";
import { RelayCarrier } from "../lib/network/relay.js";
import { loadTls } from "../lib/network/tls.js";
import { serve } from "../lib/node/serve/server.js";
import { routeOf } from "../lib/registry/upstream.js";
import { serverCertificate } from "../tests/certificates.mjs";
import { digestOf, makeImage, TestRegistry } from "../tests/registry-upstream.mjs";
import { debianRoot, makeRepository } from "./debian.mjs";
import { shellOf } from "./guest.mjs";
import { packageFiles } from "./packages.mjs";

const COMMAND = fileURLToPath(new URL("../bin/dinghy.mjs", import.meta.url));
const SNAPSHOT = fileURLToPath(new URL("../../build/guest/docker.snapshot", import.meta.url));
/** In the guest, the computer that it runs on. */
const HOST = "host.dinghy.internal";
const CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt";
const MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";
const PATIENCE_MS = 120_000;

let folder;
let server;
let registry;
const guests = [];

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "dinghy-https-"));
  mkdirSync(join(folder, "repository"));
  makeRepository(join(folder, "repository"), "dinghy-hello", "hello from a package");
  const root = debianRoot();
  registry = new TestRegistry();
  const layer = Buffer.alloc(10240);
  registry.add("thing:1", makeImage(gzipSync(layer), layer));
  const { ca, key, cert } = serverCertificate(HOST);
  writeFileSync(join(folder, "ca.pem"), ca);
  server = createServer({ key, cert }, (request, response) => {
    if (request.url.startsWith("/v2/")) {
      response.setHeader("content-type", MANIFEST);
      if (request.url === "/v2/") response.end("{}");
      else registry.server.emit("request", request, response);
      return;
    }
    const path = request.url === "/root.tar" ? root : join(folder, normalize(request.url));
    if (!existsSync(path) || !statSync(path).isFile()) response.writeHead(404).end();
    else createReadStream(path).pipe(response.writeHead(200, { "content-length": statSync(path).size }));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  registry.url = `https://${HOST}:${server.address().port}`;
});
after(async () => {
  for (const guest of guests) guest.kill();
  server?.closeAllConnections();
  server?.close();
  if (folder) rmSync(folder, { recursive: true, force: true });
});

/** A guest of the command, whose network is this computer's requests, with further options. */
function start(...options) {
  const words = ["run", "--restore", SNAPSHOT, "--net", "fetch", "--net-allow", `127.0.0.1:${server.address().port}`];
  const guest = spawn(process.execPath, [COMMAND, ...words, ...options], {
    env: { ...process.env, NODE_EXTRA_CA_CERTS: join(folder, "ca.pem") },
    stdio: ["pipe", "pipe", "inherit"],
  });
  guests.push(guest);
  let printed = "";
  guest.stdout.on("data", (bytes) => (printed += bytes));
  const terminal = {
    onData: (listener) => guest.stdout.on("data", listener),
    write: (text) => guest.stdin.write(text),
  };
  const run = shellOf(terminal, () => (guest.exitCode === null ? undefined : printed.slice(-2000)));
  /** Waits for a line of the guest's. */
  const until = async (pattern) => {
    for (const deadline = Date.now() + PATIENCE_MS; !pattern.test(printed);) {
      assert.ok(Date.now() < deadline, `there is no ${pattern} in ${printed.slice(-2000)}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  const stop = async () => {
    guest.kill();
    await once(guest, "exit");
  };
  return { run, until, stop };
}

test("with an authority that the guest trusts: Docker, and apt in a container", async () => {
  const { port } = server.address();
  const { run, until, stop } = start("--https", String(port), "--https", "443");
  await until(/dinghy:trusting/);
  const right = async (command) => {
    const { text, code } = await run(command);
    assert.equal(code, 0, text);
    return text;
  };
  await right(`grep -q '# dinghy begins' ${CERTIFICATES}`);
  await right(`docker pull ${HOST}:${port}/thing:1`);
  assert.ok(registry.requests.some((path) => path.startsWith("/v2/thing/blobs/")));

  await right(`docker import https://${HOST}:${port}/root.tar debian`);
  const apt = (options) =>
    `docker run --rm ${options} debian sh -c 'echo "deb [trusted=yes] https://${HOST}:${port}/repository ./" ` +
    `> /etc/apt/sources.list; apt-get update -o Acquire::Retries=0 -o APT::Update::Error-Mode=any && ` +
    `apt-get install --yes dinghy-hello && dinghy-hello'`;
  const installed = await right(apt(`--volume ${CERTIFICATES}:${CERTIFICATES}:ro`));
  assert.match(installed, /^hello from a package$/m);
  const { text, code } = await run(apt(""));
  assert.notEqual(code, 0, text);
  assert.match(text, /certificate|No system certificates/i);

  // To names that lead to this computer, and ports that are not allowed, nothing goes.
  const local = await run("docker pull here.localhost:443/thing:1");
  assert.notEqual(local.code, 0);
  assert.match(local.text, /403[^]*The policy does not let the guest ask here\.localhost/);
  const elsewhere = await run(`wget -O- https://${HOST}/`);
  assert.notEqual(elsewhere.code, 0);
  assert.match(elsewhere.text, /refused|unreachable|timed out/);
  await stop();
});

test("without, there is no HTTPS, and the guest trusts nobody more", async () => {
  const { port } = server.address();
  const { run, stop } = start();
  const asked = registry.requests.length;
  const { text, code } = await run(`docker pull ${HOST}:${port}/thing:1`);
  assert.notEqual(code, 0);
  assert.match(text, /connection refused/);
  assert.equal(registry.requests.length, asked);
  assert.notEqual((await run(`grep -q '# dinghy begins' ${CERTIFICATES}`)).code, 0);
  const closed = await run("wget -O- http://10.86.0.253:81/certificate-authority.pem");
  assert.notEqual(closed.code, 0);
  assert.match(closed.text, /refused/);
  await stop();
});

test("a registry with HTTPS alone, Debian's docker-registry, over a relay", async () => {
  const { ca, key, cert } = serverCertificate("localhost");
  for (const [name, text] of Object.entries({ key, cert })) writeFileSync(join(folder, name), text);
  const port = await freePort();
  const environment = {
    REGISTRY_HTTP_TLS_CERTIFICATE: join(folder, "cert"),
    REGISTRY_HTTP_TLS_KEY: join(folder, "key"),
    REGISTRY_HTTP_ADDR: `127.0.0.1:${port}`,
    REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY: join(folder, "storage"),
  };
  const configuration = join(folder, "registry.yml");
  writeFileSync(configuration, "version: 0.1\nstorage:\n  filesystem: {}\nhttp: {}\n");
  const program = join(packageFiles("docker-registry"), "usr/bin/docker-registry");
  const debian = spawn(program, ["serve", configuration], { env: { ...process.env, ...environment }, stdio: "ignore" });
  guests.push(debian);
  await until(port);
  const { manifest, config, layer } = makeImage(gzipSync(Buffer.alloc(10240)), Buffer.alloc(10240));
  const put = (path, type, body) => request(`https://localhost:${port}/v2/${path}`, { ca, body, method: "PUT", type });
  for (const blob of [config, layer]) {
    const { location } = await request(`https://localhost:${port}/v2/thing/blobs/uploads/`, { ca, method: "POST" });
    const { pathname, search } = new URL(location);
    await put(`${pathname.slice(4)}${search}&digest=${digestOf(blob)}`, "application/octet-stream", blob);
  }
  await put("thing/manifests/1", MANIFEST, manifest);

  const serving = await serve({
    folder,
    host: "127.0.0.1",
    port: 0,
    allow: [`127.0.0.1:${port}`],
    origins: [],
    nameServer: undefined,
  });
  const address = `${serving.address.replace(/^http/, "ws")}relay/`;
  const relay = new RelayCarrier(address, undefined, (url, protocols) => new WebSocket(url, protocols));
  const { Client } = await loadTls(readFile);
  const upstream = (roots) =>
    routeOf(
      `https://localhost:${port}`,
      carrierFetch(relay, () => Promise.resolve(new Client(roots))),
    ).upstream;
  assert.deepEqual(Buffer.from(await upstream(ca).manifest("thing", "1", MANIFEST)), manifest);
  const { body, size } = await upstream(ca).blob("thing", digestOf(layer));
  assert.equal(size, layer.length);
  assert.deepEqual(Buffer.from(await collect(body)), layer);
  assert.equal(await upstream(ca).manifest("thing", "2", MANIFEST), undefined);
  await assert.rejects(upstream("").manifest("thing", "1", MANIFEST), /invalid peer certificate/);
  relay.end();
  await serving.close();
});

async function freePort() {
  const listener = createListener().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address();
  listener.close();
  await once(listener, "close");
  return port;
}

/** Waits until somebody listens. */
async function until(port) {
  for (const deadline = Date.now() + PATIENCE_MS; Date.now() < deadline;) {
    const socket = connect(port, "127.0.0.1");
    const isOpen = await new Promise((resolve) =>
      socket.once("connect", () => resolve(true)).once("error", () => resolve()),
    );
    socket.destroy();
    if (isOpen) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`nobody listens at port ${port}`);
}

/** Asks a server whose certificate `ca` speaks for. Resolves to the answer's headers. */
async function request(address, { ca, method, type, body }) {
  const headers = { ...(type ? { "content-type": type } : {}), "content-length": body?.length ?? 0 };
  const asked = requestHttps(address, { ca, method, headers }).end(body);
  const [answer] = await once(asked, "response");
  answer.resume();
  assert.ok(answer.statusCode < 300, `${method} ${address}: ${answer.statusCode}`);
  return answer.headers;
}
