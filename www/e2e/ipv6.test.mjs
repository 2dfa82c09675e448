/** IPv6 in the guest: its address, the gateway, the registry in the emulator, and a server of this computer. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { restoreDocker } from "./guest.mjs";

const PREFIX = "fd86:6469:6e67:";

let cache;
let server;
let guest;

before(async () => {
  cache = mkdtempSync(join(tmpdir(), "dinghy-ipv6-"));
  server = createServer((request, response) => response.end(`asked by ${request.headers.host}\n`));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  guest = await restoreDocker({
    to: "host",
    allow: [`127.0.0.1:${server.address().port}`],
    registry: { cache, registries: [] },
  });
});
after(async () => {
  await guest?.stop();
  server?.close();
  if (cache) rmSync(cache, { recursive: true });
});

/** Runs a command that must succeed. */
async function run(command) {
  const { text, code } = await guest.run(command);
  assert.equal(code, 0, text);
  return text;
}

test("the guest makes its address of the prefix, and reaches the gateway, a service and this computer by IPv6", async () => {
  await run(`until ip -6 addr show dev eth0 scope global | grep -v tentative | grep ${PREFIX}; do sleep 0.2; done`);
  assert.match(await run("ip -6 route"), /^default via fe80::1 dev eth0/m);
  assert.match(await run(`busybox ping -6 -c 2 ${PREFIX}:1`), /2 packets received/);
  assert.equal(await wget(`http://[${PREFIX}:fd]/v2/`), "{}");
  assert.equal(await wget("http://registry.ipv6.dinghy.internal/v2/"), "{}");
  const { port } = server.address();
  assert.equal(await wget(`http://[${PREFIX}:fe]:${port}/`), `asked by [${PREFIX}:fe]:${port}`);
  // What the policy does not allow: a private address within IPv6, and this computer's other ports.
  for (const refused of [`[64:ff9b::a01:203]:80`, `[${PREFIX}:fe]:1`, `[${PREFIX}:77]:80`]) {
    const { text, code } = await guest.run(`busybox wget -O - http://${refused}/`);
    assert.notEqual(code, 0, text);
  }
});

/** What a server answers. */
async function wget(address) {
  const text = await run(`busybox wget -q -O /tmp/answer ${address} && echo "[""$(cat /tmp/answer)""]"`);
  return /^\[(.*)\]$/m.exec(text)?.[1];
}
