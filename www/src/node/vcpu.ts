/** The worker thread that runs the vCPU in node. It blocks; files are read synchronously. */

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parentPort, workerData } from "node:worker_threads";

import type { EngineMachine, EngineOptions } from "../engine.js";
import { engineShares } from "../shares.js";
import { engine, wasm } from "../worker/engine-shared.js";
import { fetchedDestinations } from "../network/fetch-carrier.js";
import { OutputBatch, type Post, runBlocking } from "../worker/run-loop.js";
import { fatalError, THREAD_STACK_BYTES } from "../worker/start.js";
import { openDisk, readImage, serveMemoryFiles } from "./files.js";
import { Profiler, Symbols } from "./profile.js";
import type { NodeBoot, NodeIoMessage, NodeMessage, NodeNetwork } from "./protocol.js";
import { allowRelaxedSimd } from "./relaxed-simd.js";

/** Bytes of a snapshot that are handed on at a time. */
const SNAPSHOT_PIECE_BYTES = 1 << 20;

const send = (message: NodeMessage, transfer: ArrayBuffer[] = []): void => parentPort?.postMessage(message, transfer);
const post: Post = send;

try {
  run(workerData as NodeBoot);
} catch (error) {
  post(fatalError(error));
}

function run(boot: NodeBoot): void {
  const output = new OutputBatch(post);
  const toIo = (message: NodeIoMessage): void => boot.io.postMessage(message);
  const snapshot = boot.snapshot === undefined ? undefined : readImage("snapshot", boot.snapshot);
  const kernel = snapshot === undefined ? readImage("kernel", boot.kernel) : new Uint8Array();
  const initrd = boot.initrd === undefined ? undefined : readImage("initial RAM file system", boot.initrd);
  allowRelaxedSimd();
  const module = new WebAssembly.Module(readFileSync(fileURLToPath(wasm)));
  engine.initSync({ module, thread_stack_size: THREAD_STACK_BYTES });
  const disks = boot.disks.map(openDisk);
  const options: EngineOptions = {
    memoryBytes: boot.memoryMiB * 1024 * 1024,
    kernel,
    initrd,
    commandLine: boot.commandLine,
    clock: boot.clock,
    engine: boot.engine,
    hasNames: boot.profile !== undefined,
    cpu: boot.cpu,
    columns: boot.size.columns,
    rows: boot.size.rows,
    disks,
    shares: engineShares(boot.shares, (operation) => {
      if (boot.shares[operation.share]?.folder === undefined) post(operation);
      else toIo(operation);
    }),
    network:
      boot.network.to === "none"
        ? undefined
        : {
            allowed: allowedBy(boot.network),
            nameServer: boot.nameServer,
            onWork: () => toIo({ type: "network" }),
          },
    onConsoleOutput: (bytes) => output.add("console", bytes),
    onSerialOutput: (bytes) => output.add("serial", bytes),
  };
  const machine = snapshot === undefined ? new engine.Machine(options) : restored(options, snapshot, boot);
  const memory = engine.wasmMemory();
  send({
    type: "attach",
    attachment: {
      module,
      memory,
      portHandle: machine.portHandle(),
      attentionAddress: machine.attentionAddress(),
    },
  });
  post({ type: "booting" });
  const { profile, recordTouched } = boot;
  const writeProfile = profile === undefined ? undefined : recording(boot.kernel, profile);
  const profiled: Post = (message, transfer) => {
    // The worker ends right behind.
    if (message.type === "exit") writeProfile?.();
    post(message, transfer);
  };
  const told = recordTouched === undefined ? profiled : recordingTouched(machine, recordTouched, profiled);
  runBlocking(machine, boot.clock, memory, output, told, { closing: boot.closing });
  writeProfile?.();
  send({ type: "profiled" });
}

/** The destinations, besides public ones, that the gateway lets the guest reach. */
function allowedBy(network: NodeNetwork): string[] {
  switch (network.to) {
    case "none":
    case "nowhere":
      return [];
    case "fetch":
      return [...(network.allow ?? []), ...fetchedDestinations(network.https)];
    case "host":
    case "relay":
      return network.allow ?? [];
  }
}

/** Samples from now on. What is returned writes the report, once. */
function recording(kernel: string | Uint8Array, file: string): () => void {
  let profiler: Profiler | undefined = new Profiler();
  return () => {
    if (profiler) writeFileSync(file, profiler.stop(symbolsBeside(kernel)));
    profiler = undefined;
  };
}

/** Writes the numbers of the pages that were touched so far, a line each, whenever figures are posted. */
function recordingTouched(machine: EngineMachine, file: string, post: Post): Post {
  return (message, transfer) => {
    if (message.type === "status") writeFileSync(file, machine.touchedPages().join("\n"));
    post(message, transfer);
  };
}

/** The symbols of the kernel, if they lie beside it. */
function symbolsBeside(kernel: string | Uint8Array): Symbols {
  const file = typeof kernel === "string" ? join(dirname(kernel), "System.map") : undefined;
  return new Symbols(file !== undefined && existsSync(file) ? readFileSync(file, "utf8") : "");
}

function restored(options: EngineOptions, snapshot: Uint8Array, boot: NodeBoot): EngineMachine {
  const restorer = new engine.Restorer(options);
  if (typeof boot.snapshot === "string") {
    serveMemoryFiles(boot.snapshot);
    restorer.fetchPages();
  }
  if (boot.recordTouched !== undefined) restorer.recordTouchedPages();
  // In pieces, because each is copied into the emulator's memory.
  for (let at = 0; at < snapshot.byteLength; at += SNAPSHOT_PIECE_BYTES) {
    restorer.push(snapshot.subarray(at, at + SNAPSHOT_PIECE_BYTES));
  }
  return restorer.finish();
}
