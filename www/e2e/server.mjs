/** Serves the built page, or another folder, as a static host does, on this machine only. */

import { createReadStream, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const DIST = fileURLToPath(new URL("../dist/", import.meta.url));

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
};

const ISOLATION = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};

/**
 * Starts a server of `dist`, or of another folder, on a free port.
 *
 * @param {{ isolated: boolean, missing?: string[], replaced?: Record<string, Uint8Array>,
 *   linked?: Record<string, string>, root?: string }} options
 *   whether the headers of isolation are sent; paths that are answered by 404, by other bytes, or by other files;
 *   the folder
 * @returns {Promise<{ address: string, bytesSent: () => number, close: () => void }>} `bytesSent` counts the bodies
 */
export async function serve({ isolated, missing = [], replaced = {}, linked = {}, root = DIST }) {
  let bytesSent = 0;
  const server = createServer((request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url, "http://localhost").pathname));
    const name = path === "/" ? "/index.html" : path;
    const headers = {
      "Content-Type": TYPES[extname(name)] ?? "application/octet-stream",
      "Cache-Control": "no-cache",
      ...(isolated ? ISOLATION : {}),
    };
    if (name in replaced) {
      bytesSent += replaced[name].length;
      response.writeHead(200, headers).end(replaced[name]);
      return;
    }
    const file = linked[name] ?? join(root, name);
    const status = missing.includes(name) ? undefined : statSync(file, { throwIfNoEntry: false });
    if (!status?.isFile()) {
      response.writeHead(404, { "Content-Type": "text/plain" }).end("Not found\n");
      return;
    }
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
    const first = range ? Number(range[1]) : 0;
    const last = range ? Math.min(Number(range[2]), status.size - 1) : status.size - 1;
    if (range && first > last) {
      response.writeHead(416, { "Content-Range": `bytes */${status.size}` }).end();
      return;
    }
    headers["Content-Length"] = last - first + 1;
    if (range) headers["Content-Range"] = `bytes ${first}-${last}/${status.size}`;
    response.writeHead(range ? 206 : 200, headers);
    if (status.size === 0 || request.method === "HEAD") {
      response.end();
      return;
    }
    bytesSent += headers["Content-Length"];
    createReadStream(file, { start: first, end: last }).pipe(response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    address: `http://127.0.0.1:${server.address().port}/`,
    bytesSent: () => bytesSent,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
