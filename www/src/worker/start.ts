/** What both vCPU workers in a browser do before the first instruction. */

import { fetchedDestinations } from "../network/fetch-carrier.js";
import type { Engine, EngineKeeper, EngineMachine, EngineNetwork, EngineOptions } from "../engine.js";
import { DinghyError, type NetworkOptions } from "../options.js";
import { load, loadPieces, reason } from "./download.js";
import { serveMemoryFiles } from "./memory-files.js";
import type { BootMessage, ErrorMessage, Milestone, RemoteDisk } from "./protocol.js";
import { openKept, openOverlay } from "./own-files.js";
import { openImage } from "./remote-disk.js";
import { engineShares } from "../shares.js";
import type { OutputBatch, Post } from "./run-loop.js";

/** A machine that is about to run. */
export interface Started {
  module: WebAssembly.Module;
  machine: EngineMachine;
  disks: RemoteDisk[];
  /** Where it is kept while it runs. */
  keeper: EngineKeeper | undefined;
  /** Whether it boots, and so will read what a boot reads. */
  boots: boolean;
  /** The address of the snapshot beside which the rest of its memory is, if that is still to come. */
  restAt: string | undefined;
}

/**
 * Stack of each wasm instance, in bytes. The emulator recurses nowhere deeply; its largest frames
 * are page-sized buffers.
 */
export const THREAD_STACK_BYTES = 16 * 65536;

/**
 * Loads the emulator and the images or the snapshot, all at once, and makes the machine.
 *
 * @param emulator the compiled emulator, from {@link compile}
 * @param requestChunk called when the guest needs a chunk of a disk
 * @param onNetworkWork called when the guest's network has something to do
 * @param onDecoding called when another worker can help to decode a snapshot; not called if it is not given
 * @throws DinghyError if anything of it cannot be had or used
 */
export async function start(
  engine: Engine,
  emulator: Promise<WebAssembly.Module>,
  boot: BootMessage,
  output: OutputBatch,
  post: Post,
  requestChunk: (disk: number, index: number) => void,
  onNetworkWork: () => void,
  onDecoding?: (module: WebAssembly.Module, decoderHandle: number) => void,
): Promise<Started> {
  const pass = (name: Milestone): void =>
    post({ type: "milestone", name, at: performance.timeOrigin + performance.now() });
  pass("worker-started");
  const progress = new DownloadProgress(post);
  const failed = (message: string): void => post({ type: "error", message, fatal: false });
  void emulator.then(() => pass("emulator-compiled")).catch(() => undefined);
  const opening = Promise.all([
    Promise.all(boot.disks.map(openImage)),
    Promise.all(
      boot.disks.map(async ({ overlay }) => (overlay === undefined ? undefined : openOverlay(overlay, failed))),
    ),
  ]);
  void opening.then(() => pass("files-opened")).catch(() => undefined);
  const openingKept = opening.then(([, overlays]) =>
    // Where there is no overlay, there is nothing to be kept beside.
    boot.keep === undefined || overlays[0] === undefined ? undefined : openKept(boot.keep, !boot.resumes),
  );
  const keeperOf = (file: Awaited<typeof openingKept>): EngineKeeper | undefined =>
    file && new engine.MachineKeeper(file);
  const engineOptions = ([disks, overlays]: Awaited<typeof opening>): Omit<EngineOptions, "kernel" | "initrd"> => ({
    memoryBytes: boot.memoryMiB * 1024 * 1024,
    commandLine: boot.commandLine,
    clock: boot.clock,
    engine: boot.engine,
    cpu: boot.cpu,
    columns: boot.size.columns,
    rows: boot.size.rows,
    disks: disks.map((remote, disk) => ({
      kind: "chunked",
      ...(remote.kind === "chunked" ? { manifest: remote.manifest } : { sizeBytes: remote.sizeBytes }),
      overlay: overlays[disk],
      request: (index) => requestChunk(disk, index),
    })),
    shares: engineShares(boot.shares, post),
    network: engineNetwork(boot.network, onNetworkWork),
    onConsoleOutput: (bytes) => output.add("console", bytes),
    onSerialOutput: (bytes) => output.add("serial", bytes),
  });
  if (boot.resumes) {
    const [module, opened, kept] = await Promise.all([emulator, opening, openingKept]);
    engine.initSync({ module, thread_stack_size: THREAD_STACK_BYTES });
    const keeper = keeperOf(kept);
    if (!keeper) throw new DinghyError("No running machine is kept here; boot it.", "nothing-kept");
    try {
      const machine = keeper.resume({ ...engineOptions(opened), kernel: new Uint8Array() });
      pass("machine-made");
      return { module, machine, disks: opened[0], keeper, boots: false, restAt: undefined };
    } catch (error) {
      throw new DinghyError(reason(error), "nothing-kept");
    }
  }
  if (boot.snapshot !== undefined) {
    // The download begins at once; what comes before the emulator is there waits for it.
    const early: Uint8Array[] = [];
    let take = (piece: Uint8Array): void => {
      early.push(piece);
    };
    const loading = loadPieces("snapshot", boot.snapshot, progress.part(), (piece) => take(piece));
    const [module, opened, kept] = await firstFailure(Promise.all([emulator, opening, openingKept]), loading);
    engine.initSync({ module, thread_stack_size: THREAD_STACK_BYTES });
    const restorer = new engine.Restorer({ ...engineOptions(opened), kernel: new Uint8Array() });
    const { snapshot } = boot;
    if (typeof snapshot === "string") {
      serveMemoryFiles(snapshot);
      restorer.fetchPages();
    }
    let hasHelp = onDecoding === undefined;
    take = (piece) => {
      restorer.push(piece);
      if (hasHelp) return;
      const handle = restorer.decoderHandle();
      hasHelp = handle !== undefined;
      if (handle !== undefined) onDecoding?.(module, handle);
    };
    early.forEach(take);
    await loading;
    pass("snapshot-loaded");
    const machine = restorer.finish();
    pass("machine-made");
    const restAt = typeof snapshot === "string" && !machine.isWhole() ? snapshot : undefined;
    return { module, machine, disks: opened[0], keeper: keeperOf(kept), boots: false, restAt };
  }
  const [module, kernel, initrd, opened, kept] = await Promise.all([
    emulator,
    load("kernel", boot.kernel, progress.part()),
    boot.initrd === undefined ? undefined : load("initial RAM file system", boot.initrd, progress.part()),
    opening,
    openingKept,
  ]);
  engine.initSync({ module, thread_stack_size: THREAD_STACK_BYTES });
  const machine = new engine.Machine({ ...engineOptions(opened), kernel, initrd });
  return { module, machine, disks: opened[0], keeper: keeperOf(kept), boots: true, restAt: undefined };
}

