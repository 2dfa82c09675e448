/** A directory of the browser's private file system that the guest finds at /mnt/host. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, test } from "node:test";

import { launch, open, screenshot, waitForPhase, waitForTerminal } from "./browser.mjs";
import { serve } from "./server.mjs";

const PATIENCE_MS = 180_000;
const PROMPT = /[#$] *$/m;

let browser;
let server;
before(async () => {
  browser = await launch();
  server = await serve({ isolated: true });
});
after(async () => {
  await browser.close();
  server.close();
});

let commands = 0;
/** Types a command; resolves to what it prints, which must fit the terminal. */
async function run(page, command) {
  const number = (commands += 1);
  await page.locator("#terminal").click();
  await page.keyboard.type(`clear; ${command}; echo "ended-"${number} $?\n`);
  const text = await waitForTerminal(page, new RegExp(`^ended-${number} \\d+$`, "m"), PATIENCE_MS);
  const [, printed, status] = new RegExp(`^([^]*?)\\n?ended-${number} (\\d+)$`, "m").exec(text);
  return { text: printed.trim(), status: Number(status) };
}

async function chooseFolder(page) {
  await page.locator("#folder-button").click();
  await page.locator("#folder-private").click();
  await page.locator("#folder-hint", { hasText: "is at /mnt/host in the guest" }).waitFor();
  await screenshot(page, "folder");
  await page.locator("#folder-close").click();
}

/** The files below the directory, as the page finds them, by their paths. */
async function filesOf(page) {
  const files = await page.evaluate(async () => {
    const found = {};
    const visit = async (folder, path) => {
      for await (const [name, entry] of folder) {
        if (entry.kind === "directory") await visit(entry, `${path}${name}/`);
        else found[path + name] = Array.from(new Uint8Array(await (await entry.getFile()).arrayBuffer()));
      }
    };
    await visit(await (await navigator.storage.getDirectory()).getDirectoryHandle("dinghy-files"), "");
    return found;
  });
  return new Map(Object.entries(files).map(([path, bytes]) => [path, Buffer.from(bytes)]));
}

test("the guest works in a directory of the browser", async () => {
  const page = await open(browser, server.address);
  await waitForPhase(page, "Docker ready", PATIENCE_MS);
  await waitForTerminal(page, PROMPT, PATIENCE_MS);
  assert.deepEqual(await run(page, "ls /mnt/host | wc -l"), { text: "0", status: 0 });
  await chooseFolder(page);
  for (const command of [
    "cd /mnt/host && cp -r /etc/docker /etc/containerd . && mkdir -p a/b && head -c 3000000 /dev/urandom >a/blob",
    "tar -C /etc/docker -c . | tar -C a/b -x --no-same-permissions --no-same-owner -m",
    "cp -r containerd moved && rm -r containerd && mv a/blob blob 2>/dev/null && echo two >>line && echo one >first && mv first line && echo two >>line",
    "dd if=/dev/zero of=blob bs=1000 seek=1 count=2 conv=notrunc status=none && truncate -s 2500000 blob && touch new && ln line hard 2>/dev/null; rm -r docker",
  ]) {
    const { text, status } = await run(page, command);
    assert.deepEqual([text, status], ["", 0], command);
  }
  const refused = await run(page, "chmod 700 line; ln -s line link; touch -d 2001-01-01 line; chmod 644 line");
  assert.equal(refused.text.match(/not permitted/g)?.length, 2, refused.text);
  assert.equal(refused.text.match(/not supported/g)?.length, 1, refused.text);
  assert.equal(refused.status, 0);
  assert.deepEqual(await run(page, "exec 3<>gone; rm gone; echo kept >&3; stat -L -c %s /proc/self/fd/3; exec 3>&-"), {
    text: "5",
    status: 0,
  });
  const { text } = await run(
    page,
    "find . -type f | sort | xargs sha256sum | sha256sum; find . -type f | wc -l; cat line",
  );
  const files = await filesOf(page);
  const digests = [...files].map(([path, bytes]) => [`./${path}`, createHash("sha256").update(bytes).digest("hex")]);
  digests.sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  const all = createHash("sha256")
    .update(digests.map(([path, digest]) => `${digest}  ${path}\n`).join(""))
    .digest("hex");
  assert.deepEqual(text.split(/\s+/), [all, "-", String(files.size), "one", "two"]);
  assert.equal(files.get("blob").byteLength, 2_500_000);
  assert.ok(files.has("moved/config.toml"), [...files.keys()].join());
  await page.context().close();
});

test("the next visit has the folder of this one, and asks again where it must", async () => {
  const context = await browser.newContext();
  // A directory of the browser's own stands for one that a user picks, and a flag for what the user has granted.
  await context.addInitScript(() => {
    globalThis.showDirectoryPicker = async () =>
      (await navigator.storage.getDirectory()).getDirectoryHandle("picked", { create: true });
    const granted = () => (localStorage.getItem("granted") === "yes" ? "granted" : "prompt");
    globalThis.FileSystemHandle.prototype.queryPermission = () => Promise.resolve(granted());
    globalThis.FileSystemHandle.prototype.requestPermission = () => {
      if (navigator.userActivation.isActive) localStorage.setItem("granted", "yes");
      return Promise.resolve(granted());
    };
  });
  const page = await context.newPage();
  const visit = async () => {
    await waitForPhase(page, "Docker ready", PATIENCE_MS);
    await waitForTerminal(page, PROMPT, PATIENCE_MS);
  };
  await page.goto(server.address);
  await visit();
  await chooseFolder(page);
  assert.deepEqual(await run(page, "echo mine >/mnt/host/note"), { text: "", status: 0 });
  await page.reload();
  await visit();
  assert.deepEqual(await run(page, "cat /mnt/host/note"), { text: "mine", status: 0 });

  await page.locator("#folder-button").click();
  await page.locator("#folder-writes").check();
  await page.locator("#folder-pick").click();
  await page.locator("#folder-hint", { hasText: "The folder picked is at /mnt/host in the guest" }).waitFor();
  await page.locator("#folder-close").click();
  assert.deepEqual(await run(page, "echo of the user >/mnt/host/note"), { text: "", status: 0 });
  await page.reload();
  await visit();
  await page.locator("#notice", { hasText: "press Folder to share it again" }).waitFor();
  assert.deepEqual(await run(page, "ls /mnt/host | wc -l"), { text: "0", status: 0 });
  await page.locator("#folder-button").click();
  await page.locator("#folder-again", { hasText: "Share picked again" }).click();
  await page.locator("#folder-hint", { hasText: "The folder picked is at /mnt/host in the guest" }).waitFor();
  await page.locator("#folder-close").click();
  assert.deepEqual(await run(page, "cat /mnt/host/note"), { text: "of the user", status: 0 });
  // The browser remembers what the user has granted: nobody is asked.
  await page.reload();
  await visit();
  assert.deepEqual(await run(page, "cat /mnt/host/note"), { text: "of the user", status: 0 });
  await context.close();
});
