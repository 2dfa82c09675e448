/**
 * The types of wasm-bindgen's output while it has not been built yet. When `pkg/` is there, the
 * compiler finds the generated declarations instead and checks them against {@link Engine}.
 */
declare module "*/pkg/shared/dinghy.js" {
  const engine: import("./engine.js").Engine;
  export const Machine: typeof engine.Machine;
  export const MachinePort: typeof engine.MachinePort;
  export const ChunkCache: typeof engine.ChunkCache;
  export const Restorer: typeof engine.Restorer;
  export const initSync: typeof engine.initSync;
  export const wasmMemory: typeof engine.wasmMemory;
  export const chunkBytes: typeof engine.chunkBytes;
}

declare module "*/pkg/unshared/dinghy.js" {
  const engine: import("./engine.js").Engine;
  export const Machine: typeof engine.Machine;
  export const MachinePort: typeof engine.MachinePort;
  export const ChunkCache: typeof engine.ChunkCache;
  export const Restorer: typeof engine.Restorer;
  export const initSync: typeof engine.initSync;
  export const wasmMemory: typeof engine.wasmMemory;
  export const chunkBytes: typeof engine.chunkBytes;
}

declare module "*/pkg/tls/tls.js" {
  const tls: import("./network/tls.js").TlsModule;
  export const Authority: typeof tls.Authority;
  export const Client: typeof tls.Client;
  export const initSync: typeof tls.initSync;
}
