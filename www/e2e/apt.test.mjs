/**
 * apt in a Debian container, over the relay of `dinghy serve`, from a repository on this computer. DINGHY_APT_MIRROR
 * names a Debian mirror, such as http://deb.debian.org/debian, to install a package from as well, its signature checked.
 */

import assert from "node:assert/strict";
import { createReadStream, existsSync, mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { lookup } from "node:dns/promises";
import { createServer } from "node:http";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join, normalize } from "node:path";
import { after, before, test } from "node:test";

import { configuredNameServer } from "../lib/node/sockets.js";
import { serve } from "../lib/node/serve/server.js";
import { debianRoot, makeRepository } from "./debian.mjs";
import { restoreDocker } from "./guest.mjs";

const MIRROR = process.env.DINGHY_APT_MIRROR;
const KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg";
/** In the guest, the computer that it runs on. */
const HOST = "host.dinghy.internal";

let folder;
let files;
let serving;
let guest;
const asked = [];

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "dinghy-apt-"));
  mkdirSync(join(folder, "repository"));
  makeRepository(join(folder, "repository"), "dinghy-hello", "hello from a package");
  const root = debianRoot();
  files = createServer(({ url }, response) => {
    asked.push(url);
    const path = url === "/root.tar" ? root : join(folder, normalize(url));
    if (!existsSync(path) || !statSync(path).isFile()) response.writeHead(404).end();
    else createReadStream(path).pipe(response.writeHead(200, { "content-length": statSync(path).size }));
  }).listen(0, "127.0.0.1");
  await once(files, "listening");
  // By its address: a mirror within a company has none that is public.
  const mirror = MIRROR ? [`${(await lookup(new URL(MIRROR).hostname, { family: 4 })).address}:80`] : [];
  const destination = `127.0.0.1:${files.address().port}`;
  serving = await serve({
    folder,
    host: "127.0.0.1",
    port: 0,
    allow: [destination, ...mirror],
    origins: [],
    nameServer: configuredNameServer(),
  });
  guest = await restoreDocker({
    to: "relay",
    relay: `${serving.address.replace(/^http/, "ws")}relay/`,
    allow: [destination, ...mirror],
  });
});
after(async () => {
  await guest?.stop();
  await serving?.close();
  files?.close();
  if (folder) rmSync(folder, { recursive: true, force: true });
});

/** Runs a command in a Debian container, which is there for the next one. */
async function inDebian(command) {
  const startedAt = Date.now();
  const { text, code } = await guest.run(`docker exec debian sh -c '${command}'`);
  assert.equal(code, 0, text);
  console.log(`${command.slice(0, 60)}: ${((Date.now() - startedAt) / 1000).toFixed(1)} s`);
  return text;
}

test("apt-get update and install in a Debian container, over the relay", async () => {
  const address = `http://${HOST}:${files.address().port}`;
  const imported = await guest.run(`docker import ${address}/root.tar debian`);
  assert.equal(imported.code, 0, imported.text);
  const started = await guest.run("docker run --detach --init --name debian debian sleep 100000");
  assert.equal(started.code, 0, started.text);
  await inDebian(`echo "deb [trusted=yes] ${address}/repository ./" > /etc/apt/sources.list`);
  await inDebian("apt-get update");
  assert.match(await inDebian("apt-get install --yes dinghy-hello"), /dinghy-hello was configured/);
  assert.match(await inDebian("dinghy-hello"), /^hello from a package$/m);
  assert.ok(asked.includes("/repository/./Packages") || asked.includes("/repository/Packages"), asked.join());
  assert.ok(
    asked.some((path) => path.endsWith("/dinghy-hello_1.0_all.deb")),
    asked.join(),
  );
});

test("a repository that the relay does not allow is out of reach", async () => {
  const { text, code } = await guest.run(
    `docker exec debian sh -c 'echo "deb [trusted=yes] http://${HOST}:1/ ./" > /etc/apt/sources.list; apt-get update -o Acquire::Retries=0 -o APT::Update::Error-Mode=any'`,
  );
  assert.notEqual(code, 0, text);
  assert.match(text, /Could not connect|Connection refused|Unable to connect/);
});

test(
  "from a Debian mirror, signatures checked",
  { skip: MIRROR ? false : "DINGHY_APT_MIRROR is not set" },
  async () => {
    await inDebian(`echo "deb [signed-by=${KEYS}] ${MIRROR} bookworm main" > /etc/apt/sources.list`);
    const update = await inDebian("apt-get update");
    assert.doesNotMatch(update, /NO_PUBKEY|not signed|W:/);
    await inDebian("apt-get install --yes --no-install-recommends hello");
    assert.match(await inDebian("hello"), /^Hello, world!$/m);
  },
);
