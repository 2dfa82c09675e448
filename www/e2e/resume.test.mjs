/** The second visit goes on where the first one ended; with a disk that has moved on, it boots. */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { chromium } from "playwright-core";

import { OPTIONS, terminalText, timeline, waitForPhase, waitForTerminal } from "./browser.mjs";
import { serve } from "./server.mjs";

/** Far more than it takes on two busy cores, so that only a hang meets it. */
const PATIENCE_MS = 180_000;
const PROMPT = /[#$] *$/m;

async function type(page, command, pattern) {
  await page.locator("#terminal").click();
  await page.keyboard.type(`${command}\n`);
  return waitForTerminal(page, pattern, PATIENCE_MS);
}

/** Milliseconds from the page's opening to a mark of the page's, the last one of that name. */
const markOf = (page, name) =>
  page.evaluate((wanted) => performance.getEntriesByName(`dinghy:${wanted}`).at(-1)?.startTime, name);

/** Waits until the machine is kept as it is now. */
async function waitUntilKept(page) {
  const marks = () => page.evaluate(() => performance.getEntriesByName("dinghy:kept").length);
  // What the guest has done reaches its disk some seconds later, and it is kept once more; then nothing changes.
  for (let [before, quiet] = [-1, 0]; quiet < 12; await page.waitForTimeout(1_000)) {
    const now = await marks();
    quiet = now > 0 && now === before ? quiet + 1 : 0;
    before = now;
  }
}

test("a second visit goes on at once, with containers, files and what the terminal showed", async () => {
  const profile = mkdtempSync(join(tmpdir(), "dinghy-profile-"));
  const server = await serve({ isolated: true });
  // A profile on disk, as users have it: the file system of a private window is another one.
  const context = await chromium.launchPersistentContext(profile, OPTIONS);
  try {
    const page = await context.newPage();
    page.on("console", (message) => console.log(`page: ${message.text()}`));
    await page.goto(server.address);
    await waitForPhase(page, "Docker ready", PATIENCE_MS);
    await waitForTerminal(page, PROMPT, PATIENCE_MS);
    const write =
      "docker run --name writer -v data:/data busybox sh -c 'echo kept > /data/file'; mark=6; echo written:$?";
    await type(page, write, /^written:0$/m);
    await waitUntilKept(page);
    const keeps = await page.evaluate(() => performance.getEntriesByName("dinghy:kept").map(({ detail }) => detail));
    console.log(`kept: ${JSON.stringify(keeps)}`);

    const sentBefore = server.bytesSent();
    const openedAt = Date.now();
    const seconds = () => ((Date.now() - openedAt) / 1000).toFixed(2);
    await page.reload();
    await waitForTerminal(page, PROMPT, PATIENCE_MS);
    const shown = await terminalText(page);
    assert.match(shown, /^written:0$/m, "the terminal shows what it showed");
    const prompt = seconds();
    await page.locator("#terminal").click();
    await page.keyboard.type("clear; docker ps -a; cat /var/lib/docker/volumes/data/_data/file; echo $((mark * 7))\n");
    await waitForTerminal(page, /Exited \(0\)[^]*^kept$[^]*^42$/m, PATIENCE_MS);
    console.log(
      `second visit: the machine goes on after ${((await markOf(page, "resumed")) / 1000).toFixed(2)} s, ` +
        `prompt seen ${prompt} s, docker ps -a and the file ${seconds()} s, ` +
        `bytes sent ${server.bytesSent() - sentBefore}; ${await timeline(page)}`,
    );
    assert.equal(await page.locator("#notice").innerText(), "");

    // Written and flushed, and gone before it is kept: memory must not meet that disk.
    await waitUntilKept(page);
    await type(page, "echo flushed > /root/flushed; sync; echo is:$?", /^is:0$/m);
    const blank = await context.newPage();
    await page.close({ runBeforeUnload: false });
    const again = blank;
    await again.goto(server.address);
    await waitForTerminal(again, PROMPT, PATIENCE_MS);
    await type(again, "clear; cat /root/flushed", /^flushed$/m);
  } finally {
    await context.close();
    server.close();
    rmSync(profile, { recursive: true, force: true });
  }
});
