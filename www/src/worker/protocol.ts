/** The messages between the page's {@link Machine}, the vCPU's worker and the I/O worker. */

import type { ClockSource, CpuChoice, EngineChoice } from "../engine.js";
import type { AnswerMessage, OperationMessage } from "../files/operations.js";
import type { PeersState } from "../network/peers.js";
import type { NetworkRequest } from "../network/requests.js";
import type { RegistryEvent } from "../registry/registry.js";
import type { ErrorCode, ExitReason, NetworkOptions, PublishedPort, Status, TerminalSize } from "../options.js";
import type { BootShare } from "../shares.js";

/** The first message to a vCPU worker in a browser. */
export interface BootMessage {
  type: "boot";
  /** Where the machine goes on from; kernel, initrd, command line and memory are then not looked at. */
  snapshot: string | Uint8Array | Blob | undefined;
  /** Whether it goes on from the machine that is kept beside the overlay `keep`; then there is no snapshot. */
  resumes: boolean;
  /** The overlay beside which the machine is kept while it runs. */
  keep: string | undefined;
  kernel: string | Uint8Array;
  initrd: string | Uint8Array | undefined;
  disks: BootDisk[];
  shares: BootShare[];
  commandLine: string;
  memoryMiB: number;
  clock: ClockSource;
  engine: EngineChoice;
  cpu: CpuChoice | undefined;
  network: NetworkOptions;
  size: TerminalSize;
  /** On shared memory: its first element becomes 1 when the page goes away. */
  closing: Int32Array | undefined;
  /** The way to the I/O worker; absent where one worker does everything. */
  io: MessagePort | undefined;
}

/** A disk to boot with. */
export interface BootDisk {
  /** The address of a raw image or of the manifest of a chunked one, or a raw image itself. */
  source: string | Blob;
  format: "raw" | "chunked";
  /** The name of the overlay that keeps what the guest writes; in memory if not given. */
  overlay: string | undefined;
}

/** What the user does with a running machine. */
export type InputMessage =
  | { type: "input"; device: "console" | "serial"; bytes: Uint8Array }
  | { type: "resize"; size: TerminalSize }
  | { type: "power" }
  | { type: "save" }
  /** Keeps the machine now, if it is kept at all. */
  | { type: "keep" }
  /** A shared directory answers. */
  | AnswerMessage
  | NetworkRequest;

/** From the vCPU's worker to the page. */
export type MachineMessage =
  | { type: "download"; loadedBytes: number; totalBytes: number | undefined }
  /** On shared memory: by what the page wakes the vCPU. */
  | { type: "attention"; memory: WebAssembly.Memory; address: number }
  /** The start has come so far, at this time in milliseconds since 1970. */
  | { type: "milestone"; name: Milestone; at: number }
  | { type: "booting" }
  | { type: "output"; device: "console" | "serial"; bytes: Uint8Array }
  | { type: "status"; status: Status }
  /** In node: the ports that are published, where they were not chosen as well. */
  | { type: "published"; ports: PublishedPort[] }
  | { type: "registry"; event: RegistryEvent }
  | { type: "peers"; state: PeersState }
  /** Somebody is to do something in a shared directory. */
  | OperationMessage
  | { type: "snapshot"; bytes: Uint8Array<ArrayBuffer> }
  /** The last piece has come, or what went wrong. */
  | { type: "saved"; failure: string | undefined }
  /** The machine was kept: pages of memory written, size of the file, milliseconds that it took. */
  | { type: "kept"; pages: number; fileBytes: number; tookMs: number }
  | { type: "exit"; reason: Exclude<ExitReason, "stopped">; code: number | undefined }
  | ErrorMessage;

/** Stations of a start. */
export type Milestone = "worker-started" | "emulator-compiled" | "files-opened" | "snapshot-loaded" | "machine-made";

/** A failure. Before `booting` it ends the start, afterwards the machine, if `fatal`. */
export interface ErrorMessage {
  type: "error";
  message: string;
  fatal: boolean;
  code?: ErrorCode | undefined;
}

/** What an I/O worker needs to reach a machine in another worker. */
export interface Attachment {
  module: WebAssembly.Module;
  memory: WebAssembly.Memory;
  portHandle: number;
  attentionAddress: number;
}

/** A disk whose chunks are fetched. */
export type RemoteDisk = RawImage | ChunkedImage;

/** An image that is stored in packs. */
export interface ChunkedImage {
  kind: "chunked";
  /** The address of the manifest, beside which the packs are. */
  source: string;
  manifest: Uint8Array;
  /** The packs' names, known once the emulator has read the manifest. */
  packs: string[];
}

/** A raw image: where it is, and what it must still be when it is read. */
export interface RawImage {
  kind: "raw";
  source: string | Blob;
  sizeBytes: number;
  /** The server's validator, so that a changed image is noticed instead of mixed with the old one. */
  entityTag: string | undefined;
}

/** From the vCPU's worker to the I/O worker. */
export type IoMessage =
  | {
      type: "attach";
      attachment: Attachment;
      disks: RemoteDisk[];
      /** Whether the machine boots, and so will read what a boot reads. */
      boots: boolean;
      /** The address of the snapshot beside which the rest of its memory is, if that is still to come. */
      restAt: string | undefined;
      network: NetworkOptions;
    }
  /** The rest of the memory is to be fetched. */
  | { type: "rest" }
  /** Helps to decode a snapshot, and then goes on to be attached. */
  | { type: "decode"; module: WebAssembly.Module; memory: WebAssembly.Memory; decoderHandle: number }
  | { type: "chunk"; disk: number; index: number }
  /** The network has something to do. */
  | { type: "network" };

/** Hands the I/O worker its end of the way to the vCPU's worker. */
export interface ConnectMessage {
  type: "connect";
  vcpu: MessagePort;
}
