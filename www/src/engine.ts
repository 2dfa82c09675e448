/**
 * The interface between this package and the emulator in WebAssembly.
 *
 * `src/web` in the Rust crate exports exactly this through wasm-bindgen (`--target web`), once with
 * shared memory and threads (`pkg/shared`), once without (`pkg/unshared`). Both have the same
 * interface; everything here names the camel-case JavaScript names (`js_name`).
 *
 * A machine belongs to the worker that made it. With shared memory, another worker instantiates the
 * same module on the same memory and reaches the machine through a {@link MachinePort}; without, the
 * port lives beside the machine in the one worker.
 */

/** Why {@link EngineMachine.run} returned. */
export type RunOutcome =
  /** The instruction limit was reached; call `run` again. */
  | "limit"
  /** The vCPU is halted: wait for attention or for `idleMilliseconds`, then call `run` again. */
  | "idle"
  /** Somebody asked by {@link EnginePort.requestSave} for the machine to be saved: call `save`, then `run` again. */
  | "save"
  /** The guest powered off. Final. */
  | "powered-off"
  /** The guest left by the debug-exit port, with {@link EngineMachine.exitCode}. Final. */
  | "exited"
  /** The guest asked for a reset; a new machine must be made. Final. */
  | "restarted"
  /** The vCPU shut down on a triple fault. Final. */
  | "triple-fault"
  /** The guest kernel reported a panic. Final. */
  | "panicked";

/**
 * Where a machine's time comes from: the host's clocks, or the count of retired instructions, in
 * which case randomness comes from a fixed seed too, so that a run repeats bit for bit.
 */
export type ClockSource = "real" | "icount";

/**
 * What executes guest code: the interpreter alone (`"interp"`); compiled code for what is hot, and the
 * interpreter for the rest (`"auto"`); or compiled code from a region's first execution on (`"jit"`), which
 * makes a module of each and is meant for tests of small programs: a whole Linux exhausts the host with it.
 */
export type EngineChoice = "auto" | "interp" | "jit";

/** A disk whose contents arrive in chunks later; writes go to a copy-on-write overlay in memory. */
export interface ChunkedDisk {
  kind: "chunked";
  /** Size in bytes; a multiple of 512. */
  sizeBytes: number;
  /**
   * Called from within `run` when chunk `index` ({@link Engine.chunkBytes} bytes from
   * `index * chunkBytes()`, the last one shorter) is needed and was not asked for before. Must not
   * block; the answer is {@link EnginePort.completeChunk} or {@link EnginePort.failChunk}. A failed
   * chunk is asked for again at the guest's next access.
   */
  request(index: number): void;
}

/** A disk whose contents can be read at once (a file in node). The callbacks throw `Error` on failure. */
export interface SynchronousDisk {
  kind: "synchronous";
  /** Size in bytes; a multiple of 512. */
  sizeBytes: number;
  /**
   * What the guest's writes do: go through to `write`, stay in a copy-on-write overlay in memory
   * (`write` and `flush` are then never called), or are refused (the guest sees a read-only disk).
   */
  writes: "through" | "overlay" | "refused";
  /** Returns exactly `length` bytes from byte `offset`. Called from within `run`. */
  read(offset: number, length: number): Uint8Array;
  /** Stores `data` (a copy, outside wasm memory) at byte `offset`. */
  write(offset: number, data: Uint8Array): void;
  /** Makes all finished writes durable. */
  flush(): void;
}

/** A disk of the machine, in the order vda, vdb, … */
export type EngineDisk = ChunkedDisk | SynchronousDisk;

/** What a machine is made from. */
export interface EngineOptions {
  /** Guest RAM in bytes, a multiple of 1 MiB. */
  memoryBytes: number;
  /** The kernel file: vmlinux (ELF64) or bzImage. Copied. */
  kernel: Uint8Array;
  /** The initial RAM file system. Copied. */
  initrd?: Uint8Array | undefined;
  /** The kernel's command line. */
  commandLine: string;
  /** Where time comes from. */
  clock: ClockSource;
  /** What executes guest code; `"auto"` if not given. */
  engine?: EngineChoice | undefined;
  /** Size of the virtio console's terminal. */
  columns: number;
  /** Size of the virtio console's terminal. */
  rows: number;
  /** The disks, vda first. */
  disks: EngineDisk[];
  /** Takes what the guest prints on the virtio console (hvc0); bytes are a copy outside wasm memory. */
  onConsoleOutput(bytes: Uint8Array): void;
  /** Takes what the guest prints on the serial port (ttyS0); bytes are a copy outside wasm memory. */
  onSerialOutput(bytes: Uint8Array): void;
}

/**
 * Figures of a machine, for the status line and `--stats`. They count from power-on, unless they say
 * "now". Those of compiled code are zero with the engine `"interp"`.
 */
