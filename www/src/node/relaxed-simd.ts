/** Relaxed SIMD in versions of node that have it but do not show it by themselves. */

import { setFlagsFromString } from "node:v8";

/** A module with one function: `v128.const 0` three times, `f32x4.relaxed_madd`, `drop`. */
const ZERO = [0xfd, 0x0c, ...new Array<number>(16).fill(0)];
const BODY = [0x00, ...ZERO, ...ZERO, ...ZERO, 0xfd, 0x85, 0x02, 0x1a, 0x0b];
const MODULE = new Uint8Array([
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
  ...[0x01, 0x04, 0x01, 0x60, 0x00, 0x00],
  ...[0x03, 0x02, 0x01, 0x00],
  ...[0x0a, BODY.length + 2, 0x01, BODY.length, ...BODY],
]);

/**
 * Has modules that are compiled from now on use relaxed SIMD, where this node knows it: the guest's fused multiply-add takes
 * a tenth of the time. Node 20's V8 implements the final instructions and keeps them behind a flag, which it looks at when it
 * decodes a module, and nowhere else; later versions need none.
 */
export function allowRelaxedSimd(): void {
  if (!WebAssembly.validate(MODULE)) setFlagsFromString("--experimental-wasm-relaxed-simd");
}
