/**
 * The guest's Docker from outside: a Docker client of this computer through a published port, and images by way of the
 * registry in the emulator, from and to Debian's docker-registry on loopback.
 *
 * The client is the guest's own, or the one that DINGHY_DOCKER_CLI names, which is tried at length. DINGHY_COMPOSE names a
 * compose plugin; without it, compose is not tried. DINGHY_GUEST_IMAGE names another image of the guest.
 */

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { DEFAULT_COMMAND_LINE, Machine } from "../lib/node/index.js";
import { dockerClient, packageFiles } from "./packages.mjs";

const BUILD = fileURLToPath(new URL("../../build/", import.meta.url));
/** Far more than anything takes here on two busy cores. */
const PATIENCE_MS = 300_000;
const COMMAND_LINE = `${DEFAULT_COMMAND_LINE} dinghy.docker-port=2375`;

let folder;
let client;
let registry;
let registryPort;
let machine;
let events;
const children = new Set();

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "dinghy-docker-"));
  client = dockerClient(folder);
  mkdirSync(join(folder, "cli-plugins"));
  if (process.env.DINGHY_COMPOSE) {
    copyFileSync(process.env.DINGHY_COMPOSE, join(folder, "cli-plugins/docker-compose"));
    chmodSync(join(folder, "cli-plugins/docker-compose"), 0o755);
  }
  await startRegistry();
  await boot([`http://127.0.0.1:${registryPort}`]);
});
after(async () => {
  children.forEach((child) => child.kill());
  machine?.stop();
  await machine?.gone;
  rmSync(folder, { recursive: true, force: true });
});

function start(program, args, options = {}) {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
  children.add(child);
  child.once("close", () => children.delete(child));
  return child;
}

async function startRegistry() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  registryPort = server.address().port;
  server.close();
  const config = `version: 0.1
storage: { filesystem: { rootdirectory: ${folder}/registry } }
http: { addr: "127.0.0.1:${registryPort}" }
`;
  writeFileSync(join(folder, "registry.yml"), config);
  registry = start(join(packageFiles("docker-registry"), "usr/bin/docker-registry"), [
    "serve",
    join(folder, "registry.yml"),
  ]);
  let log = "";
  registry.stderr.on("data", (bytes) => (log += bytes));
  while (!log.includes("listening on")) {
    assert.equal(registry.exitCode, null, log);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function boot(registries) {
  events = [];
  machine = await Machine.boot({
    kernel: join(BUILD, "kernel/vmlinux"),
    disks: [{ path: process.env.DINGHY_GUEST_IMAGE ?? join(BUILD, "guest/guest.ext4"), writes: "overlay" }],
    commandLine: COMMAND_LINE,
    network: {
      to: "host",
      allow: [`127.0.0.1:${registryPort}`],
      publish: [
        { hostPort: 0, guestPort: 2375 },
        { hostPort: 0, guestPort: 8080 },
      ],
      registry: { cache: join(folder, "cache"), registries },
    },
  });
  machine.on("registry", (event) => events.push(event));
  await new Promise((resolve, reject) => {
    machine.on("phase", ({ mark }) => mark === "docker-ready" && resolve());
    machine.on("exit", ({ lastLines }) => reject(new Error(lastLines.join("\n"))));
  });
}

const hostPort = (port) => machine.published.find(({ guestPort }) => guestPort === port).hostPort;
const clientArguments = () => ["--config", folder, "--host", `tcp://127.0.0.1:${hostPort(2375)}`];

/** Runs a client's command; resolves to what it prints, and fails if it does. */
async function docker(...args) {
  const { code, output } = await attempt(...args);
  assert.equal(code, 0, `docker ${args.join(" ")}: ${output}`);
  return output;
}

async function attempt(...args) {
  const child = start(client, [...clientArguments(), ...args], { timeout: PATIENCE_MS });
  let output = "";
  child.stdout.on("data", (bytes) => (output += bytes));
  child.stderr.on("data", (bytes) => (output += bytes));
  const [code] = await once(child, "close");
  return { code, output };
}

test("a client of this computer builds, runs, follows, enters and copies", async (run) => {
  if (!process.env.DINGHY_DOCKER_CLI) {
    run.skip("DINGHY_DOCKER_CLI names no client to try at length");
    return;
  }
  const versions = await docker("version", "--format", "{{.Client.Version}} with {{.Server.Version}}");
  console.log(`client and server: ${versions.trim()}`);
  assert.equal(await docker("run", "--rm", "busybox", "echo", "hello"), "hello\n");
  const context = join(folder, "context");
  mkdirSync(context);
  writeFileSync(join(context, "Dockerfile"), "FROM busybox\nRUN echo built > /built\nCOPY given /given\n");
  writeFileSync(join(context, "given"), "from outside\n");
  await docker("build", "--tag", "built", context);
  assert.equal(await docker("run", "--rm", "built", "cat", "/built", "/given"), "built\nfrom outside\n");

  const count = 'i=0; while :; do i=$((i + 1)); echo "line $i"; sleep 1; done';
  await docker("run", "--detach", "--name", "counting", "busybox", "sh", "-c", count);
  const following = start(client, [...clientArguments(), "logs", "--follow", "counting"]);
  let followed = "";
  following.stdout.on("data", (bytes) => (followed += bytes));
  while (!followed.includes("line 3\n")) await once(following.stdout, "data");
  following.kill();

  const terminal = [client, ...clientArguments(), "exec", "-it", "counting", "sh", "-c", "'tty; echo rows'"].join(" ");
  const inside = execFileSync("script", ["--quiet", "--return", "--command", terminal, "/dev/null"], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    timeout: PATIENCE_MS,
  });
  // What `script` sends for the end of its own input may be shown.
  assert.match(inside, /\/dev\/pts\/0\s+(\^@)?rows/);

  const large = Buffer.alloc(5_000_000, "0123456789abcdef\n");
  writeFileSync(join(folder, "large"), large);
  await docker("cp", join(folder, "large"), "counting:/large");
  await docker("cp", "counting:/large", join(folder, "again"));
  assert.ok(readFileSync(join(folder, "again")).equals(large));
  await docker("rm", "--force", "counting");
});

