/** The build for one worker. */

import * as generated from "../../pkg/unshared/dinghy.js";
import type { Engine } from "../engine.js";

/** The emulator; wasm-bindgen's declarations are wider than what `src/web` promises in {@link Engine}. */
export const engine = generated as Engine;

/** Its code. */
export const wasm = new URL("../../pkg/unshared/dinghy_bg.wasm", import.meta.url);
