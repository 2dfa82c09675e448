/** What a machine is booted from, as a user of the package states it. */

import type { ClockSource, CpuChoice, EngineChoice, EngineStatistics } from "./engine.js";
import type { FileProvider } from "./files/provider.js";

export type { ClockSource, CpuChoice, EngineChoice, EngineStatistics } from "./engine.js";
export {
  type ErrorName,
  FileError,
  type FileEntry,
  type FileKind,
  type FileProvider,
  type FileStatus,
  type NewFile,
  type OpenFile,
  type StatusChange,
} from "./files/provider.js";

/** A file that is read whole: an address to download it from, or its bytes. */
export type ImageSource = string | URL | Uint8Array;

/**
 * A disk image that is read in pieces, as the guest asks for them. What the guest writes to a raw image stays
 * in memory and is gone when the machine ends.
 */
export type DiskSource = string | URL | Blob | ChunkedDiskSource;

/** A disk image in chunks, as `cargo xtask chunks` writes it: verified, compressed, and fetched early. */
export interface ChunkedDiskSource {
  /** The address of its manifest, beside which its packs are. */
  manifest: string | URL;
  /**
   * The name under which what the guest writes is kept in this browser: letters, digits, - and _. One machine
   * at a time can use it; another one's `boot` fails with the code `disk-in-use`. In memory if not given.
   */
  overlay?: string;
}

/** The registry in the emulator, `registry.dinghy.internal`, which the guest's Docker uses as its mirror. */
export interface RegistryOptions {
  /**
   * The registries that it may ask for what is not in its cache, in this order: `[PREFIX=]URL`, where a prefix stands for
   * images whose names begin with it, and `oci+URL` is an OCI layout on a web server. None if not given.
   */
  registries?: string[];
  /**
   * Bytes that the cache should not exceed: images that are not pinned are forgotten, those that were used least recently
   * first. It grows as it will if not given.
   */
  mostBytes?: number;
  /** Certificates in PEM that registries are trusted by over a relay, besides Mozilla's roots. */
  roots?: string;
}

/**
 * Where the guest's connections go.
 *
 * `https` are the ports (443 for one) at which the guest's HTTPS is carried by `fetch`: the page ends the guest's TLS with
 * certificates of an authority that it makes for this machine, so it reads what the guest sends and is sent there; the guest
 * that comes with dinghy trusts that authority then. None if not given.
 */
export type NetworkOptions =
  /** There is no network card. */
  | { to: "none" }
  /** Nowhere; but `Machine.fetch` and `Machine.connect` reach the guest. */
  | { to: "nowhere"; registry?: RegistryOptions }
  /** By the browser's `fetch`: plain HTTP to servers that let pages read their answers, and HTTPS if that is wanted. */
  | { to: "fetch"; https?: number[]; registry?: RegistryOptions }
  /** Over a relay that speaks Wisp on a WebSocket. */
  | {
      to: "relay";
      /** The relay's address, `wss:` or `ws:`. */
      relay: string | URL;
      /** Where names are asked for, by DNS over HTTPS; the relay's own `dns-query` if not given. */
      dns?: string | URL;
      /** Destinations, besides public ones, that the guest may try: `ADDRESS[/BITS][:PORT]`. The relay has its own policy. */
      allow?: string[];
      /** Names, `NAME` or `*.NAME`, whose servers are asked by the browser's `fetch` instead: plain HTTP. */
      fetch?: string[];
      /** HTTPS for these names, as by `fetch` alone. */
      https?: number[];
      registry?: RegistryOptions;
    };

/** A port of this computer behind which a port of the guest is found. */
export interface PublishedPort {
  /** The port of 127.0.0.1; 0 stands for one that is free. */
  hostPort: number;
  /** The guest's TCP port. */
  guestPort: number;
}

/**
 * A directory in memory that the guest mounts: `mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 TAG /mnt`. It
 * carries what differs from start to start into a guest whose image stays the same. What the guest writes there stays in
 * memory.
 */
export interface SharedFiles {
  /** The name by which the guest mounts it. */
  tag: string;
  /** Its files, by their paths. */
  files: Readonly<Record<string, string | Uint8Array | SharedFile>>;
  /** Whether the guest may only read; not if not given. */
  readOnly?: boolean;
  /** Most MiB that its files may take, with what the guest adds; 256 if not given. */
  capacityMiB?: number;
}

