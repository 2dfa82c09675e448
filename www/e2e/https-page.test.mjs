/** The guest's HTTPS by the browser's fetch, in the page: where it is switched on, and what the guest is told where not. */

import assert from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:https";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";

import { chromium } from "playwright-core";

import { serverCertificate } from "../tests/certificates.mjs";
import { makeImage, TestRegistry } from "../tests/registry-upstream.mjs";
import { open, OPTIONS, screenshot, waitForPhase, waitForTerminal } from "./browser.mjs";
import { serve } from "./server.mjs";

const BOOT_MS = 600_000;
const RUN_MS = 300_000;
const NAME = "registry.example";
const MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";

let browser;
let registry;
let server;
let site;
/** Whether the server lets pages read what it sends. */
let letsPagesRead = true;

before(async () => {
  registry = new TestRegistry();
  registry.url = `https://${NAME}`;
  const layer = Buffer.alloc(10240);
  registry.add("thing:1", makeImage(gzipSync(layer), layer));
  const { key, cert } = serverCertificate(NAME);
  server = createServer({ key, cert }, (request, response) => {
    if (letsPagesRead) {
      response.setHeader("access-control-allow-origin", "*");
      response.setHeader("access-control-allow-headers", "*");
      response.setHeader("access-control-expose-headers", "*");
    }
    response.setHeader("content-type", MANIFEST);
    if (request.method === "OPTIONS" || request.url === "/v2/") response.end();
    else registry.server.emit("request", request, response);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  // The browser takes the server for one of the public internet, with a certificate that it trusts.
  const spki = new X509Certificate(cert).publicKey.export({ type: "spki", format: "der" });
  browser = await chromium.launch({
    ...OPTIONS,
    args: [
      ...OPTIONS.args,
      `--host-resolver-rules=MAP ${NAME}:443 127.0.0.1:${server.address().port}`,
      `--ignore-certificate-errors-spki-list=${createHash("sha256").update(spki).digest("base64")}`,
    ],
  });
  site = await serve({ isolated: true });
});
after(async () => {
  await browser?.close();
  site?.close();
  server?.closeAllConnections();
  server?.close();
});

let commands = 0;
async function run(page, command) {
  const number = (commands += 1);
  await page.locator("#terminal").click();
  await page.keyboard.type(`clear; ${command}; echo "ended $((${number} * 1000)) $?"\n`);
  const text = await waitForTerminal(page, new RegExp(`^ended ${number}000 \\d+$`, "m"), RUN_MS);
  return { text, isRight: new RegExp(`^ended ${number}000 0$`, "m").test(text) };
}

async function ready(page) {
  await waitForPhase(page, "Docker ready", BOOT_MS);
  await waitForTerminal(page, /[#$] *$/m, RUN_MS);
}

test("HTTPS by fetch is off, until it is switched on in the page", async () => {
  const page = await open(browser, `${site.address}?net=fetch`);
  await ready(page);
  const off = await run(page, `docker pull ${NAME}/thing:1`);
  assert.ok(!off.isRight, off.text);
  assert.match(off.text, /connection refused/);

  await page.locator("#network-button").click();
  await screenshot(page, "network");
  await page.locator("#network-https").check();
  const isThere = page.waitForRequest(/tls_bg.*\.wasm$/);
  await page.locator("#network-apply").click();
  await page.waitForURL(/https=443/);
  await isThere;
  await ready(page);
  const trusted = "grep -q '# dinghy begins' /etc/ssl/certs/ca-certificates.crt";
  const trusting = await run(page, `until ${trusted}; do sleep 0.2; done`);
  assert.ok(trusting.isRight, trusting.text);
  const on = await run(page, `docker pull ${NAME}/thing:1`);
  assert.ok(on.isRight, on.text);
  assert.ok(registry.requests.some((path) => path.startsWith("/v2/thing/blobs/")));

  letsPagesRead = false;
  const kept = await run(page, `docker rmi ${NAME}/thing:1; docker pull ${NAME}/thing:1`);
  assert.ok(!kept.isRight, kept.text);
  assert.match(kept.text, /502/);
  await page.context().close();
});
