/** Puts the hash functions into `lib/hashes.js` itself: a worker without a bundler cannot find another package. */

import { fileURLToPath } from "node:url";

import { build } from "vite";

const lib = fileURLToPath(new URL("../lib/", import.meta.url));

await build({
  configFile: false,
  logLevel: "warn",
  publicDir: false,
  build: {
    lib: { entry: fileURLToPath(new URL("../src/hashes.ts", import.meta.url)), formats: ["es"], fileName: "hashes" },
    outDir: lib,
    emptyOutDir: false,
    minify: false,
  },
});
