/** A guest with bash and iperf3 for figures of the network, on an initial RAM file system. */

import { execFileSync } from "node:child_process";
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { Machine } from "../lib/node/index.js";
import { packageFiles } from "./packages.mjs";

const BUILD = fileURLToPath(new URL("../../build/", import.meta.url));

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

/** An initramfs with busybox, bash and iperf3 of Debian. */
function initramfs(folder) {
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

/** Boots the guest; `options` besides, or instead of, those of `Machine.boot` that it needs. */
export async function bootFigures(options) {
  const folder = mkdtempSync(join(tmpdir(), "dinghy-figures-"));
  const machine = await Machine.boot({
    kernel: join(BUILD, "kernel/vmlinux"),
    initrd: initramfs(folder),
    commandLine: "console=ttyS0 console=hvc0 quiet panic=-1",
    memoryMiB: 512,
    ...options,
  });
  let printed = "";
  let commands = 0;
  machine.console.onData((bytes) => (printed += Buffer.from(bytes).toString()));
  await new Promise((resolve) => machine.on("phase", ({ mark }) => mark === "up" && resolve()));
  /** Runs a command in the guest; resolves to what it prints. */
  const run = async (command) => {
    const number = ++commands;
    const from = printed.length;
    // The terminal shows the command as well: what ends it is not in it as it is printed.
    machine.console.write(`${command}; echo "ended"-${number}-\n`);
    const end = `\nended-${number}-`;
    for (;;) {
      const at = printed.indexOf(end, from);
      if (at >= 0) return printed.slice(from, at);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  const stop = async () => {
    machine.stop();
    await machine.gone;
    rmSync(folder, { recursive: true, force: true });
  };
  return { run, stop };
}
