/** The messages between node's main thread and the worker that runs the vCPU. */

import type { ClockSource, CpuChoice, EngineChoice } from "../engine.js";
import type { PublishedPort, TerminalSize } from "../options.js";
import type { OperationMessage } from "../files/operations.js";
import type { BootShare } from "../shares.js";
import type { Attachment, MachineMessage } from "../worker/protocol.js";

/** A disk image in a file. */
export interface DiskFile {
  path: string;
  /** What the guest's writes do: reach the file, stay in memory, or are refused. */
  writes: "through" | "overlay" | "refused";
  /** With `writes: "overlay"`: the file in which the overlay is kept; in memory if not given. */
  overlay?: string;
  /**
   * The SHA-256 of the image, in hexadecimal: overlays and snapshots then go over the same image only. For an
   * overlay, the image's beginning stands for it if not given.
   */
  identity?: string;
  /** A file in which to list the chunks that the guest reads, in the order in which it reads them first. */
  recordReads?: string;
}

/** The registry in the emulator, with its cache in a folder of this computer. */
export interface NodeRegistry {
  /** The folder in which images are kept. */
  cache: string;
  /** The registries that may be asked: `[PREFIX=]URL`; Docker's own with `to: "host"` if not given, else none. */
  registries?: string[];
  /** Bytes that the cache should not exceed; it grows as it will if not given. */
  mostBytes?: number;
}

/** A directory of this computer that the guest can mount, as it does a `SharedFiles`. */
export interface SharedFolder {
  /** The name by which the guest mounts it. */
  tag: string;
  /** The directory. */
  folder: string;
  /** Whether the guest may only read; not if not given. */
  readOnly?: boolean;
}

/** A share on its way to the worker that runs the machine, with the directory of this computer that it is, if it is one. */
export type NodeShare = BootShare & { folder?: string };

/** The guest's network in node. */
export type NodeNetwork =
  /** There is no network card. */
  | { to: "none" }
  /** Nowhere; but `Machine.fetch`, `Machine.connect` and published ports reach the guest. */
  | { to: "nowhere"; publish?: PublishedPort[]; registry?: NodeRegistry }
  /**
   * By HTTP requests of this computer, which verifies servers' certificates as its node does. `https` are the ports at which
   * the guest's HTTPS is ended here and made anew, as in a browser (see `NetworkOptions`); none if not given.
   */
  | {
      to: "fetch";
      https?: number[];
      /** Addresses, besides public ones, that the guest may reach: `ADDRESS[/BITS][:PORT]`. */
      allow?: string[];
      publish?: PublishedPort[];
      registry?: NodeRegistry;
    }
  /** The sockets of this computer. */
  | {
      to: "host";
      /** Destinations, besides public ones, that the guest may reach: `ADDRESS[/BITS][:PORT]`. */
      allow?: string[];
      /** Ports of 127.0.0.1 behind which ports of the guest are found. */
      publish?: PublishedPort[];
      registry?: NodeRegistry;
    }
  /** Over a relay that speaks Wisp on a WebSocket, such as that of `dinghy serve`. */
  | {
      to: "relay";
      /** The relay's address, `wss:` or `ws:`. */
      relay: string;
      /** Where names are asked for, by DNS over HTTPS; the relay's own `dns-query` if not given. */
      dns?: string;
      /** Destinations, besides public ones, that the guest may try. The relay has its own policy. */
      allow?: string[];
      publish?: PublishedPort[];
      registry?: NodeRegistry;
    };

/** The data of the I/O worker. */
export interface NodeIo {
  network: NodeNetwork;
  shares: NodeShare[];
  /** The way to the vCPU's worker. */
  vcpu: MessagePort;
  nameServer: string | undefined;
}

/** The worker's data. */
export interface NodeBoot {
  /** Where the machine goes on from; kernel, initrd, command line and memory are then not looked at. */
  snapshot: string | Uint8Array | undefined;
  kernel: string | Uint8Array;
  initrd: string | Uint8Array | undefined;
  disks: DiskFile[];
  shares: NodeShare[];
  commandLine: string;
  memoryMiB: number;
  clock: ClockSource;
  engine: EngineChoice;
  /** The file in which to tell where the time went, when the guest is off or the machine is stopped. */
  profile: string | undefined;
  /** Its first element becomes 1 when the machine is stopped, where there is a profile to be written first. */
  closing: Int32Array | undefined;
  /** A file in which to list the pages of memory that are touched, for a machine that goes on from a whole snapshot. */
  recordTouched: string | undefined;
  cpu: CpuChoice | undefined;
  network: NodeNetwork;
  nameServer: string | undefined;
  /** The way to the I/O worker. */
  io: MessagePort;
  size: TerminalSize;
}

/** From the vCPU's worker to the I/O worker: the network has something to do, or a directory of this computer. */
export type NodeIoMessage = { type: "network" } | OperationMessage;

/** Tells how the machine can be reached: from the vCPU's worker by way of the main thread to the I/O worker. */
export interface AttachMessage {
  type: "attach";
  attachment: Attachment;
}

/** From the workers to the main thread. `"ready"`: the I/O worker listens on all ports that are published; `"profiled"`: the
 *  profile is written, and the vCPU's worker has nothing left to do. */
export type NodeMessage = MachineMessage | AttachMessage | { type: "ready" } | { type: "profiled" };
