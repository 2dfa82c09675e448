/** Machines that reach each other: two in node, two tabs of one origin, and two browsers over WebRTC. */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { after, before, test } from "node:test";

import { serve } from "../lib/node/serve/server.js";
import { launch, open, screenshot, waitForPhase, waitForTerminal } from "./browser.mjs";
import { restoreDocker } from "./guest.mjs";

/** Far more than it takes on two busy cores, so that only a hang meets it. */
const PATIENCE_MS = 120_000;

let browser;
let serving;
before(async () => {
  browser = await launch();
  serving = await serve({
    folder: fileURLToPath(new URL("../dist/", import.meta.url)),
    host: "127.0.0.1",
    port: 0,
    allow: [],
    origins: [],
    nameServer: undefined,
  });
});
after(async () => {
  await browser.close();
  await serving.close();
});

test("two machines in node ping each other, and a server in one is reached from the other", async () => {
  const guests = [await restoreDocker({ to: "nowhere" }), await restoreDocker({ to: "nowhere" })];
  try {
    const met = guests.map(
      ({ machine }) =>
        new Promise((resolve) => machine.on("peers", ({ own, others }) => own && others.length === 1 && resolve(own))),
    );
    guests.forEach(({ machine }) => machine.joinPeers("test"));
    const [one, other] = await Promise.all(met);
    assert.notEqual(one, other);
    const ping = await guests[0].run(`ping -c 3 ${other}`);
    assert.match(ping.text, /3 packets transmitted, 3 packets received/);
    console.log(/round-trip .*/.exec(ping.text)?.[0]);
    assert.match((await guests[1].run(`ping -c 1 ${one}`)).text, /1 packets received/);
    // A container's port, and what is large enough to be cut.
    const server =
      'docker run --detach --publish 8080:80 busybox sh -c "head -c 3000000 /dev/zero >/tmp/file; httpd -f -h /tmp"';
    assert.equal((await guests[1].run(server)).code, 0);
    const { text } = await guests[0].run(
      `busybox sh -c 'until wget -q -O /tmp/file http://${other}:8080/file; do sleep 0.2; done; wc -c </tmp/file'`,
    );
    assert.match(text, /^3000000$/m);
    guests[1].machine.leavePeers();
    await new Promise((resolve) => guests[0].machine.on("peers", ({ others }) => others.length === 0 && resolve()));
    assert.match((await guests[0].run(`ping -c 1 -W 1 ${other}`)).text, /100% packet loss/);
  } finally {
    await Promise.all(guests.map(({ stop }) => stop()));
  }
});

async function ready(page) {
  await waitForPhase(page, "Docker ready", PATIENCE_MS);
  await waitForTerminal(page, /[#$] *$/m, PATIENCE_MS);
}

async function ping(page, address) {
  await page.locator("#terminal").click();
  await page.keyboard.type(`clear; ping -c 3 ${address}\n`);
  const text = await waitForTerminal(page, /3 packets transmitted, \d+ packets received/, PATIENCE_MS);
  assert.match(text, /3 packets received/);
}

/** The address of a page's machine, once it has so many others around it. */
async function address(page, others) {
  await page.waitForFunction(
    (count) => {
      const shown = document.getElementById("peers-others").textContent;
      return (
        document.getElementById("peers-own").textContent !== "none" &&
        shown !== "none" &&
        shown.split(", ").length === count
      );
    },
    others,
    { timeout: PATIENCE_MS },
  );
  return page.locator("#peers-own").textContent();
}

test("two tabs ping each other, and a third machine in another browser joins by an offer to paste", async () => {
  const one = await open(browser, `${serving.pageAddress}?peers`);
  await ready(one);
  const two = await one.context().newPage();
  await two.goto(`${serving.pageAddress}?peers`);
  // The disk is the first tab's.
  await two.locator("#panel-others button").click({ timeout: PATIENCE_MS });
  await ready(two);
  const addresses = [await address(one, 1), await address(two, 1)];
  assert.notEqual(addresses[0], addresses[1]);
  await ping(two, addresses[0]);
  await one.bringToFront();
  await ping(one, addresses[1]);
  await two.close();

  const far = await open(browser, serving.pageAddress);
  await ready(far);
  await far.locator("#peers-button").click();
  await one.locator("#peers-button").click();
  await one.locator("#peers-offer").click();
  await one.waitForFunction(() => document.getElementById("peers-text").value !== "");
  const offer = await one.locator("#peers-text").inputValue();
  await far.locator("#peers-text").fill(offer);
  await far.locator("#peers-take").click();
  await far.waitForFunction((text) => document.getElementById("peers-text").value !== text, offer);
  await one.locator("#peers-text").fill(await far.locator("#peers-text").inputValue());
  await one.locator("#peers-take").click();
  await far.locator("#peers-hint", { hasText: "The other machine is there." }).waitFor({ timeout: PATIENCE_MS });
  const farAddress = await address(far, 1);
  assert.notEqual(farAddress, addresses[0]);
  await screenshot(far, "peers");
  await far.locator("#peers-close").click();
  await ping(far, addresses[0]);
  // What is no offer is refused with a sentence.
  await far.locator("#peers-button").click();
  await far.locator("#peers-text").fill("nonsense");
  await far.locator("#peers-take").click();
  await far.locator("#peers-hint", { hasText: "This is no offer" }).waitFor();
  await Promise.all([one.context().close(), far.context().close()]);
});
