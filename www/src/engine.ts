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
  /** Someone asked for it to be kept: {@link EngineMachine.keep}, then `run` again. */
  | "keep"
  /** The guest powered off. Final. */
  | "powered-off"
  /** The guest left by the debug-exit port, with {@link EngineMachine.exitCode}. Final. */
  | "exited"
  /** The guest asked for a reset; a new machine must be made. Final. */
  | "restarted"
  /** Parts of a snapshot's memory cannot be had: {@link EngineMachine.lostMemory} says why. Final. */
  | "memory-lost"
  /** The vCPU shut down on a triple fault. Final. */
  | "triple-fault"
  /** The guest kernel reported a panic. Final. */
  | "panicked";

/**
 * Where a machine's time comes from: the host's clocks, or the count of retired instructions, in
 * which case randomness comes from a fixed seed too, so that a run repeats bit for bit.
 */
export type ClockSource = "real" | "icount";

/** Which processor the guest sees: a level of the x86-64 psABI, or all instructions that there are. */
export type CpuChoice = "v1" | "v2" | "v3" | "max";

/**
 * What executes guest code: the interpreter alone (`"interp"`); compiled code for what is hot, and the
 * interpreter for the rest (`"auto"`); or compiled code from a region's first execution on (`"jit"`), which
 * makes a module of each and is meant for tests of small programs: a whole Linux exhausts the host with it.
 */
export type EngineChoice = "auto" | "interp" | "jit";

/** A file that belongs to the emulator. The callbacks throw `Error` on failure, and are called from within `run`. */
export interface EngineFile {
  /** Size in bytes. */
  size(): number;
  /** Returns `length` bytes from byte `offset`; fewer at the end. */
  read(offset: number, length: number): Uint8Array;
  /** Stores all of `data` (a copy, outside wasm memory) at byte `offset`, and makes the file longer where needed. */
  write(offset: number, data: Uint8Array): void;
  /** Cuts the file off after `size` bytes. */
  truncate(size: number): void;
  /** Returns when all that was written is durable. */
  flush(): void;
}

/** A disk whose contents arrive in chunks later; writes go to a copy-on-write overlay. */
export interface ChunkedDisk {
  kind: "chunked";
  /** The list of chunks of an image that is stored in packs; without it the image is raw. */
  manifest?: Uint8Array | undefined;
  /** Size of a raw image in bytes; a multiple of 512. */
  sizeBytes?: number | undefined;
  /** Where the guest's writes are kept, over an image with a manifest; in memory if not given. */
  overlay?: EngineFile | undefined;
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
   * What the guest's writes do: go through to `write`, stay in a copy-on-write overlay
   * (`write` and `flush` are then never called), or are refused (the guest sees a read-only disk).
   */
  writes: "through" | "overlay" | "refused";
  /** Where the overlay is kept; in memory if not given. */
  overlay?: EngineFile | undefined;
  /**
   * The SHA-256 of the disk's contents, by which a snapshot knows them again; with `overlay`, which fits no other
   * contents, another text that tells them from others will do.
   */
  identity?: string | undefined;
  /** Returns exactly `length` bytes from byte `offset`. Called from within `run`. */
  read(offset: number, length: number): Uint8Array;
  /** Stores `data` (a copy, outside wasm memory) at byte `offset`. */
  write(offset: number, data: Uint8Array): void;
  /** Makes all finished writes durable. */
  flush(): void;
}

/** A disk of the machine, in the order vda, vdb, … */
export type EngineDisk = ChunkedDisk | SynchronousDisk;

/** What a flow of the guest carries: a stream each way, or datagrams. */
export type Transport = "tcp" | "udp";

/** Why a flow could not begin or go on. */
export type FlowFailure = "forbidden" | "refused" | "reset" | "unreachable" | "too-many";

/** A directory that the guest mounts by its tag, over 9p. */
export type EngineShare = EngineFiles | EngineProvided;

/** A directory that somebody in JavaScript serves. */
export interface EngineProvided {
  kind: "provided";
  tag: string;
  isReadOnly: boolean;
  /**
   * Has an operation done, as files/operations.ts reads it, with the data of a write (a copy, outside wasm memory). The
   * answer goes to {@link EnginePort.completeOperation}, unless `id` is 0. Called from within `run`.
   */
  ask(id: number, operation: string, data: Uint8Array | undefined): void;
}

/** A directory in memory. */
export interface EngineFiles {
  kind: "files";
  tag: string;
  isReadOnly: boolean;
  /** Bytes that its files may take, about. */
  capacityBytes: number;
  files: EngineSharedFile[];
}

