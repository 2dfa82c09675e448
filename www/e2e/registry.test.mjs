/** Images in the page: by fetch from a registry that lets pages read it, over a relay from one that does not, and from the cache. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

import { serve } from "../lib/node/serve/server.js";
import { makeImage, TestRegistry } from "../tests/registry-upstream.mjs";
import { launch, open, screenshot, waitForPhase, waitForTerminal } from "./browser.mjs";

const BOOT_MS = 600_000;
const RUN_MS = 300_000;

let browser;
let registry;
let serving;

before(async () => {
  browser = await launch();
  registry = await new TestRegistry().listen();
  const folder = mkdtempSync(join(tmpdir(), "dinghy-image-"));
  writeFileSync(join(folder, "file"), "in an image\n".repeat(200_000));
  const content = execFileSync("tar", ["--create", "--directory", folder, "file"], { maxBuffer: 1 << 26 });
  rmSync(folder, { recursive: true });
  registry.add("library/thing:1", makeImage(gzipSync(content, { level: 0 }), content));
  serving = await serve({
    folder: fileURLToPath(new URL("../dist/", import.meta.url)),
    host: "127.0.0.1",
    port: 0,
    allow: [new URL(registry.url).host],
    origins: [],
    nameServer: undefined,
  });
});
after(async () => {
  await browser.close();
  await serving.close();
  await registry.close().catch(() => undefined);
});

async function start(query) {
  const page = await open(browser, `${serving.pageAddress}?registry=${registry.url}&${query}`);
  await waitForPhase(page, "Docker ready", BOOT_MS);
  await waitForTerminal(page, /[#$] *$/m, RUN_MS);
  let number = 0;
  const run = async (command) => {
    number += 1;
    await page.locator("#terminal").click();
    await page.keyboard.type(`clear; ${command}; echo "ended $((${number} * 1000)) $?"\n`);
    const text = await waitForTerminal(page, new RegExp(`^ended ${number}000 \\d+$`, "m"), RUN_MS);
    return { text, isRight: new RegExp(`^ended ${number}000 0$`, "m").test(text) };
  };
  return { page, run };
}

test("an image comes over the relay where its registry lets no page read it", async () => {
  const { page, run } = await start("");
  const { text, isRight } = await run("docker pull thing:1");
  assert.ok(isRight, text);
  await page.context().close();
});

test("an image comes by fetch, without a relay, and again from the browser's files when nobody can be asked", async () => {
  registry.letsPagesRead = true;
  const { page, run } = await start("relay=none");
  const first = await run("docker pull thing:1");
  assert.ok(first.isRight, first.text);
  await registry.close();
  const again = await run("docker rmi thing:1 && docker pull thing:1");
  assert.ok(again.isRight, again.text);
  const blobs = await page.evaluate(async () => {
    let folder = await navigator.storage.getDirectory();
    for (const name of ["dinghy", "images", "blobs", "sha256"]) folder = await folder.getDirectoryHandle(name);
    const sizes = [];
    for await (const file of folder.values()) sizes.push((await file.getFile()).size);
    return sizes;
  });
  assert.equal(blobs.length, 3);
  assert.ok(Math.max(...blobs) > 2_000_000);
  await page.context().close();
});

test("an archive of an image that is dropped on the page can be pulled, is pinned, and comes out again", async () => {
  const { page, run } = await start("relay=none&images=64");
  const folder = mkdtempSync(join(tmpdir(), "dinghy-dropped-"));
  const content = execFileSync("tar", ["--create", "--directory", "/etc", "hostname"]);
  const { config, layer } = makeImage(content);
  writeFileSync(join(folder, "config.json"), config);
  writeFileSync(join(folder, "layer.tar"), layer);
  const manifest = [{ Config: "config.json", RepoTags: ["dropped:1"], Layers: ["layer.tar"] }];
  writeFileSync(join(folder, "manifest.json"), JSON.stringify(manifest));
  const archive = execFileSync("tar", ["--create", "--directory", folder, "."]);
  rmSync(folder, { recursive: true });
  const transfer = await page.evaluateHandle(
    (bytes) => {
      const dropped = new globalThis.DataTransfer();
      dropped.items.add(new globalThis.File([new Uint8Array(bytes)], "image.tar"));
      return dropped;
    },
    [...archive],
  );
  await page.dispatchEvent("body", "drop", { dataTransfer: transfer });
  await page.locator("#images-hint", { hasText: "library/dropped:1 can be pulled now." }).waitFor();
  await page.locator("#images-state", { hasText: "of 67.1 MB" }).waitFor();
  await page.locator("#images-list button", { hasText: "Pin" }).click();
  await page.locator("#images-list button", { hasText: "Unpin" }).waitFor();
  const downloading = page.waitForEvent("download");
  await page.locator("#images-list button", { hasText: "Export" }).click();
  const exported = execFileSync("tar", ["--list", "--file", await (await downloading).path()], { encoding: "utf8" });
  assert.deepEqual(exported.split("\n").slice(0, 2), ["oci-layout", "index.json"]);
  assert.equal(exported.trim().split("\n").length, 5);
  await screenshot(page, "images");
  await page.locator("#images-close").click();
  const pulled = await run("docker pull dropped:1");
  assert.ok(pulled.isRight, pulled.text);
  await page.context().close();
});
