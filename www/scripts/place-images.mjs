/**
 * Puts the kernel and the guest image from `../build` beside the built page, where they are there:
 * the kernel compressed, the packs of the guest image as links, because they are large.
 */

import {
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const build = new URL("../../build/", import.meta.url);
const dist = new URL("../dist/", import.meta.url);

place("kernel/vmlinux", "kernel/vmlinux.gz", (from, to) => {
  writeFileSync(to, gzipSync(readFileSync(from), { level: 9 }));
});
place("guest/chunks", "guest/chunks", linkFiles);
place("guest/docker.snapshot", "guest/docker.snapshot", link);
place("guest/docker.snapshot.pages", "guest/docker.snapshot.pages", linkFiles);

/** Links the files of a folder. */
function linkFiles(from, to) {
  mkdirSync(to);
  for (const name of readdirSync(from)) link(join(from, name), join(to, name));
}

/** Links or, where that is not possible, copies. */
function link(from, to) {
  try {
    // What is built is itself linked from the cache.
    linkSync(realpathSync(from), to);
  } catch (error) {
    // A link cannot cross file systems.
    if (error.code !== "EXDEV" && error.code !== "EPERM") throw error;
    copyFileSync(from, to);
  }
}

/**
 * @param {string} source
 * @param {string} target
 * @param {(from: string, to: string) => void} put
 */
function place(source, target, put) {
  const [from, to] = [new URL(source, build), new URL(target, dist)].map((url) => fileURLToPath(url));
  if (!existsSync(from)) {
    console.warn(`${from} is not there yet, so the page has no ${target}; \`make build\` builds it.`);
    return;
  }
  mkdirSync(dirname(to), { recursive: true });
  rmSync(to, { force: true, recursive: true });
  put(from, to);
}