test("two services of a composition reach each other by name", async (context) => {
  if (!process.env.DINGHY_COMPOSE) {
    context.skip("DINGHY_COMPOSE names no compose plugin");
    return;
  }
  const project = join(folder, "project");
  mkdirSync(project);
  writeFileSync(
    join(project, "compose.yml"),
    `services:
  web:
    image: busybox
    init: true
    command: sh -c "mkdir /www && echo from web > /www/index.html && exec httpd -f -p 80 -h /www"
    ports: ["8080:80"]
  asker:
    image: busybox
    init: true
    depends_on: [web]
    command: sh -c "until wget -q -O /got http://web/; do sleep 1; done; cat /got; exec sleep 1000"
`,
  );
  const compose = (...args) => docker("compose", "--project-directory", project, "--progress", "plain", ...args);
  await compose("up", "--detach");
  for (const deadline = Date.now() + PATIENCE_MS; ;) {
    if (/from web/.test(await compose("logs", "asker"))) break;
    assert.ok(Date.now() < deadline, "the asker never got its answer");
  }
  const answer = await fetch(`http://127.0.0.1:${hostPort(8080)}/`);
  assert.equal(await answer.text(), "from web\n");
  await compose("down", "--timeout", "1");
});

test("images are pushed, pulled, kept, and pulled again without any registry; tampered ones are refused", async () => {
  const outside = `host.dinghy.internal:${registryPort}`;
  await docker("tag", "busybox", `${outside}/library/thing:1`);
  // An image of one file, which nobody runs.
  writeFileSync(join(folder, "text"), "also good\n");
  execFileSync("tar", ["--create", "--file", join(folder, "one.tar"), "--directory", folder, "text"]);
  await docker("import", join(folder, "one.tar"), `${outside}/library/tampered:1`);
  for (const name of ["thing", "tampered"]) {
    await docker("push", `${outside}/library/${name}:1`);
    await docker("rmi", `${outside}/library/${name}:1`);
  }
  await docker("rmi", "busybox");

  await docker("pull", "thing:1");
  assert.equal(await docker("run", "--rm", "thing:1", "echo", "good"), "good\n");
  assert.ok(events.some(({ kind }) => kind === "changed"));
  await docker("tag", "thing:1", "registry.dinghy.internal/mine/thing:2");
  await docker("push", "registry.dinghy.internal/mine/thing:2");

  const manifest = await fetch(`http://127.0.0.1:${registryPort}/v2/library/tampered/manifests/1`, {
    headers: { accept: "application/vnd.docker.distribution.manifest.v2+json" },
  }).then((response) => response.json());
  const { digest } = manifest.layers.at(-1);
  const hex = digest.slice("sha256:".length);
  const blob = join(folder, "registry/docker/registry/v2/blobs/sha256", hex.slice(0, 2), hex, "data");
  const bytes = readFileSync(blob);
  bytes[bytes.length >> 1] ^= 0xff;
  writeFileSync(blob, bytes);
  const { code, output } = await attempt("pull", "tampered:1");
  assert.notEqual(code, 0, output);
  assert.ok(
    events.some(({ kind, message }) => kind === "failed" && message.includes(digest) && /refused/.test(message)),
    JSON.stringify(events),
  );

  // A guest that knows nothing, and nobody who could be asked.
  registry.kill();
  machine.stop();
  await machine.gone;
  await boot([`http://127.0.0.1:${registryPort}`]);
  await docker("rmi", "busybox");
  for (const image of ["thing:1", "registry.dinghy.internal/mine/thing:2"]) {
    await docker("pull", image);
    assert.equal(await docker("run", "--rm", image, "echo", "good"), "good\n");
    await docker("rmi", image);
  }
  assert.notEqual((await attempt("pull", "tampered:1")).code, 0);
});
