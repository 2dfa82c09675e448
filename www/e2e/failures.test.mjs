/** What the page says when something is missing or broken. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { launch, open, screenshot } from "./browser.mjs";
import { serve } from "./server.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

/** The panel's sentence on a page that was served with `options`, opened with `search` in its address. */
async function panelText(options, picture, search = "?start=boot") {
  const server = await serve({ isolated: true, ...options });
  try {
    const page = await open(browser, `${server.address}${search}`);
    await page.locator("#panel").waitFor({ timeout: 30_000 });
    const text = await page.locator("#panel-text").innerText();
    await screenshot(page, picture);
    await page.context().close();
    return text;
  } finally {
    server.close();
  }
}

/** Too short for a kernel, but there. */
const kernel = { "/kernel/vmlinux.gz": new Uint8Array(512) };
const disk = { "/guest/chunks/manifest.json": Buffer.from('{"format":"dinghy-chunks","version":9}') };

test("a missing kernel is named, with what to do", async () => {
  const text = await panelText({ missing: ["/kernel/vmlinux.gz"] }, "missing-kernel");
  assert.match(text, /kernel could not be downloaded: the server answered 404.*check that the file is there/);
});

test("a disk image of another version is named, with what to do", async () => {
  const text = await panelText({ replaced: { ...kernel, ...disk } }, "other-manifest");
  assert.match(text, /manifest of the disk image cannot be used: it has version 9.*write the image anew/);
});

test("a missing disk image is named", async () => {
  const text = await panelText({ missing: ["/guest/chunks/manifest.json"] }, "missing-disk");
  assert.match(text, /disk image could not be reached: the server answered 404.*check that the file is there/);
});

test("an engine that there is not is named, with those that there are", async () => {
  const text = await panelText({}, "no-engine", "?engine=jet");
  assert.equal(text, 'There is no engine "jet"; use auto or interp or jit.');
});

test("the terminal and the buttons stay on a phone's screen", async () => {
  const server = await serve({ isolated: true, missing: ["/kernel/vmlinux.gz"] });
  try {
    const page = await open(browser, `${server.address}?start=boot`, { viewport: { width: 375, height: 700 } });
    await page.locator("#panel").waitFor({ timeout: 30_000 });
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.equal(width, 375);
    await screenshot(page, "phone");
  } finally {
    server.close();
  }
});
