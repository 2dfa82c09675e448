/** Tells the built page's service worker what the page is made of, with digests: all but the guest's disk and the saved machine. */

import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const WORKER = "page-worker.js";
/** Compressed copies, maps for debuggers, packs of chunks, which have a cache of their own, and previews, which need a server. */
const LEFT_OUT = /\.(?:br|gz|map)$|^guest\/|^dinghy-preview|^page-worker\.js$/;
/** The guest's disk is fetched by its manifest; a machine that is not kept boots the kernel. */
const WITH = ["guest/chunks/manifest.json", "kernel/vmlinux.gz"];

const dist = fileURLToPath(new URL("../dist/", import.meta.url));
const found = readdirSync(dist, { recursive: true }).map((name) => name.replaceAll("\\", "/"));
const names = found.filter((name) => !LEFT_OUT.test(name) && statSync(dist + name).isFile());
const files = {};
for (const name of [...names, ...WITH.filter((path) => existsSync(dist + path))].sort()) {
  files[name] = createHash("sha256")
    .update(readFileSync(dist + name))
    .digest("hex");
}
const worker = readFileSync(new URL(`../public/${WORKER}`, import.meta.url), "utf8");
writeFileSync(dist + WORKER, `self.DINGHY_FILES = ${JSON.stringify(files)};\n${worker}`);
