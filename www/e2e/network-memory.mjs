/**
 * How large the process is after ten thousand connections of the guest, and after ten thousand more. Run by
 * network-figures.test.mjs with flags that let V8 keep no garbage. The guest has touched all of its memory before, and its
 * code is interpreted: neither its pages nor compiled code are counted as the connections'.
 */

import { listenEcho } from "./echo.mjs";
import { bootFigures } from "./network-guest.mjs";

const OPENED = 10_000;
const PORT = 5202;
/** What V8's own heaps, of three threads, differ by from one moment to the next: 200 bytes a connection. */
const TOLERANCE_MB = 2;

const server = await listenEcho(PORT);
const { run, stop } = await bootFigures({
  memoryMiB: 256,
  engine: "interp",
  network: { to: "host", allow: [`127.0.0.1:${PORT}`] },
});

/** Megabytes that are resident once all connections are gone; the least of some moments, as garbage comes and goes. */
async function resident() {
  while (server.open > 0) await new Promise((resolve) => setTimeout(resolve, 100));
  const found = [];
  for (let moment = 0; moment < 10; moment++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    found.push(process.memoryUsage().rss / 1e6);
  }
  return Math.min(...found);
}

async function connect(count) {
  const command = `for i in $(seq ${count}); do exec {fd}<>/dev/tcp/10.86.0.254/${PORT} && exec {fd}>&-; done`;
  const before = server.accepted;
  await run(command);
  const made = server.accepted - before;
  if (made !== count) throw new Error(`${made} of ${count} connections were made`);
}

await run("head -c 200M /dev/zero >/tmp/all; rm /tmp/all");
const start = await resident();
// What V8 compiles and caches is there once, however many follow.
await connect(OPENED);
const first = await resident();
await connect(OPENED);
const second = await resident();
console.log(
  `resident at the start ${start.toFixed(1)} MB, after ${OPENED} connections ${first.toFixed(1)} MB, ` +
    `after as many again ${second.toFixed(1)} MB`,
);
if (second - first > TOLERANCE_MB) process.exitCode = 1;
server.close();
await stop();