/** A file of a directory in memory. */
export interface EngineSharedFile {
  /** Its path in the directory, divided by `/`. */
  path: string;
  /** Its contents. Copied. */
  bytes: Uint8Array;
  /** Its permission bits. */
  permissions: number;
}

/** The guest's network card, whose flows JavaScript carries. */
export interface EngineNetwork {
  /** Destinations, besides public ones, that the guest may reach: `ADDRESS[/BITS][:PORT]`. */
  allowed: string[];
  /** The name server, `ADDRESS:PORT`, that the guest may ask over TCP as well. */
  nameServer?: string | undefined;
  /** Called from within `run` when {@link EnginePort.takeNetworkCommands} has something after it had nothing. */
  onWork(): void;
}

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
  /** Whether compiled code carries names that tell a profiler what guest code it is. */
  hasNames?: boolean | undefined;
  /** Which processor the guest sees; `"v2"` if not given. Not looked at with a snapshot, which has its own. */
  cpu?: CpuChoice | undefined;
  /** Size of the virtio console's terminal. */
  columns: number;
  /** Size of the virtio console's terminal. */
  rows: number;
  /** The disks, vda first. */
  disks: EngineDisk[];
  /** Directories that the guest can mount. */
  shares?: EngineShare[] | undefined;
  /** The network; without it there is no card. Needs the clock `"real"`. */
  network?: EngineNetwork | undefined;
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
  /** Regions dropped because there were too many. */
  regionsEvicted: number;
  /** Times that compiled code was left on its way, and went on when the interpreter had returned to it. */
  resumptions: number;
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
  /** After `run` returned `"memory-lost"`: why, in one sentence for the user. */
  lostMemory(): string | undefined;
  /** Whether no part of a snapshot's memory is still to come. */
  isWhole(): boolean;
  /** The numbers of the pages of 4 KiB that were touched, in order, if {@link EngineRestorer.recordTouchedPages} was called. */
  touchedPages(): Uint32Array;
  /** Current figures. */
  statistics(): EngineStatistics;
  /**
   * Gives the whole machine as a snapshot to `sink`, in pieces outside wasm memory. Between two calls of `run`.
   * Throws an `Error` whose message is one sentence for the user.
   */
  save(sink: (bytes: Uint8Array<ArrayBuffer>) => void): void;
  /**
   * Makes the keeper's file hold the machine as it is now, between two calls of `run`; all that the guest has written
   * becomes durable first. Returns how many pages of RAM were written, or `undefined` if it cannot be kept just now.
   * Throws an `Error` whose message is one sentence.
   */
  keep(keeper: EngineKeeper): number | undefined;
  /** Whether a disk has moved on since the keeper's file was written: what it holds is then of no use any more. */
  hasMovedOnFrom(keeper: EngineKeeper): boolean;
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
  /** Asks for the machine to be kept: `run` returns `"keep"`. */
  requestKeep(): void;
  /** The names of the packs that chunked disk `disk` is stored in, a line each; `undefined` for a raw image. */
  chunkPacks(disk: number): string | undefined;
  /** Pack, first byte and bytes of a chunk as it is stored; `undefined` for chunks of zeroes and of raw images. */
  chunkLocation(disk: number, index: number): Iterable<number> | undefined;
  /** The digest of the stored bytes of a chunk; `undefined` for chunks of zeroes and of raw images. */
  chunkDigest(disk: number, index: number): string | undefined;
  /** The chunks that a boot reads, in the order in which it reads them first. */
  chunksToPrefetch(disk: number): Iterable<number>;
  /**
   * Chunk `index` of disk `disk` has arrived; `bytes` is what is stored. Verifies and unpacks it. Says what is
   * wrong if it is not the chunk, and then nothing has happened. A chunk may come before the guest asks for it.
   */
  completeChunk(disk: number, index: number, bytes: Uint8Array): string | undefined;
  /** Chunk `index` of disk `disk` cannot be had; the guest sees an I/O error, `reason` goes to the log. */
  failChunk(disk: number, index: number, reason: string): string | undefined;
  /** How many parts of a snapshot's memory were to come when the port's handle was made. */
  memoryParts(): number;
  /** The name of the file of a part of the memory, if that has not come yet. */
  absentMemoryFile(part: number): string | undefined;
  /** The file of a part of the memory has arrived. Says what is wrong with it; nothing has happened then. */
  provideMemory(part: number, bytes: Uint8Array): string | undefined;
  /** Operation `id` on share `share` has ended: with Linux's number of an error, or with 0 and what was asked for. */
  completeOperation(share: number, id: number, errno: number, json: string, data: Uint8Array): void;
  /** What the network is to do since the last call, in order, as network/commands.ts reads it. */
  takeNetworkCommands(): Uint8Array;
  /** A flow is open. */
  flowOpened(flow: number): void;
  /** A flow cannot be opened, or has ended badly; it is forgotten. */
  flowFailed(flow: number, reason: FlowFailure): void;
  /** A piece of a stream, or a datagram, for the guest. Returns whether there is room for more: if not, wait for `"resume"`. */
  flowData(flow: number, bytes: Uint8Array): boolean;
  /** The stream for the guest has ended. */
  flowEnded(flow: number): void;
  /** So many bytes of the guest's have left. */
  flowSent(flow: number, count: number): void;
  /** Connects to a TCP port of the guest. Returns the flow's number, or nothing without a network. */
  connectGuest(port: number): number | undefined;
  /** The machine's address among its peers, as a number of 32 bits, or nothing if it has none any longer. */
  joinPeers(address: number | undefined): void;
  /** A packet of a peer. */
  peerPacket(packet: Uint8Array): void;
  /** The answer to a question, or nothing if there is none. */
  answerName(question: number, answer: Uint8Array | undefined): void;
  /** Gives the handle back. */
  free(): void;
}

