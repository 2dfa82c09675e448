/** The hash functions that the package needs and no platform has for data that comes in pieces; bundled into `lib/`. */

export { sha1 } from "@noble/hashes/legacy.js";
export { sha256 } from "@noble/hashes/sha2.js";