/** The network card that goes with a choice of network. */
function engineNetwork(network: NetworkOptions, onWork: () => void): EngineNetwork | undefined {
  if (network.to === "none") return undefined;
  const allowed = network.to === "relay" ? [...(network.allow ?? [])] : [];
  if (network.to === "fetch" || (network.to === "relay" && network.fetch !== undefined))
    allowed.push(...fetchedDestinations(network.https));
  return { allowed, onWork };
}

/** The outcome of `awaited`, unless `other` fails before. */
async function firstFailure<T>(awaited: Promise<T>, other: Promise<void>): Promise<T> {
  await Promise.race([awaited, other.then(() => awaited)]);
  return awaited;
}

/** The sum of the downloads that go on at once. */
class DownloadProgress {
  readonly #parts: { loaded: number; total: number | undefined }[] = [];

  constructor(private readonly post: Post) {}

  part(): (loadedBytes: number, totalBytes: number | undefined) => void {
    const part = { loaded: 0, total: undefined as number | undefined };
    this.#parts.push(part);
    return (loaded, total) => {
      Object.assign(part, { loaded, total });
      this.#report();
    };
  }

  #report(): void {
    let loadedBytes = 0;
    let totalBytes: number | undefined = 0;
    for (const { loaded, total } of this.#parts) {
      loadedBytes += loaded;
      totalBytes = total === undefined || totalBytes === undefined ? undefined : totalBytes + total;
    }
    this.post({ type: "download", loadedBytes, totalBytes });
  }
}

/**
 * Begins to load the emulator, when a worker has: what goes wrong is told to whoever waits for the outcome.
 *
 * @param wasm its address
 */
export function compile(wasm: URL): Promise<WebAssembly.Module> {
  const compiling = loadEmulator(wasm);
  // A start may come later than the failure.
  compiling.catch(() => undefined);
  return compiling;
}

async function loadEmulator(wasm: URL): Promise<WebAssembly.Module> {
  const response = await fetch(wasm).catch((error: unknown) => {
    throw new DinghyError(
      `The emulator could not be downloaded from ${wasm.href} (${reason(error)}); check the connection and reload.`,
    );
  });
  if (!response.ok) {
    throw new DinghyError(
      `The emulator could not be downloaded: the server answered ${response.status} for ${wasm.href}; ` +
        `check that the site is complete.`,
    );
  }
  try {
    // Streaming refuses other types, which servers that do not know wasm send.
    return response.headers.get("content-type") === "application/wasm"
      ? await WebAssembly.compileStreaming(response)
      : await WebAssembly.compile(await response.arrayBuffer());
  } catch (error) {
    throw new DinghyError(
      `This browser cannot run the emulator (${reason(error)}); use a current Chrome, Edge, Firefox or Safari.`,
    );
  }
}

/** The message that ends a start or a machine. What is no {@link DinghyError} is the emulator's own failure. */
export function fatalError(error: unknown): ErrorMessage {
  const code = error instanceof DinghyError ? error.code : undefined;
  return { type: "error", message: reason(error), fatal: true, code };
}