/**
 * A directory that an object serves, as the guest asks for its files: a {@link FileProvider}, for example one for a
 * directory of the browser (`browserDirectory`). The guest mounts it as it does {@link SharedFiles}.
 */
export interface SharedProvider {
  /** The name by which the guest mounts it. */
  tag: string;
  /** Who serves it; nobody yet if not given: `machine.share` then makes somebody. */
  provider?: FileProvider;
  /** Whether the guest may only read; not if not given. */
  readOnly?: boolean;
}

/**
 * What differs from start to start, for a guest that takes it over when it boots or goes on from a snapshot, as dinghy's own
 * does. A machine that has taken over the same before does not do so again.
 */
export interface StartUp {
  /** Variables for the terminal's shell and the command. */
  environment?: Readonly<Record<string, string>>;
  /** Files by their absolute paths in the guest; they belong to root. */
  files?: SharedFiles["files"];
  /**
   * A script for the guest's bash, run once Docker is ready, with its output on the terminal; the event `command` tells
   * how it ended.
   */
  command?: string;
}

/** A file of {@link SharedFiles} with permissions of its own. */
export interface SharedFile {
  contents: string | Uint8Array;
  /** Permission bits; 0o644 if not given. */
  permissions?: number;
}

/** Options of `Machine.boot` in a browser. */
export interface BootOptions {
  /** The kernel: vmlinux (ELF64) or bzImage, optionally gzip-compressed. */
  kernel: ImageSource;
  /** An initial RAM file system, in any compression that the kernel knows. */
  initrd?: ImageSource;
  /** The disks, vda first. Each server must answer byte-range requests. */
  disks?: DiskSource[];
  /** The kernel's command line; {@link DEFAULT_COMMAND_LINE} if not given. */
  commandLine?: string;
  /** Guest memory in MiB; {@link DEFAULT_MEMORY_MIB} if not given. */
  memoryMiB?: number;
  /** Where the guest's time comes from; `"real"` if not given. */
  clock?: ClockSource;
  /** What executes guest code; `"auto"` if not given. */
  engine?: EngineChoice;
  /** Which processor the guest sees, a level of the x86-64 psABI or all that there is; `"v2"` if not given. */
  cpu?: CpuChoice;
  /** Directories that the guest can mount. */
  shares?: (SharedFiles | SharedProvider)[];
  /** What the guest takes over when it starts. */
  startUp?: StartUp;
  /** The guest's network; `{ to: "nowhere" }` if not given, and none with the clock `"icount"`. */
  network?: NetworkOptions;
  /** Size of the terminal at the start; 80 × 24 if not given. */
  size?: TerminalSize;
  /**
   * Whether the machine is kept in this browser while it runs, beside the overlay of its first disk, so that
   * `Machine.resume` goes on with it at the next visit; not if not given. It stands still for a moment whenever that is
   * done: when the guest is quiet, and at `machine.keep()`.
   */
  keep?: boolean;
  /** Told of each phase of the start, from the first download on. */
  onPhase?: (phase: Phase) => void;
}

/** Options of `Machine.restore` in a browser. */
export interface RestoreOptions extends Pick<
  BootOptions,
  "clock" | "engine" | "network" | "shares" | "startUp" | "size" | "keep" | "onPhase"
> {
  /** What `machine.save()` gave, in this browser, another one, or node. */
  snapshot: ImageSource | Blob;
  /**
   * The disks that the machine was booted with, as they were then: what the guest has written since is in the
   * snapshot.
   */
  disks?: DiskSource[];
}

/** Options of `Machine.resume`. */
export type ResumeOptions = Omit<RestoreOptions, "snapshot" | "keep">;

/** The machine was kept. */
export interface Kept {
  /** Pages of guest memory that were written: those that have changed. */
  pages: number;
  /** Bytes that the file of the machine takes. */
  fileBytes: number;
  /** Milliseconds for which the machine stood still. */
  tookMs: number;
}

/** The size of a terminal in characters. */
export interface TerminalSize {
  columns: number;
  rows: number;
}

