/** The messages between the page's {@link Machine}, the vCPU's worker and the I/O worker. */

import type { ClockSource, EngineChoice } from "../engine.js";
import type { ExitReason, Status, TerminalSize } from "../options.js";

/** The first message to a vCPU worker in a browser. */
export interface BootMessage {
  type: "boot";
  /** Where the machine goes on from; kernel, initrd, command line and memory are then not looked at. */
  snapshot: string | Uint8Array | Blob | undefined;
  kernel: string | Uint8Array;
  initrd: string | Uint8Array | undefined;
  disks: (string | Blob)[];
  commandLine: string;
  memoryMiB: number;
  clock: ClockSource;
  engine: EngineChoice;
  size: TerminalSize;
  /** The way to the I/O worker; absent where one worker does everything. */
  io: MessagePort | undefined;
}

/** What the user does with a running machine. */
export type InputMessage =
  | { type: "input"; device: "console" | "serial"; bytes: Uint8Array }
  | { type: "resize"; size: TerminalSize }
  | { type: "power" }
  | { type: "save" };

/** From the vCPU's worker to the page. */
export type MachineMessage =
  | { type: "download"; loadedBytes: number; totalBytes: number | undefined }
  | { type: "booting" }
  | { type: "output"; device: "console" | "serial"; bytes: Uint8Array }
  | { type: "status"; status: Status }
  | { type: "snapshot"; bytes: Uint8Array<ArrayBuffer> }
  /** The last piece has come, or what went wrong. */
  | { type: "saved"; failure: string | undefined }
  | { type: "exit"; reason: Exclude<ExitReason, "stopped">; code: number | undefined }
  | ErrorMessage;

/** A failure. Before `booting` it ends the start, afterwards the machine, if `fatal`. */
export interface ErrorMessage {
  type: "error";
  message: string;
  fatal: boolean;
}

/** What an I/O worker needs to reach a machine in another worker. */
export interface Attachment {
  module: WebAssembly.Module;
  memory: WebAssembly.Memory;
  portHandle: number;
  attentionAddress: number;
}

/** A disk whose chunks are fetched: where from, and what it must still be when they are. */
export interface RemoteDisk {
  source: string | Blob;
  sizeBytes: number;
  /** The server's validator, so that a changed image is noticed instead of mixed with the old one. */
  entityTag: string | undefined;
}

/** From the vCPU's worker to the I/O worker. */
export type IoMessage =
  { type: "attach"; attachment: Attachment; disks: RemoteDisk[] } | { type: "chunk"; disk: number; index: number };

/** Hands the I/O worker its end of the way to the vCPU's worker. */
export interface ConnectMessage {
  type: "connect";
  vcpu: MessagePort;
}
