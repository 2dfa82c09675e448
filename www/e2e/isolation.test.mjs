/** The service worker that isolates the page on hosts that do not send the headers for it. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { launch, open } from "./browser.mjs";
import { serve } from "./server.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

test("a host without the headers gets an isolated page", async () => {
  const server = await serve({ isolated: false, missing: ["/kernel/vmlinux.gz"] });
  try {
    const page = await open(browser, `${server.address}?start=boot`);
    await page.locator("#panel").waitFor({ timeout: 30_000 });
    assert.equal(await page.evaluate(() => crossOriginIsolated), true);
    assert.equal(await page.locator("#notice").innerText(), "");
  } finally {
    server.close();
  }
});

test("a browser that refuses the service worker gets the build for one worker", async () => {
  const server = await serve({ isolated: false, missing: ["/kernel/vmlinux.gz"] });
  try {
    const page = await open(browser, `${server.address}?start=boot`, { serviceWorkers: "block" });
    await page.locator("#notice", { hasText: "not cross-origin isolated" }).waitFor({ timeout: 30_000 });
    assert.equal(await page.evaluate(() => crossOriginIsolated), false);
  } finally {
    server.close();
  }
});
