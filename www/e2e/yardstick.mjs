/**
 * Runs the yardstick's initramfs in Chromium by the package, as a page of one's own would: `npm run yardstick`.
 *
 *   node e2e/yardstick.mjs [--kernel FILE] [--initrd FILE] [--append WORDS] [--engine NAME] [--cpu NAME] [--timeout SECONDS]
 *
 * WORDS follow what the kernel's command line has already. Prints the guest's lines as they come and the time from
 * the page's load to the end; fails on a WRONG line, without DONE, or when the time is over.
 */

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { launch, open } from "./browser.mjs";
import { serve } from "./server.mjs";

/** How often the page is asked for what the guest has printed. */
const POLL_MILLISECONDS = 500;

const file = (path) => fileURLToPath(new URL(path, import.meta.url));
const { values } = parseArgs({
  options: {
    kernel: { type: "string", default: file("../../build/kernel/vmlinux") },
    initrd: { type: "string", default: file("../../build/bench/bench.cpio") },
    append: { type: "string", default: "" },
    engine: { type: "string" },
    cpu: { type: "string" },
    timeout: { type: "string", default: "1200" },
  },
});
const timeoutSeconds = Number(values.timeout);
if (!(timeoutSeconds > 0)) throw new Error(`--timeout takes a positive number of seconds, not "${values.timeout}".`);

const options = {
  kernel: "/yardstick/kernel",
  initrd: "/yardstick/initrd",
  commandLine: `console=ttyS0 quiet panic=-1 ${values.append}`.trim(),
  ...(values.engine === undefined ? {} : { engine: values.engine }),
  ...(values.cpu === undefined ? {} : { cpu: values.cpu }),
};
const PAGE = `<!doctype html>
<title>yardstick</title>
<script type="importmap">
  { "imports": { "wasm-feature-detect": "/node_modules/wasm-feature-detect/dist/esm/index.js" } }
</script>
<script type="module">
  import { Machine } from "/lib/index.js";
  globalThis.output = "";
  try {
    const machine = await Machine.boot(${JSON.stringify(options).replaceAll("<", "\\u003c")});
    const decoder = new TextDecoder();
    machine.serial.onData((bytes) => (globalThis.output += decoder.decode(bytes, { stream: true })));
    machine.on("exit", ({ reason }) => (globalThis.end = reason));
    machine.on("error", (error) => (globalThis.end = error.message));
  } catch (error) {
    globalThis.end = error.message;
  }
</script>
`;

const server = await serve({
  isolated: true,
  root: file("../"),
  replaced: {
    "/yardstick.html": Buffer.from(PAGE),
    "/yardstick/kernel": readFileSync(values.kernel),
    "/yardstick/initrd": readFileSync(values.initrd),
  },
});
const browser = await launch();
try {
  const loadedAt = Date.now();
  const seconds = () => (Date.now() - loadedAt) / 1000;
  const page = await open(browser, `${server.address}yardstick.html`);
  let output = "";
  let end;
  while (end === undefined && seconds() < timeoutSeconds) {
    await page.waitForTimeout(POLL_MILLISECONDS);
    // The end is read first: what was printed before it is then in the output.
    const [ended, printed] = await page.evaluate(() => {
      const news = [globalThis.end, globalThis.output ?? ""];
      globalThis.output = "";
      return news;
    });
    const text = printed.replaceAll("\r", "");
    process.stdout.write(text);
    output += text;
    end = ended;
  }
  console.log(`${end ?? "the time is over"}, ${seconds().toFixed(1)} s after the page's load`);
  if (!/^DONE/m.test(output) || /^WRONG/m.test(output) || end !== "powered-off") process.exitCode = 1;
} finally {
  await browser.close();
  server.close();
}
