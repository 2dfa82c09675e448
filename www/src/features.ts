/** What the browser must be able to do, and which build of the emulator it can run. */

import { bulkMemory, mutableGlobals, saturatedFloatToInt, signExtensions, simd, threads } from "wasm-feature-detect";

import { DinghyError } from "./options.js";

/** Everything beyond the first version of WebAssembly that both builds use. */
const NEEDED = {
  "bulk memory": bulkMemory,
  "mutable globals": mutableGlobals,
  "saturating conversions": saturatedFloatToInt,
  "sign extension": signExtensions,
  SIMD: simd,
};

/** The builds: on shared memory with several workers, or in one worker. */
export type Build = "shared" | "unshared";

/**
 * Chooses the build for this page: shared memory needs cross-origin isolation.
 *
 * @throws DinghyError if the browser can run neither
 */
export async function chooseBuild(): Promise<Build> {
  if (typeof WebAssembly !== "object" || typeof Worker !== "function") {
    throw new DinghyError(
      "This browser has no WebAssembly or no workers; use a current Chrome, Edge, Firefox or Safari.",
    );
  }
  const detected = await Promise.all(
    Object.entries(NEEDED).map(async ([name, detect]) => ((await detect()) ? [] : [name])),
  );
  const missing = detected.flat();
  if (missing.length > 0) {
    throw new DinghyError(
      `This browser's WebAssembly lacks ${missing.join(", ")}; use a current Chrome, Edge, Firefox or Safari.`,
    );
  }
  return globalThis.crossOriginIsolated && (await threads()) ? "shared" : "unshared";
}
