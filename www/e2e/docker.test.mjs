/** The page as a user meets it: it boots to Docker, and `docker run` prints `hello`. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { launch, open, screenshot, timeline, waitForPhase, waitForTerminal } from "./browser.mjs";
import { serve } from "./server.mjs";

/** Far more than a boot takes on two busy cores, so that only a hang meets it. */
const BOOT_MS = 600_000;
const RUN_MS = 300_000;

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

/** Types a command, and returns what the terminal shows once `pattern` is there. */
async function type(page, command, pattern, timeoutMs) {
  await page.locator("#terminal").click();
  await page.keyboard.type(`${command}\n`);
  return waitForTerminal(page, pattern, timeoutMs);
}

/** Boots to Docker, runs two containers, and prints how long each took. */
async function dockerHello(page, name) {
  const openedAt = Date.now();
  await waitForPhase(page, "Docker ready", BOOT_MS);
  const readyAt = Date.now();
  await waitForTerminal(page, /[#$] *$/m, RUN_MS);
  const typedAt = Date.now();
  await type(page, "docker run --rm busybox echo hello", /^hello$/m, RUN_MS);
  const firstAt = Date.now();
  await type(page, "docker run --rm busybox echo again", /^again$/m, RUN_MS);
  const seconds = (from, to) => ((to - from) / 1000).toFixed(1);
  console.log(
    `${name}: Docker ready after ${seconds(openedAt, readyAt)} s, docker run ${seconds(typedAt, firstAt)} s, again ${seconds(firstAt, Date.now())} s; ${await timeline(page)}`,
  );
}

test("docker run prints hello, and again after a reload", async () => {
  const server = await serve({ isolated: true });
  try {
    const page = await open(browser, `${server.address}?start=boot`);
    assert.equal(await page.evaluate(() => crossOriginIsolated), true);
    await dockerHello(page, "first load");
    await screenshot(page, "docker-run");
    await page.reload();
    await dockerHello(page, "after reload");
    await page.context().close();
  } finally {
    server.close();
  }
});

test("a page that cannot be isolated goes on to a shell in one worker", async () => {
  const server = await serve({ isolated: false });
  try {
    const page = await open(browser, server.address, { serviceWorkers: "block" });
    await page.locator("#notice", { hasText: "not cross-origin isolated" }).waitFor();
    await waitForPhase(page, "Docker ready", BOOT_MS);
    await type(page, "echo $((6 * 7)) is it", /^42 is it$/m, RUN_MS);
    await screenshot(page, "one-worker");
    await page.context().close();
  } finally {
    server.close();
  }
});

test("the power button shuts the guest down, and starts it again", async () => {
  const server = await serve({ isolated: true });
  try {
    const page = await open(browser, server.address);
    await waitForPhase(page, "Docker ready", BOOT_MS);
    await page.locator("#power-button").click();
    await page.locator("#panel-text", { hasText: "The guest has shut down." }).waitFor({ timeout: RUN_MS });
    await page.locator("#panel-button").click();
    await waitForPhase(page, "Booting Linux", 60_000);
    await page.context().close();
  } finally {
    server.close();
  }
});