export interface EngineStatistics {
  /** Guest instructions retired, by whatever executed them. */
  instructions: number;
  /** Blocks that the interpreter has translated to its own form. */
  translatedBlocks: number;
  /** Translated blocks that were dropped because the guest changed their bytes. */
  invalidatedBlocks: number;
  /** Translated blocks that are kept now. */
  cachedBlocks: number;
  /** WebAssembly modules compiled. */
  modulesCompiled: number;
  /** Modules that are installed now. */
  modules: number;
  /** Regions of guest code compiled; a module holds several. */
  regionsCompiled: number;
  /** Regions that are installed now. */
  regions: number;
  /** Bytes of the modules compiled. */
  codeBytesCompiled: number;
  /** Bytes of the functions that are installed now. */
  codeBytes: number;
  /** Guest instructions that the compiled regions hold, however often each is executed. */
  instructionsCompiled: number;
  /** Guest instructions retired in compiled code; a part of `instructions`. */
  compiledInstructions: number;
  /** Milliseconds spent on emitting modules and installing them. */
  compileMilliseconds: number;
  /** Entries into compiled code. */
  compiledEntries: number;
  /** Exits from compiled code to code that is not compiled. */
  exitsToDispatch: number;
  /** Exits because the machine had to look at its timers, interrupts or input. */
  exitsToLook: number;
  /** Exits because an instruction raised an exception. */
  exitsByException: number;
}

/** A machine, in the worker that runs its vCPU. */
export interface EngineMachine {
  /**
   * Runs until `limit` guest instructions are retired or something happens. Takes notice of
   * everything that arrived through the port, and resets the attention word, first.
   */
  run(limit: number): RunOutcome;
  /**
   * After `run` returned `"idle"`: milliseconds from now to the guest's next timer, never negative;
   * `Infinity` when no timer is armed, so that only input can wake the guest. With the instruction
   * clock 0 whenever a timer is armed: `run` moves the clock on by itself.
   */
  idleMilliseconds(): number;
  /** After `run` returned `"exited"`: the code that the guest gave. */
  exitCode(): number | undefined;
  /** Current figures. */
  statistics(): EngineStatistics;
  /**
   * Gives the whole machine as a snapshot to `sink`, in pieces outside wasm memory. Between two calls of `run`.
   * Throws an `Error` whose message is one sentence for the user.
   */
  save(sink: (bytes: Uint8Array<ArrayBuffer>) => void): void;
  /**
   * A handle for {@link EngineConstructors.MachinePort}, valid in every instance on the same
   * memory for as long as the memory lives, also after the machine itself is freed. Each call makes
   * a new handle, for one port.
   */
  portHandle(): number;
  /**
   * Byte address, in the wasm memory, of the 4-byte aligned attention word: zero while nothing has
   * arrived since `run` last looked. The worker sleeps on it with `Atomics.wait(word, 0)`; whoever
   * uses a port calls `Atomics.notify` on it afterwards.
   */
  attentionAddress(): number;
  /** Ends the machine and gives back its memory. */
  free(): void;
}

/** What other workers can do with a running machine. Each call makes the attention word nonzero. */
export interface EnginePort {
  /** Bytes typed at the virtio console (hvc0). */
  consoleInput(bytes: Uint8Array): void;
  /** Bytes typed at the serial port (ttyS0). */
  serialInput(bytes: Uint8Array): void;
  /** The virtio console's terminal has a new size. */
  resize(columns: number, rows: number): void;
  /** A short press of the ACPI power button: the guest shuts down in order. */
  pressPowerButton(): void;
  /** Asks for the machine to be saved: `run` returns `"save"`. */
  requestSave(): void;
  /** Chunk `index` of disk `disk` has arrived; `bytes` has the chunk's exact length (else it throws). */
  completeChunk(disk: number, index: number, bytes: Uint8Array): void;
  /** Chunk `index` of disk `disk` cannot be had; the guest sees an I/O error, `reason` goes to the log. */
  failChunk(disk: number, index: number, reason: string): void;
  /** Gives the handle back. */
  free(): void;
}

/** A machine in the making from a snapshot. All throw an `Error` whose message is one sentence for the user. */
export interface EngineRestorer {
  /** Takes the snapshot's next bytes. RAM is taken and filled meanwhile. */
  push(bytes: Uint8Array): void;
  /** The machine, when all has come; the restorer is gone afterwards. */
  finish(): EngineMachine;
}

/** The classes that the module exports. */
export interface EngineConstructors {
  /**
   * Of the options, kernel, initrd, command line and memory are the snapshot's own matter and not looked at; the
   * disks must be as the saved machine had them.
   */
  Restorer: new (options: EngineOptions) => EngineRestorer;
  /** Throws an `Error` whose message is one sentence for the user when the machine cannot be made. */
  Machine: new (options: EngineOptions) => EngineMachine;
  /** Takes a handle from {@link EngineMachine.portHandle}. */
  MachinePort: new (handle: number) => EnginePort;
}

/** The module `pkg/<build>/dinghy.js`. */
export interface Engine extends EngineConstructors {
  /**
   * Instantiates the module, on `memory` when given (shared build: second and later instances).
   * `thread_stack_size` is in bytes, a multiple of 65536.
   */
  initSync(options: { module: WebAssembly.Module; memory?: WebAssembly.Memory; thread_stack_size?: number }): unknown;
  /** The memory of this instance, to pass to other workers. */
  wasmMemory(): WebAssembly.Memory;
  /** Size of a chunk of a {@link ChunkedDisk}, in bytes. */
  chunkBytes(): number;
}
