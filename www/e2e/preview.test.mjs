/** Web servers of the guest in the page: the chip, the preview, what goes through it, and what it cannot do. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { after, before, test } from "node:test";

import { serve } from "../lib/node/serve/server.js";
import { launch, open, screenshot, waitForPhase, waitForTerminal } from "./browser.mjs";

const BOOT_MS = 600_000;
const RUN_MS = 300_000;
/** What the guest makes of `seq`, fifty times: 99 MB. */
const PART = Array.from({ length: 300_000 }, (_, n) => `${n + 1}\n`).join("");
const BIG = Buffer.from(PART.repeat(50));

let browser;
let serving;
let page;

/** Types a command, and waits for what it prints. */
async function type(command, pattern) {
  await page.locator("#terminal").click();
  await page.keyboard.type(`${command}\n`);
  return waitForTerminal(page, pattern, RUN_MS);
}

/** The guest's page in the preview. */
async function previewed(port) {
  const origin = `http://p${port}.dinghy.localhost:${new URL(serving.address).port}`;
  const deadline = Date.now() + 60_000;
  while (Date.now() < deadline) {
    const frame = page
      .frames()
      .find((frame) => frame.url().startsWith(origin) && !frame.url().includes("dinghy-preview"));
    if (frame && (await frame.evaluate(() => document.readyState).catch(() => "")) === "complete") return frame;
    await page.waitForTimeout(50);
  }
  const texts = page
    .frames()
    .map((frame) => frame.evaluate(() => document.body.innerText.slice(0, 500)).catch(() => ""));
  throw new Error(`no preview, but: ${(await Promise.all(texts)).slice(1).join("; ")}`);
}

