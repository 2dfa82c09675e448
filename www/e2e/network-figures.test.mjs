/**
 * What the network carries in node, with DINGHY_NETWORK_FIGURES=1: iperf3 between the guest and this computer, a thousand
 * connections held for a minute, and ten thousand opened and closed. Prints figures, and fails below what is asked for.
 */

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { fileURLToPath } from "node:url";

import { Machine } from "../lib/node/index.js";
import { packageFiles } from "./packages.mjs";

const BUILD = fileURLToPath(new URL("../../build/", import.meta.url));
const skip = process.env.DINGHY_NETWORK_FIGURES ? false : "DINGHY_NETWORK_FIGURES is not set";
/** Of each transfer, in seconds. */
const SECONDS = 10;
const HELD = 1000;
const HELD_SECONDS = 2;
const OPENED = 10_000;
const ROUNDS = 10;

const INIT = `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
export PATH=/bin LD_LIBRARY_PATH=/lib/x86_64-linux-gnu HOME=/
ifconfig lo up
ifconfig eth0 10.86.0.2 netmask 255.255.255.0 up
route add default gw 10.86.0.1
ulimit -n 65536
echo dinghy:up >/dev/ttyS0
exec setsid bash </dev/hvc0 >/dev/hvc0 2>&1
`;

let folder;
let machine;
let printed = "";
let commands = 0;

/** An initramfs with busybox, bash and iperf3 of Debian. */
function initramfs() {
  const root = join(folder, "root");
  for (const name of ["bin", "dev", "proc", "tmp", "lib64", "lib/x86_64-linux-gnu"])
    mkdirSync(join(root, name), { recursive: true });
  copyFileSync("/bin/busybox", join(root, "bin/busybox"));
  copyFileSync("/bin/bash", join(root, "bin/bash"));
  copyFileSync(join(packageFiles("iperf3"), "usr/bin/iperf3"), join(root, "bin/iperf3"));
  const libraries = ["libiperf0", "libsctp1", "libssl3", "libtinfo6", "libc6"].map(packageFiles);
  for (const library of libraries) {
    for (const name of ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"]) {
      const from = join(library, name);
      try {
        readdirSync(from);
      } catch {
        continue;
      }
      const isLibrary = (path) => path === from || /\/lib[^/]*\.so[^/]*$/.test(path);
      cpSync(from, join(root, "lib/x86_64-linux-gnu"), { recursive: true, dereference: true, filter: isLibrary });
    }
  }
  const loader = join(packageFiles("libc6"), "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");
  copyFileSync(loader, join(root, "lib64/ld-linux-x86-64.so.2"));
  writeFileSync(join(root, "init"), INIT, { mode: 0o755 });
  const names = execFileSync("find", ["."], { cwd: root });
  const archive = join(folder, "initramfs");
  writeFileSync(
    archive,
    execFileSync("cpio", ["--create", "--format=newc", "--quiet"], { cwd: root, input: names, maxBuffer: 1 << 28 }),
  );
  return archive;
}

/** Runs a command in the guest; resolves to what it prints. */
async function run(command) {
  const number = ++commands;
  const from = printed.length;
  machine.console.write(`${command}; echo ended-${number}-\n`);
  const end = `\nended-${number}-`;
  for (;;) {
    const at = printed.indexOf(end, from);
    if (at >= 0) return printed.slice(from, at);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function memory() {
  const { rss, heapUsed } = process.memoryUsage();
  return `${(rss / 1e6).toFixed(0)} MB resident, ${(heapUsed / 1e6).toFixed(1)} MB of them JavaScript's`;
}

before(async () => {
  if (skip) return;
  folder = mkdtempSync(join(tmpdir(), "dinghy-figures-"));
  machine = await Machine.boot({
    kernel: join(BUILD, "kernel/vmlinux"),
    initrd: initramfs(),
    commandLine: "console=ttyS0 console=hvc0 quiet panic=-1",
    memoryMiB: 256,
    engine: "interp",
    network: { to: "host", allow: ["127.0.0.1:5201", "127.0.0.1:5202"] },
  });
  machine.console.onData((bytes) => (printed += Buffer.from(bytes).toString()));
  await new Promise((resolve) => machine.on("phase", ({ mark }) => mark === "up" && resolve()));
});
after(async () => {
  machine?.stop();
  await machine?.gone;
  if (folder) rmSync(folder, { recursive: true, force: true });
});

test("iperf3 moves 200 Mbit/s each way", { skip }, async () => {
  const libraries = ["libiperf0", "libsctp1"].map((name) => join(packageFiles(name), "usr/lib/x86_64-linux-gnu"));
  const server = spawn(join(packageFiles("iperf3"), "usr/bin/iperf3"), ["--server", "--bind", "127.0.0.1"], {
    stdio: "ignore",
    env: { LD_LIBRARY_PATH: libraries.join(":") },
  });
  try {
    for (const [direction, option] of [
      ["from the guest", ""],
      ["to the guest", "--reverse"],
    ]) {
      const text = await run(`iperf3 --client 10.86.0.254 --time ${SECONDS} --interval 0 --format m ${option}`);
      const rate = Number(/([\d.]+) Mbits\/sec +receiver/.exec(text)?.[1]);
      console.log(`iperf3 ${direction}: ${rate} Mbit/s`);
      assert.ok(rate >= 200, text);
    }
  } finally {
    server.kill();
  }
});

test("a thousand connections are held, and ten thousand leave nothing behind", { skip }, async () => {
  let open = 0;
  let accepted = 0;
  const server = createServer((socket) => {
    open += 1;
    accepted += 1;
    socket.on("error", () => undefined).on("close", () => (open -= 1));
    socket.pipe(socket);
  }).listen(5202, "127.0.0.1");
  await once(server, "listening");
  const connect = "exec {fd}<>/dev/tcp/10.86.0.254/5202 || failed=$((failed + 1))";
  try {
    console.log(`before: ${memory()}`);
    await run("head -c 200M /dev/zero >/tmp/all; rm /tmp/all");
    console.log(`at the start: ${memory()}`);
    await run(`failed=0; for i in $(seq ${HELD}); do ${connect}; fds+=($fd); done`);
    assert.equal(open, HELD);
    await run(`sleep ${HELD_SECONDS}`);
    const echo =
      "for fd in ${fds[@]}; do echo say$fd >&$fd; done; for fd in ${fds[@]}; do read -r -u $fd a; [ $a = say$fd ]";
    assert.match(await run(`${echo} || failed=$((failed + 1)); done; echo failed: $failed.`), /\nfailed: 0\./);
    console.log(`${open} held for ${HELD_SECONDS} s: ${memory()}`);
    await run("for fd in ${fds[@]}; do exec {fd}>&-; done; fds=()");
    for (let batch = 0; batch < 3; batch++) {
      for (let round = 1; round <= ROUNDS; round++) {
        const count = OPENED / ROUNDS;
        const text = await run(`for i in $(seq ${count}); do ${connect}; exec {fd}>&-; done; echo failed: $failed.`);
        assert.match(text, /\nfailed: 0\./);
        console.log(`${accepted - HELD} opened and closed: ${memory()}`);
      }
    }
    for (let patience = 100; open > 0 && patience > 0; patience--) await new Promise((r) => setTimeout(r, 100));
    assert.equal(open, 0);
    assert.equal(accepted, HELD + 3 * OPENED);
    // What the guest itself still knows of them.
    console.log(
      (await run("cat /proc/net/sockstat"))
        .split("\n")
        .filter((line) => /^TCP/.test(line))
        .join(),
    );
  } finally {
    server.close();
  }
});
