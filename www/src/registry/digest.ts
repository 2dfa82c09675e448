/** Digests of contents (OCI image specification, "Digests"): here always SHA-256, which every registry has. */

import { sha256 } from "../hashes.js";

/** What a digest looks like. */
const DIGEST = /^sha256:[0-9a-f]{64}$/;

/** Whether a text is a digest that can be checked. */
export function isDigest(text: string): boolean {
  return DIGEST.test(text);
}

/** The digest of bytes. */
export function digestOf(bytes: Uint8Array): string {
  return new Digester().update(bytes).digest();
}

/** Computes the digest of a stream. */
export class Digester {
  readonly #hash = sha256.create();

  update(bytes: Uint8Array): this {
    this.#hash.update(bytes);
    return this;
  }

  /** The digest of all that came; the last call. */
  digest(): string {
    return `sha256:${Array.from(this.#hash.digest(), (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  }
}
