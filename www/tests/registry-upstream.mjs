/** A registry for tests, with what the cache has to cope with: tokens, redirects, tampering, and going away. */

import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { once } from "node:events";

export const digestOf = (bytes) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

/** An image: its manifest, config and one layer, by digest. `content` is what the layer has before it is packed. */
export function makeImage(layer, content = layer) {
  const rootfs = { type: "layers", diff_ids: [digestOf(content)] };
  const config = Buffer.from(JSON.stringify({ architecture: "amd64", os: "linux", config: {}, rootfs }));
  const describe = (mediaType, bytes) => ({ mediaType, digest: digestOf(bytes), size: bytes.length });
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: "application/vnd.docker.distribution.manifest.v2+json",
      config: describe("application/vnd.docker.container.image.v1+json", config),
      layers: [describe("application/vnd.docker.image.rootfs.diff.tar.gzip", layer)],
    }),
  );
  return { manifest, config, layer };
}

/** Serves images by `NAME:TAG`. */
export class TestRegistry {
  requests = [];
  /** By digest. */
  blobs = new Map();
  /** Digest of the manifest by `NAME:TAG`. */
  tags = new Map();
  /** A token that is asked for, or nothing. */
  token;
  /** Whether pages may read what it sends. */
  letsPagesRead = false;
  /** Where blobs are, if elsewhere. */
  blobHost;

  constructor() {
    this.server = createServer((request, response) => this.#answer(request, response));
  }

  async listen() {
    this.server.listen(0, "127.0.0.1");
    await once(this.server, "listening");
    this.url = `http://127.0.0.1:${this.server.address().port}`;
    return this;
  }

  add(name, { manifest, config, layer }) {
    for (const bytes of [manifest, config, layer]) this.blobs.set(digestOf(bytes), bytes);
    this.tags.set(name, digestOf(manifest));
  }

  async close() {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, "close");
  }

  #answer({ url, headers }, response) {
    this.requests.push(url);
    if (this.letsPagesRead) response.setHeader("access-control-allow-origin", "*");
    const path = new URL(url, this.url);
    if (path.pathname === "/token") {
      this.scope = path.searchParams.get("scope");
      response.end(JSON.stringify({ token: this.token }));
      return;
    }
    if (this.token && headers.authorization !== `Bearer ${this.token}` && !path.pathname.startsWith("/elsewhere/")) {
      const challenge = `Bearer realm="${this.url}/token",service="test"`;
      response.writeHead(401, { "www-authenticate": challenge }).end();
      return;
    }
    const [, name, kind, what] = /^\/(?:v2|elsewhere)\/(.+)\/(manifests|blobs)\/([^/]+)$/.exec(path.pathname) ?? [];
    const digest = kind === "manifests" ? (this.tags.get(`${name}:${what}`) ?? what) : what;
    const bytes = this.blobs.get(digest);
    if (!bytes) {
      response.writeHead(404).end();
    } else if (kind === "blobs" && this.blobHost !== undefined && !path.pathname.startsWith("/elsewhere/")) {
      response.writeHead(307, { location: `${this.blobHost}${url.replace("/v2/", "/elsewhere/")}` }).end();
    } else {
      this.lastAuthorization = headers.authorization;
      response.writeHead(200, { "content-length": bytes.length }).end(bytes);
    }
  }
}