/**
 * The file of the cache of chunks, as `globalThis.dinghyCacheFile` of the worker that opens it: an instance that is
 * not the first on its memory can keep no JavaScript object. Nothing here throws.
 */
export interface CacheFile {
  /** Size in bytes; negative on failure. */
  size(): number;
  /** Fills `buffer`, a view of wasm memory, from byte `offset`; tells how much was there, or a negative number. */
  read(offset: number, buffer: Uint8Array): number;
  /** Stores `data`, a view of wasm memory, at byte `offset`; tells whether all was stored. */
  write(offset: number, data: Uint8Array): boolean;
  /** Cuts the file off; tells whether it is. */
  truncate(size: number): boolean;
}

/** Packed chunks kept in a file by their digests, the least recently used dropped first. */
export interface EngineChunkCache {
  /** What is kept under a digest. It is not verified: a chunk that turns out damaged is to be removed. */
  get(digest: string): Uint8Array | undefined;
  /** Keeps bytes under their digest. Tells whether the file could be written. */
  put(digest: string, bytes: Uint8Array): boolean;
  /** Forgets what is kept under a digest. Tells whether the file could be written. */
  remove(digest: string): boolean;
  /** Lets go of the file. */
  free(): void;
}

/**
 * Loads a file beside the snapshot by its name, and blocks meanwhile; as `globalThis.dinghyMemoryFile` of the vCPU's worker.
 * `attempt` counts from 0. Throws an `Error` that says why it cannot be had.
 */
export type MemoryFile = (name: string, attempt: number) => Uint8Array;

/** A machine in the making from a snapshot. All throw an `Error` whose message is one sentence for the user. */
export interface EngineRestorer {
  /**
   * Has the machine load what the snapshot leaves to files beside it when it is needed, by the worker's
   * {@link MemoryFile}. Before the first `push`.
   */
  fetchPages(): void;
  /** Has the machine note which pages it touches. For snapshots that leave nothing to other files. */
  recordTouchedPages(): void;
  /** Takes the snapshot's next bytes. RAM is taken and filled meanwhile. */
  push(bytes: Uint8Array): void;
  /**
   * A handle for {@link EngineConstructors.PageDecoder}, for one each call: another worker on the same memory can help to
   * decode. Nothing before the restorer knows how much memory the machine has.
   */
  decoderHandle(): number | undefined;
  /** The machine, when all has come; the restorer is gone afterwards. */
  finish(): EngineMachine;
}

/** Another worker's help with a restore. */
export interface EnginePageDecoder {
  /** Decodes what comes, and blocks until all has. */
  help(): void;
  /** Gives the handle back. */
  free(): void;
}

/** The file in which a machine is kept. */
export interface EngineKeeper {
  /**
   * Goes on with the machine that the file holds, with options as for a {@link EngineRestorer}. Throws an `Error` whose
   * message is one sentence.
   */
  resume(options: EngineOptions): EngineMachine;
  /** Bytes that the file takes. */
  fileBytes(): number;
  /** Forgets what the file holds, as far as that can be done. */
  clear(): void;
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
  /** Takes a handle from {@link EngineRestorer.decoderHandle}. */
  PageDecoder: new (handle: number) => EnginePageDecoder;
  /** Looks what a file holds. Throws an `Error` if it cannot be read. */
  MachineKeeper: new (file: EngineFile) => EngineKeeper;
  /** Takes a handle from {@link EngineMachine.portHandle}. */
  MachinePort: new (handle: number) => EnginePort;
  /** Opens the cache in the worker's `dinghyCacheFile`, to hold `limitBytes` at most. */
  ChunkCache: { open(limitBytes: number): EngineChunkCache | undefined };
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
