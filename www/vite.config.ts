/** How the page is built and, with `npm run dev`, served. */

import { defineConfig } from "vite";

/** The headers of cross-origin isolation, which shared memory needs. */
const ISOLATION = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};

export default defineConfig({
  // Relative addresses: the page works from any folder of a static host.
  base: "./",
  build: { target: "es2022", sourcemap: true, chunkSizeWarningLimit: 800 },
  worker: { format: "es" },
  server: { headers: ISOLATION },
  preview: { headers: ISOLATION },
});