/** How far a machine is on its way. */
export type Phase =
  /** The kernel or initial RAM file system is on its way; `totalBytes` where the server tells it. */
  | { name: "downloading"; loadedBytes: number; totalBytes: number | undefined }
  /** A station of the start was passed, `at` milliseconds since 1970: for measurements. */
  | { name: "milestone"; milestone: string; at: number }
  /** The guest is running. */
  | { name: "booting" }
  /** The guest's serial port carried the line `dinghy:<mark>`, for example `docker-ready`, with or without the kernel's time. */
  | { name: "mark"; mark: string };

/** Why a machine is no more. */
export type ExitReason = "powered-off" | "exited" | "restarted" | "triple-fault" | "panicked" | "stopped";

/** The end of a machine. */
export interface Exit {
  reason: ExitReason;
  /** The guest's code, where it left by the debug-exit port. */
  code: number | undefined;
  /** The last lines that the guest printed on its consoles, without colours. */
  lastLines: string[];
}

/** Figures of a running machine, about twice a second. */
export interface Status {
  /** What the machine has counted. */
  statistics: EngineStatistics;
  /** Millions of guest instructions a second since the last status; an idle guest retires few. */
  mips: number;
  /** Seconds since power-on. */
  uptimeSeconds: number;
}

/** Guest memory when none is named. */
export const DEFAULT_MEMORY_MIB = 1024;

/** The least and most memory that a guest can have: the kernel's needs, and wasm's 4 GiB less the emulator's own. */
export const MEMORY_LIMITS_MIB = { least: 64, most: 3072 } as const;

/**
 * The command line of the guest that comes with dinghy. The kernel's log goes to ttyS0 alone: the
 * guest puts its shell on hvc0 by itself, and the log should not run through the user's terminal.
 */
export const DEFAULT_COMMAND_LINE = "root=/dev/vda rw console=ttyS0 panic=-1";

/** A failure that the user can do something about; its message is one clear sentence that says what. */
export class DinghyError extends Error {
  override name = "DinghyError";

  constructor(
    message: string,
    /** Which failure it is, where a program may want to know. */
    readonly code?: ErrorCode,
  ) {
    super(message);
  }
}

/** The failures that a program may want to know. */
export type ErrorCode =
  /** Another machine uses the disk's overlay. */
  | "disk-in-use"
  /** There is no kept machine, or it cannot go on, for example because its disk was written to since. */
  | "nothing-kept";

/** The names of the engines. */
export const ENGINES: readonly EngineChoice[] = ["auto", "interp", "jit"];

/** Checks the name of an engine, which may come from code without types or from an address.
 * @throws DinghyError if no engine has it. */
export function checkEngine(name: string): EngineChoice {
  const found = ENGINES.find((engine) => engine === name);
  if (found === undefined) {
    throw new DinghyError(`There is no engine "${name}"; use ${ENGINES.join(" or ")}.`);
  }
  return found;
}

/** The names of the processors. */
export const CPUS: readonly CpuChoice[] = ["v1", "v2", "v3", "max"];

/** Checks the name of a processor, if there is one, which may come from code without types.
 * @throws DinghyError if no processor has it. */
export function checkCpu(name: string | undefined): CpuChoice | undefined {
  if (name === undefined) return undefined;
  const found = CPUS.find((cpu) => cpu === name);
  if (found === undefined) {
    throw new DinghyError(`There is no processor "${name}"; use ${CPUS.join(" or ")}.`);
  }
  return found;
}

/** Checks a memory size.
 * @throws DinghyError if it is none that a guest can have. */
export function checkMemory(memoryMiB: number): void {
  const { least, most } = MEMORY_LIMITS_MIB;
  if (!Number.isInteger(memoryMiB) || memoryMiB < least || memoryMiB > most) {
    throw new DinghyError(
      `A guest cannot have ${memoryMiB} MiB of memory; give it a whole number from ${least} to ${most}.`,
    );
  }
}

/** Checks the size of a disk.
 * @throws DinghyError if it is not made of whole sectors. */
export function checkDiskSize(name: string, sizeBytes: number): void {
  if (sizeBytes === 0 || sizeBytes % 512 !== 0) {
    throw new DinghyError(
      `The disk ${name} has ${sizeBytes} bytes, which is no whole number of 512-byte sectors; ` +
        `name a raw disk image, or pad it with \`truncate --size=%512\`.`,
    );
  }
}
