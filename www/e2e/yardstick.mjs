/**
 * Runs the yardstick's initramfs in Chromium by the package, as a page of one's own would: `npm run yardstick`.
 *
 *   node e2e/yardstick.mjs [KERNEL [INITRAMFS]]
 *
 * Prints the guest's lines and the time from the page's load to the end; fails on a WRONG line, or without DONE.
 */

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { launch, open } from "./browser.mjs";
import { serve } from "./server.mjs";

const file = (path) => fileURLToPath(new URL(path, import.meta.url));
const kernel = process.argv[2] ?? file("../../build/kernel/vmlinux");
const initrd = process.argv[3] ?? file("../../build/bench/bench.cpio");

const PAGE = `<!doctype html>
<title>yardstick</title>
<script type="importmap">
  { "imports": { "wasm-feature-detect": "/node_modules/wasm-feature-detect/dist/esm/index.js" } }
</script>
<script type="module">
  import { Machine } from "/lib/index.js";
  const machine = await Machine.boot({
    kernel: "/yardstick/kernel",
    initrd: "/yardstick/initrd",
    commandLine: "console=ttyS0 quiet panic=-1",
  });
  const decoder = new TextDecoder();
  globalThis.output = "";
  machine.serial.onData((bytes) => (globalThis.output += decoder.decode(bytes, { stream: true })));
  machine.on("exit", ({ reason }) => (globalThis.exit = reason));
</script>
`;

const server = await serve({
  isolated: true,
  root: file("../"),
  replaced: {
    "/yardstick.html": Buffer.from(PAGE),
    "/yardstick/kernel": readFileSync(kernel),
    "/yardstick/initrd": readFileSync(initrd),
  },
});
const browser = await launch();
try {
  const loadedAt = Date.now();
  const page = await open(browser, `${server.address}yardstick.html`);
  await page.waitForFunction(() => globalThis.exit !== undefined, undefined, { timeout: 1_200_000 });
  const [reason, output] = await page.evaluate(() => [globalThis.exit, globalThis.output]);
  console.log(output.replaceAll("\r", ""));
  console.log(`${reason} ${((Date.now() - loadedAt) / 1000).toFixed(1)} s after the page's load`);
  if (!/^DONE/m.test(output) || /^WRONG/m.test(output) || reason !== "powered-off") process.exitCode = 1;
} finally {
  await browser.close();
  server.close();
}