before(async () => {
  browser = await launch();
  serving = await serve({
    folder: fileURLToPath(new URL("../dist/", import.meta.url)),
    host: "127.0.0.1",
    port: 0,
    allow: ["public"],
    origins: [],
    nameServer: undefined,
  });
  page = await open(browser, `${serving.pageAddress}?relay=none`);
  await waitForPhase(page, "Docker ready", BOOT_MS);
  await waitForTerminal(page, /[#$] *$/m, RUN_MS);
});
after(async () => {
  await browser.close();
  await serving.close();
});

test("docker run -p shows a chip within a second, and its preview shows the container's page", async () => {
  const site = [
    "<!doctype html><title>Shop</title><link rel=stylesheet href=style.css>",
    "<h1>Served from a container</h1><p id=sum></p><script src=app.js></script>",
  ].join("");
  await type(
    "mkdir -p /srv/cgi-bin; cd /srv; " +
      `echo '${site}' >index.html; echo 'body{font:20px sans-serif;background:#e0f2fe;padding:2em}' >style.css; ` +
      "echo 'document.querySelector(\"#sum\").textContent=`six times seven is ${6*7}`' >app.js; " +
      "printf '#!/bin/sh\\necho; wc -c\\n' >cgi-bin/count; chmod +x cgi-bin/count; " +
      "seq 300000 >part; for n in $(seq 50); do cat part; done >big; wc -c <big",
    new RegExp(`^${BIG.length}$`, "m"),
  );
  await type(
    "docker run -d -v /srv:/srv -p 8080:80 busybox httpd -f -p 80 -h /srv; echo started at $(cut -d' ' -f1 /proc/uptime)",
    /started at \d/,
  );
  const startedAt = Date.now();
  await page.locator("#ports button", { hasText: ":8080" }).waitFor({ timeout: 30_000 });
  console.log(`chip ${Date.now() - startedAt} ms after docker run returned`);
  await page.locator("#ports button", { hasText: ":8080" }).click();
  const frame = await previewed(8080);
  await frame.locator("#sum", { hasText: "six times seven is 42" }).waitFor({ timeout: 60_000 });
  assert.equal(await frame.evaluate(() => getComputedStyle(document.body).backgroundColor), "rgb(224, 242, 254)");
  await screenshot(page, "preview");
});

test("a large download comes whole, many requests at once are answered, and bodies are taken", async () => {
  const frame = await previewed(8080);
  const { bytes, sha256, seconds } = await frame.evaluate(async () => {
    const startedAt = performance.now();
    const whole = await (await fetch("/big")).arrayBuffer();
    const seconds = (performance.now() - startedAt) / 1000;
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", whole));
    return {
      bytes: whole.byteLength,
      seconds,
      sha256: [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join(""),
    };
  });
  assert.equal(bytes, BIG.length);
  assert.equal(sha256, createHash("sha256").update(BIG).digest("hex"));
  console.log(`preview: ${(bytes / 1e6 / seconds).toFixed(1)} MB/s`);
  const statuses = await frame.evaluate(async () => {
    const all = Array.from({ length: 200 }, (_, n) =>
      fetch(`/app.js?${n}`).then(async (r) => `${r.status} ${(await r.text()).length}`),
    );
    return [...new Set(await Promise.all(all))];
  });
  assert.equal(statuses.length, 1, statuses.join());
  assert.match(statuses[0], /^200 /);
  const counted = await frame.evaluate(() =>
    fetch("/cgi-bin/count", { method: "POST", body: new Uint8Array(300_000) }).then((response) => response.text()),
  );
  assert.equal(counted.trim(), "300000");
  assert.equal(await frame.evaluate(() => fetch("/missing").then(({ status }) => status)), 404);
});

/** A web server in shell: a page with a WebSocket, which is answered with what it sends. */
const ECHO_SERVER = `#!/bin/busybox sh
while read -r line; do
  line=\${line%?}
  case $line in
  [Ss]ec-[Ww]eb[Ss]ocket-[Kk]ey:*) key=\${line#*: } ;;
  "") break ;;
  esac
done
if [ -z "$key" ]; then
  printf 'HTTP/1.1 200 OK\\r\\nContent-Type: text/html\\r\\nConnection: close\\r\\n\\r\\n'
  echo '<!doctype html><html><head><title>Echo</title></head><p id=said></p><script>'
  echo 'const socket = new WebSocket(location.href.replace(/^http/, "ws"));'
  echo 'socket.onopen = () => socket.send("six times seven");'
  echo 'socket.onmessage = ({ data }) => { said.textContent = "echo of " + data; };'
  echo '</script></html>'
  exit
fi
accept=$(printf %s "\${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11" | sha1sum | cut -c 1-40 | xxd -r -p | base64)
printf 'HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n'
printf 'Sec-WebSocket-Accept: %s\\r\\n\\r\\n' "$accept"
while :; do
  set -- $(dd bs=1 count=6 2>/dev/null | od -An -v -tu1)
  [ $# -eq 6 ] || exit
  size=$(($2 & 127)) at=0
  printf "\\\\$(printf %o "$1")\\\\$(printf %o $size)"
  for byte in $(dd bs=1 count=$size 2>/dev/null | od -An -v -tu1); do
    case $((at % 4)) in 0) mask=$3 ;; 1) mask=$4 ;; 2) mask=$5 ;; 3) mask=$6 ;; esac
    printf "\\\\$(printf %o $((byte ^ mask)))"
    at=$((at + 1))
  done
done
`;

test("a page's WebSocket reaches the guest's server", async () => {
  const script = Buffer.from(ECHO_SERVER).toString("base64");
  await type(`echo ${script} | busybox base64 -d >/root/echo; chmod +x /root/echo; echo it is there`, /^it is there$/m);
  await type("busybox nc -ll -p 8081 -e /root/echo & echo serving", /^serving$/m);
  await page.locator("#ports button", { hasText: ":8081" }).click({ timeout: 30_000 });
  const frame = await previewed(8081);
  await frame.locator("#said", { hasText: "echo of six times seven" }).waitFor({ timeout: 60_000 });
  // The page is what it was otherwise, and other servers' sockets stay the browser's.
  assert.equal(await frame.evaluate(() => document.compatMode), "CSS1Compat");
  const isOther = await frame.evaluate(() => {
    const other = new WebSocket("ws://127.0.0.1:9/");
    const isBrowsers = other.constructor !== window.WebSocket && other instanceof window.WebSocket;
    other.close();
    return isBrowsers;
  });
  assert.ok(isOther);
  await page.locator("#ports button", { hasText: ":8080" }).click();
  await previewed(8080);
});

test("the preview reaches nothing of the page, and no other port", async () => {
  await page.evaluate(() => localStorage.setItem("secret", "of the page"));
  const frame = await previewed(8080);
  const address = serving.pageAddress;
  const attack = await frame.evaluate(async (address) => {
    const tried = async (action) => {
      try {
        return `done: ${await action()}`;
      } catch (error) {
        return error.name;
      }
    };
    const viaFrame = (message) =>
      new Promise((resolve) => {
        // The frame around this page has its origin: take its place towards the machine's page.
        const outer = window.parent;
        const listener = ({ ports }) => {
          const channel = new MessageChannel();
          channel.port1.onmessage = ({ data }) => resolve(data.status);
          ports[0].postMessage(message, [channel.port2]);
        };
        outer.addEventListener("message", listener, { once: true });
        outer.eval('parent.postMessage({ type: "dinghy-preview-ready" }, "*")');
        setTimeout(() => resolve("no answer"), 3000);
      });
    const fetching = { type: "dinghy-fetch", method: "GET", headers: [], body: null };
    return {
      document: await tried(() => window.top.document.title),
      storage: await tried(() => window.top.localStorage.getItem("secret")),
      own: await tried(() => localStorage.getItem("secret")),
      navigation: await tried(() => (window.top.location.href = "about:blank")),
      databases: await tried(async () => (await indexedDB.databases()).length),
      files: await tried(async () => {
        const names = [];
        for await (const name of (await navigator.storage.getDirectory()).keys()) names.push(name);
        return names.length;
      }),
      pageFetch: await tried(() => fetch(address).then(({ status }) => status)),
      names: await tried(() =>
        fetch(`${address}relay/dns-query`, { method: "POST", body: "x" }).then(({ status }) => status),
      ),
      relay: await tried(
        () =>
          new Promise((resolve) => {
            const socket = new WebSocket(`${address.replace("http", "ws")}relay/`);
            socket.onopen = () => resolve("open");
            socket.onerror = () => resolve("refused");
          }),
      ),
      input: await viaFrame({ type: "input", device: "console", bytes: new Uint8Array([112, 111]) }),
      otherPort: await viaFrame({ ...fetching, path: "//localhost:2375/version", port: 2375 }),
      address: await viaFrame({ ...fetching, path: `http://localhost:2375/version` }),
      machine: await tried(() => typeof window.top.machine),
    };
  }, address);
  assert.deepEqual(attack, {
    document: "SecurityError",
    storage: "SecurityError",
    own: "done: null",
    navigation: "SecurityError",
    databases: "done: 0",
    files: "done: 0",
    pageFetch: "TypeError",
    names: "TypeError",
    relay: "done: refused",
    input: 400,
    otherPort: 404,
    address: 400,
    machine: "SecurityError",
  });
  assert.equal(new URL(page.url()).origin, new URL(serving.pageAddress).origin);
});

test("a server that is gone is told as such, and its chip goes", async () => {
  const frame = await previewed(8080);
  await type("docker rm -f $(docker ps -q); echo gone", /^gone$/m);
  await page.locator("#ports button", { hasText: ":8080" }).waitFor({ state: "detached", timeout: 30_000 });
  assert.equal(await page.locator("#preview").isVisible(), false);
  assert.ok(frame.isDetached());
});
