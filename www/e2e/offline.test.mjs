/** A second visit without the server. */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { chromium } from "playwright-core";

import { OPTIONS, timeline, waitForPhase, waitForTerminal } from "./browser.mjs";
import { serve } from "./server.mjs";

const PATIENCE_MS = 180_000;
const PROMPT = /[#$] *$/m;

const marks = (page, name) => page.evaluate((wanted) => performance.getEntriesByName(`dinghy:${wanted}`).length, name);

/** Waits until the machine is kept as it is, with nothing left to be written. */
async function waitUntilKept(page) {
  for (let [before, quiet] = [-1, 0]; quiet < 12; await page.waitForTimeout(1_000)) {
    const now = await marks(page, "kept");
    quiet = now > 0 && now === before ? quiet + 1 : 0;
    before = now;
  }
}

for (const isolated of [true, false]) {
  test(`a page whose server ${isolated ? "isolates it" : "cannot isolate it"} goes on without its server`, async () => {
    const profile = mkdtempSync(join(tmpdir(), "dinghy-profile-"));
    const server = await serve({ isolated });
    const context = await chromium.launchPersistentContext(profile, OPTIONS);
    try {
      const page = await context.newPage();
      page.on("pageerror", (error) => console.error(`page: ${error.stack}`));
      await page.goto(server.address);
      await waitForPhase(page, "Docker ready", PATIENCE_MS);
      await waitForTerminal(page, PROMPT, PATIENCE_MS);
      await page.locator("#terminal").click();
      await page.keyboard.type("docker run --name first busybox true; docker ps -a; echo kept:$?\n");
      await waitForTerminal(page, /^kept:0$/m, PATIENCE_MS);
      for (
        const deadline = Date.now() + PATIENCE_MS;
        (await marks(page, "offline-ready")) === 0;
        await page.waitForTimeout(200)
      )
        assert.ok(Date.now() < deadline, "the page is not kept for offline");
      await waitUntilKept(page);
      server.close();
      const openedAt = Date.now();
      const seconds = () => ((Date.now() - openedAt) / 1000).toFixed(2);
      await page.reload();
      await waitForTerminal(page, PROMPT, PATIENCE_MS);
      const prompt = seconds();
      await page.locator("#terminal").click();
      await page.keyboard.type("clear; docker ps -a\n");
      await waitForTerminal(page, /busybox +"true"[^]*first/, PATIENCE_MS);
      console.log(`offline: prompt seen after ${prompt} s, docker ps -a after ${seconds()} s; ${await timeline(page)}`);
      assert.equal(await page.evaluate(() => crossOriginIsolated), true);
    } finally {
      await context.close();
      server.close();
      rmSync(profile, { recursive: true, force: true });
    }
  });
}
