/** Compresses what is text or code in the built page, beside it, for hosts that send such files in place of the plain ones. */

import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

/** Below this many bytes, headers outweigh what is saved. */
const LEAST_BYTES = 1024;
/** Levels at which the whole page takes a second or two. */
const QUALITY = { brotli: 9, gzip: 9 };

const dist = fileURLToPath(new URL("../dist/", import.meta.url));
for (const name of existsSync(dist) ? readdirSync(dist, { recursive: true }) : []) {
  if (!/\.(?:html|js|css|svg|json|wasm)$/.test(name)) continue;
  const bytes = readFileSync(dist + name);
  if (bytes.byteLength < LEAST_BYTES) continue;
  const params = { [constants.BROTLI_PARAM_QUALITY]: QUALITY.brotli };
  writeFileSync(`${dist}${name}.br`, brotliCompressSync(bytes, { params }));
  writeFileSync(`${dist}${name}.gz`, gzipSync(bytes, { level: QUALITY.gzip }));
}
