/** The messages between node's main thread and the worker that runs the vCPU. */

import type { ClockSource, EngineChoice } from "../engine.js";
import type { TerminalSize } from "../options.js";
import type { Attachment, MachineMessage } from "../worker/protocol.js";

/** A disk image in a file. */
export interface DiskFile {
  path: string;
  /** What the guest's writes do: reach the file, stay in memory, or are refused. */
  writes: "through" | "overlay" | "refused";
}

/** The worker's data. */
export interface NodeBoot {
  /** Where the machine goes on from; kernel, initrd, command line and memory are then not looked at. */
  snapshot: string | Uint8Array | undefined;
  kernel: string | Uint8Array;
  initrd: string | Uint8Array | undefined;
  disks: DiskFile[];
  commandLine: string;
  memoryMiB: number;
  clock: ClockSource;
  engine: EngineChoice;
  size: TerminalSize;
}

/** Tells how the machine can be reached: from the vCPU's worker by way of the main thread to the I/O worker. */
export interface AttachMessage {
  type: "attach";
  attachment: Attachment;
}

/** From the vCPU's worker to the main thread. */
export type NodeMessage = MachineMessage | AttachMessage;
