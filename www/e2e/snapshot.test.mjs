/** Snapshots: the page starts from the one that was saved in node, and what a browser saves goes on in node. */

import assert from "node:assert/strict";
import { readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { Machine } from "../lib/node/index.js";
import { launch, open, timeline, waitForPhase, waitForTerminal } from "./browser.mjs";
import { serve } from "./server.mjs";

/** Far more than it takes on two busy cores, so that only a hang meets it. */
const PATIENCE_MS = 120_000;
/** What is sent before the guest can be used: the page, the emulator, and what a first container needs of the saved memory. */
const MOST_BYTES = 30e6;
/** The date may be wrong by a second, and it takes a moment to ask for it and to see the answer. */
const DATE_TOLERANCE_S = 3;

const PAGES = fileURLToPath(new URL("../../build/guest/docker.snapshot.pages", import.meta.url));

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

async function type(page, command, pattern) {
  await page.locator("#terminal").click();
  await page.keyboard.type(`${command}\n`);
  return waitForTerminal(page, pattern, PATIENCE_MS);
}

test("the page starts from the snapshot: Docker answers, the date is right, random numbers are its own", async () => {
  const server = await serve({ isolated: true });
  try {
    const numbers = [];
    for (const visit of ["first", "second"]) {
      const sentBefore = server.bytesSent();
      const million = () => ((server.bytesSent() - sentBefore) / 1e6).toFixed(1);
      const openedAt = Date.now();
      const seconds = () => ((Date.now() - openedAt) / 1000).toFixed(1);
      const page = await open(browser, server.address);
      await waitForPhase(page, "Docker ready", PATIENCE_MS);
      await waitForTerminal(page, /[#$] *$/m, PATIENCE_MS);
      const sentUntilReady = server.bytesSent() - sentBefore;
      const ready = `${seconds()} s and ${million()} MB`;
      await type(page, "docker ps", /^CONTAINER ID/m);
      const answered = `${seconds()} s and ${million()} MB`;
      await type(page, "docker run --rm busybox echo hello", /^hello$/m);
      console.log(
        `${visit} visit: Docker ready ${ready}, docker ps ${answered}, docker run ${seconds()} s and ${million()} MB; ` +
          (await timeline(page)),
      );
      assert.ok(sentUntilReady <= MOST_BYTES, `${sentUntilReady} bytes were sent until Docker was ready`);

      const shown = await type(
        page,
        "clear; date +%s; head -c 8 /dev/urandom | od -An -tx1",
        /^\d+\n(?: [0-9a-f]{2}){8}$/m,
      );
      const [, date, random] = /^(\d+)\n((?: [0-9a-f]{2}){8})$/m.exec(shown);
      assert.ok(Math.abs(Number(date) - Date.now() / 1000) < DATE_TOLERANCE_S, `the guest's date is ${date}`);
      numbers.push(random);
      assert.equal(await page.locator("#notice").innerText(), "");
      await page.context().close();
    }
    assert.notEqual(numbers[0], numbers[1]);
  } finally {
    server.close();
  }
});

/** What a snapshot's memory has in it, but a first container does not touch. */
const TOUCH_MUCH = "cat /usr/bin/* /usr/sbin/* /lib/x86_64-linux-gnu/* >/dev/null; docker info >/dev/null";
const COMPARE =
  "md5sum /usr/sbin/runc /usr/bin/containerd-shim-runc-v2 /usr/bin/containerd >/tmp/cached && " +
  "echo 3 >/proc/sys/vm/drop_caches && md5sum -c /tmp/cached";

for (const isolated of [true, false]) {
  const where = isolated ? "with workers on shared memory" : "in one worker";
  const options = isolated ? {} : { serviceWorkers: "block" };

  test(`memory that a first container does not need comes when it is touched, ${where}`, async () => {
    const server = await serve({ isolated });
    try {
      const page = await open(browser, server.address, options);
      await waitForTerminal(page, /[#$] *$/m, PATIENCE_MS);
      const before = server.bytesSent();
      // Before the guest is quiet, which has the rest fetched in the background.
      await type(page, `${TOUCH_MUCH}; echo touched:$?`, /^touched:0$/m);
      // What was in memory of files is what is on the disk.
      await type(page, `clear; ${COMPARE} && docker run --rm busybox echo well`, /^well$/m);
      console.log(`${where}: ${((server.bytesSent() - before) / 1e6).toFixed(1)} MB came later`);
      await page.context().close();
    } finally {
      server.close();
    }
  });

  test(`memory that cannot be had ends the machine with a sentence, ${where}`, async () => {
    const missing = readdirSync(PAGES).map((name) => `/guest/docker.snapshot.pages/${name}`);
    const server = await serve({ isolated, missing });
    try {
      const page = await open(browser, server.address, options);
      await waitForTerminal(page, /[#$] *$/m, PATIENCE_MS);
      await page.locator("#terminal").click();
      await page.keyboard.type(`${TOUCH_MUCH}; echo wrong:$?\n`);
      // What is typed further on may press the panel's button.
      const told = await page.waitForFunction(
        () => /memory cannot be had.*/.exec(document.querySelector("#panel-text").textContent)?.[0],
        undefined,
        { timeout: PATIENCE_MS },
      );
      assert.match(await told.jsonValue(), /the server answered 404/);
      await page.context().close();
    } finally {
      server.close();
    }
  });
}

const SAVING_PAGE = `<!doctype html>
<title>snapshot</title>
<script type="importmap">
  { "imports": { "wasm-feature-detect": "/node_modules/wasm-feature-detect/dist/esm/index.js" } }
</script>
<script type="module">
  import { Machine } from "/lib/index.js";
  const machine = await Machine.restore({ snapshot: "/snapshot", disks: ["/disk"] });
  const decoder = new TextDecoder();
  let shown = "";
  machine.console.onData((bytes) => {
    shown += decoder.decode(bytes, { stream: true });
    if (shown.includes("written 42")) globalThis.isWritten = true;
  });
  machine.console.write("echo kept >/root/kept; mark=5; echo written $((6 * 7))\\n");
  globalThis.save = async () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await machine.save());
    link.download = "saved";
    link.click();
  };
</script>
`;

test("a machine that was saved in a browser goes on in node", async () => {
  const image = (name) => fileURLToPath(new URL(`../../build/guest/${name}`, import.meta.url));
  const pages = readdirSync(image("docker.snapshot.pages"));
  const server = await serve({
    isolated: true,
    root: fileURLToPath(new URL("../", import.meta.url)),
    replaced: { "/saving.html": Buffer.from(SAVING_PAGE) },
    linked: {
      "/snapshot": image("docker.snapshot"),
      ...Object.fromEntries(
        pages.map((name) => [`/snapshot.pages/${name}`, join(image("docker.snapshot.pages"), name)]),
      ),
      "/disk": image("guest.ext4"),
    },
  });
  const file = join(tmpdir(), `dinghy-snapshot-${process.pid}`);
  try {
    const page = await open(browser, `${server.address}saving.html`);
    await page.waitForFunction(() => globalThis.isWritten, undefined, { timeout: PATIENCE_MS });
    const downloading = page.waitForEvent("download", { timeout: PATIENCE_MS });
    await page.evaluate(() => globalThis.save());
    await (await downloading).saveAs(file);
    await page.context().close();

    const disks = [{ path: image("guest.ext4"), writes: "overlay" }];
    const machine = await Machine.restore({ snapshot: file, disks });
    const decoder = new TextDecoder();
    let shown = "";
    const found = new Promise((resolve) => {
      machine.console.onData((bytes) => {
        shown += decoder.decode(bytes, { stream: true });
        if (/^\d+ kept\r?$/m.test(shown)) resolve();
      });
    });
    machine.console.write("echo $((mark + 1)) $(cat /root/kept)\n");
    await found;
    assert.match(shown, /^6 kept\r?$/m, "the shell and its disk are as they were saved");
    machine.stop();
  } finally {
    server.close();
    rmSync(file, { force: true });
  }
});
