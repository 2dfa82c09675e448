/** What the guest writes survives: a reload, the end of the renderer in mid-write, and another browser. */

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { launch, open, screenshot, terminalText, waitForPhase, waitForTerminal } from "./browser.mjs";
import { checkExt4, flatten, readFile } from "./overlay.mjs";
import { serve } from "./server.mjs";

const BOOT_MS = 600_000;
const RUN_MS = 300_000;
/** How often the renderer is killed. The full measure is 50. */
const KILLS = Number(process.env.DINGHY_KILLS ?? 3);
const IMAGE = fileURLToPath(new URL("../../build/guest/guest.ext4", import.meta.url));
const PROMPT = /[#$] *$/m;

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

/** A page of the site without a machine, to look at the site's files from. */
const EMPTY = { "/empty.html": Buffer.from("<!doctype html><title>empty</title>") };

async function type(page, command, pattern) {
  await page.locator("#terminal").click();
  await page.keyboard.type(`${command}\n`);
  return waitForTerminal(page, pattern, RUN_MS);
}

/** The file that keeps what the guest has written, read from a page without a machine. */
async function overlayOf(context, address) {
  const page = await context.newPage();
  await page.goto(`${address}empty.html`);
  const text = await page.evaluate(async () => {
    let folder = await navigator.storage.getDirectory();
    for (const name of ["dinghy", "overlays"]) folder = await folder.getDirectoryHandle(name);
    const file = await (await folder.getFileHandle("home.overlay")).getFile();
    const reader = new FileReader();
    await new Promise((resolve) => {
      reader.onload = resolve;
      reader.readAsDataURL(file);
    });
    return reader.result.slice(reader.result.indexOf(",") + 1);
  });
  await page.close();
  return Buffer.from(text, "base64");
}

test("what a container writes in a volume is there after a reload; a second tab is told; a reset forgets it", async () => {
  const server = await serve({ isolated: true, replaced: EMPTY });
  try {
    const page = await open(browser, server.address);
    await waitForPhase(page, "Docker ready", BOOT_MS);
    console.log(`bytes sent until Docker was ready: ${server.bytesSent()}`);
    await waitForTerminal(page, PROMPT, RUN_MS);
    const write = "docker run --rm -v data:/data busybox sh -c 'echo kept > /data/file' && sync && echo written:$?";
    await type(page, write, /^written:0$/m);

    const second = await page.context().newPage();
    // It boots, so that the phase tells that it runs.
    await second.goto(`${server.address}?start=boot`);
    await second.locator("#panel-title", { hasText: "in use in another tab" }).waitFor({ timeout: 60_000 });
    await screenshot(second, "disk-in-use");
    await second.getByRole("button", { name: "Start with a fresh disk" }).click();
    await waitForPhase(second, "Booting Linux", 60_000);
    await second.close();

    const bytesBefore = server.bytesSent();
    await page.reload();
    await waitForPhase(page, "Docker ready", BOOT_MS);
    console.log(`bytes sent for a second start: ${server.bytesSent() - bytesBefore}`);
    await waitForTerminal(page, PROMPT, RUN_MS);
    await type(page, "docker run --rm -v data:/data busybox cat /data/file", /^kept$/m);

    await page.locator("#power-button").click();
    await page.locator("#panel-text", { hasText: "The guest has shut down." }).waitFor({ timeout: RUN_MS });
    await page.locator("#disk-button").click();
    await page.locator("#panel-title", { hasText: "Disk" }).waitFor();
    await screenshot(page, "disk-panel");
    const downloading = page.waitForEvent("download");
    await page.getByRole("button", { name: "Export" }).click();
    const exported = await (await downloading).path();
    page.on("dialog", (dialog) => void dialog.accept());
    await page.getByRole("button", { name: "Reset" }).click();
    await page.locator("#panel-text", { hasText: "Nothing is kept yet" }).waitFor();
    const choosing = page.waitForEvent("filechooser");
    await page.getByRole("button", { name: "Import" }).click();
    await (await choosing).setFiles(exported);
    await page.locator("#panel-text", { hasText: "The disk was imported." }).waitFor();
    // With the context, what it has downloaded goes.
    const kept = readFileSync(exported);
    await page.context().close();

    const folder = mkdtempSync(join(tmpdir(), "dinghy-e2e-"));
    try {
      const disk = join(folder, "disk");
      flatten(kept, IMAGE, disk);
      assert.equal(checkExt4(disk), "");
      assert.equal(readFile(disk, "/var/lib/docker/volumes/data/_data/file"), "kept\n");
    } finally {
      rmSync(folder, { recursive: true });
    }
  } finally {
    server.close();
  }
});

test(`the renderer is killed in mid-write ${KILLS} times: the file system is clean and every synced file is there`, async () => {
  const server = await serve({ isolated: true, replaced: EMPTY });
  const folder = mkdtempSync(join(tmpdir(), "dinghy-e2e-"));
  const control = await browser.newBrowserCDPSession();
  const renderers = async () => {
    const { processInfo } = await control.send("SystemInfo.getProcessInfo");
    return processInfo.filter(({ type }) => type === "renderer").map(({ id }) => id);
  };
  try {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
    for (let kill = 1; kill <= KILLS; kill += 1) {
      const others = await renderers();
      const page = await context.newPage();
      await page.goto(server.address);
      await waitForTerminal(page, PROMPT, BOOT_MS);
      // A machine that goes on may be in the middle of the last writer, or show what that has written.
      await page.locator("#terminal").click();
      await page.keyboard.press("Control+c");
      const writer =
        `clear; mkdir -p /root/kill${kill}; i=0; while :; do i=$((i+1)); ` +
        `seq $((i*40)) > /root/kill${kill}/$i; sync; echo synced:$i; done`;
      await type(page, writer, new RegExp(`^synced:${2 + ((kill * 7) % 5)}$`, "m"));
      const synced = Math.max(
        ...[...(await terminalText(page)).matchAll(/^synced:(\d+)$/gm)].map(([, text]) => Number(text)),
      );
      for (const id of await renderers()) if (!others.includes(id)) process.kill(id, "SIGKILL");
      await page.close();

      const disk = join(folder, "disk");
      flatten(await overlayOf(context, server.address), IMAGE, disk);
      assert.equal(checkExt4(disk), "", `after kill ${kill}`);
      for (let file = 1; file <= synced; file += 1) {
        const expected = Array.from({ length: file * 40 }, (_, line) => `${line + 1}\n`).join("");
        assert.equal(readFile(disk, `/root/kill${kill}/${file}`), expected, `file ${file} after kill ${kill}`);
      }
      rmSync(disk);
    }
    await context.close();
  } finally {
    rmSync(folder, { recursive: true });
    server.close();
  }
});
