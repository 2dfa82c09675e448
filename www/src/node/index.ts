/**
 * dinghy in node.
 *
 * ```js
 * import { Machine } from "dinghy";
 *
 * const machine = await Machine.boot({ kernel: "vmlinux", disks: [{ path: "guest.ext4", writes: "overlay" }] });
 * machine.console.onData((bytes) => process.stdout.write(bytes));
 * machine.on("exit", ({ reason }) => console.log(reason));
 * ```
 */

import { existsSync } from "node:fs";
import { type MessagePort as NodePort, Worker } from "node:worker_threads";

import { checkedSize, Machine as AnyMachine, type Backend } from "../machine.js";
import { nameAddress } from "../network/relay.js";
import { httpsPorts } from "../network/trust.js";
import {
  type BootOptions,
  checkCpu,
  checkEngine,
  checkMemory,
  DEFAULT_COMMAND_LINE,
  DEFAULT_MEMORY_MIB,
  DinghyError,
  type SharedFiles,
  type SharedProvider,
} from "../options.js";
import { bootShare } from "../shares.js";
import { startUpShare } from "../start-up.js";
import type { MachineMessage } from "../worker/protocol.js";
import { fatalError } from "../worker/start.js";
import { HostDirectory } from "./directory.js";
import { lockOverlay } from "./overlay-lock.js";
import type { DiskFile, NodeBoot, NodeIo, NodeMessage, NodeNetwork, NodeShare, SharedFolder } from "./protocol.js";
import { configuredNameServer } from "./sockets.js";

export type { Console, MachineEvents, TerminalConsole } from "../machine.js";
export * from "../options.js";
export { GuestHttpError } from "../network/http.js";
export { GuestWebSocket, type WebSocketEvents } from "../network/web-socket.js";
export type { RegistryEvent } from "../registry/registry.js";
export { type CachedImage, Images } from "../registry/images.js";
export { openCacheFolder } from "./cache-files.js";
export type { PeersState } from "../network/peers.js";
export type { Connection } from "../network/channel.js";
export type { DiskFile, NodeNetwork, SharedFolder } from "./protocol.js";

/** Options of `Machine.boot` in node. */
export interface NodeBootOptions extends Omit<
  BootOptions,
  "kernel" | "initrd" | "disks" | "network" | "shares" | "keep"
> {
  /** The kernel, a file's name or its contents: vmlinux (ELF64) or bzImage, optionally gzip-compressed. */
  kernel: string | Uint8Array;
  /** An initial RAM file system, a file's name or its contents. */
  initrd?: string | Uint8Array;
  /** The disks, vda first. */
  disks?: DiskFile[];
  /** Directories that the guest can mount. */
  shares?: (SharedFiles | SharedProvider | SharedFolder)[];
  /** The guest's network; `{ to: "nowhere" }` if not given, and none with the clock `"icount"`. */
  network?: NodeNetwork;
  /**
   * A file in which to tell where the time went, by guest code and functions of the emulator; written when the guest
   * has powered off.
   */
  profile?: string;
}

/** Options of `Machine.restore` in node. */
export interface NodeRestoreOptions extends Pick<
  NodeBootOptions,
  "clock" | "engine" | "network" | "profile" | "shares" | "startUp" | "size" | "onPhase"
> {
  /** A file's name, or what `machine.save()` gave, in node or in a browser. */
  snapshot: string | Uint8Array;
  /** The disks that the machine was booted with; what the guest wrote to an overlay since is in the snapshot. */
  disks?: DiskFile[];
  /**
   * A file in which to list, a line each, the numbers of the pages of memory that the machine touches, while it runs. The
   * snapshot must be one that `machine.save()` gave.
   */
  recordTouched?: string;
}

/** A machine in worker threads of this process. */
export class Machine extends AnyMachine {
  /**
   * Starts a machine.
   *
   * @throws DinghyError with one sentence for the user, if an option or a file does not do
   */
  static async boot(options: NodeBootOptions): Promise<Machine> {
    const memoryMiB = options.memoryMiB ?? DEFAULT_MEMORY_MIB;
    checkMemory(memoryMiB);
    const boot: Boot = {
      ...common(options),
      kernel: options.kernel,
      initrd: options.initrd,
      commandLine: options.commandLine ?? DEFAULT_COMMAND_LINE,
      memoryMiB,
      cpu: checkCpu(options.cpu),
    };
    return Machine.#start(boot, options);
  }

  /**
   * Goes on with a machine that was saved. Network connections that it had are gone; its clock is right.
   *
   * @throws DinghyError with one sentence for the user, if the snapshot is damaged or of another version, or the
   *   disks are not those that it was saved with
   */
  static async restore(options: NodeRestoreOptions): Promise<Machine> {
    const { snapshot, recordTouched } = options;
    return Machine.#start({ ...common(options), snapshot, recordTouched }, options);
  }

  static async #start(
    boot: Boot,
    { onPhase, shares = [] }: Pick<NodeBootOptions, "onPhase" | "shares">,
  ): Promise<Machine> {
    checkBuilt();
    const served = shares.map((share) => ("folder" in share ? { ...share, files: {} } : share));
    const overlays = boot.disks.flatMap(({ overlay }) => overlay ?? []);
    const releases: (() => void)[] = [];
    try {
      for (const overlay of overlays) releases.push(await lockOverlay(overlay));
    } catch (error) {
      releases.forEach((release) => release());
      throw error;
    }
    const release = (): void => releases.forEach((release) => release());
    const machine = new Machine((receive) => connect(boot, receive, release), {
      ...(onPhase ? { onPhase } : {}),
      shares: served,
      trusts: httpsPorts(boot.network).length > 0,
    });
    return machine.started();
  }
}

/** What a machine is booted from, but for the way to the I/O worker. */
type Boot = Omit<NodeBoot, "io" | "closing">;

/** What both ways of starting state; the rest as it is when a snapshot has it. */
function common(
  options: Pick<NodeBootOptions, "disks" | "clock" | "engine" | "network" | "profile" | "shares" | "startUp" | "size">,
): Boot {
  const clock = options.clock ?? "real";
  const network = checkedNetwork(options.network) ?? { to: clock === "icount" ? "none" : "nowhere" };
  return {
    snapshot: undefined,
    kernel: new Uint8Array(),
    initrd: undefined,
    disks: options.disks ?? [],
    shares: [...(options.shares ?? []), ...(options.startUp === undefined ? [] : [startUpShare(options.startUp)])].map(
      nodeShare,
    ),
    commandLine: "",
    memoryMiB: 0,
    clock,
    engine: checkEngine(options.engine ?? "auto"),
    profile: options.profile,
    recordTouched: undefined,
    cpu: undefined,
    network,
    nameServer: network.to === "host" ? configuredNameServer() : undefined,
    size: checkedSize(options.size ?? { columns: 80, rows: 24 }),
  };
}

function nodeShare(share: SharedFiles | SharedProvider | SharedFolder): NodeShare {
  if (!("folder" in share)) return bootShare(share);
  const { tag, folder, readOnly } = share;
  // Opened where the worker would be too late to say what is wrong.
  new HostDirectory(folder).end();
  return { kind: "provided", tag, isReadOnly: readOnly ?? false, folder };
}

/** The network of the options, with the place where names are asked for. */
function checkedNetwork(network: NodeNetwork | undefined): NodeNetwork | undefined {
  if (network?.to !== "relay") return network;
  const relay = URL.canParse(network.relay) ? new URL(network.relay) : undefined;
  if (!relay || !/^wss?:$/.test(relay.protocol)) {
    throw new DinghyError(`"${network.relay}" is no address of a relay; use one that begins with wss: or ws:.`);
  }
  return { ...network, dns: network.dns ?? nameAddress(relay).href };
}

function checkBuilt(): void {
  if (!existsSync(new URL("../../pkg/shared/dinghy_bg.wasm", import.meta.url))) {
    throw new DinghyError("The emulator is not built; build it with `make build`.");
  }
}

/** The shares, by their places, without the contents that concern the vCPU's worker only. */
const foldersOf = (shares: NodeShare[]): NodeShare[] =>
  shares.map((share) => (share.kind === "files" ? { ...share, files: [] } : share));

/** @param ended called when the workers are gone */
function connect(boot: Boot, receive: (message: MachineMessage) => void, ended: () => void): Backend {
  const { port1, port2 } = new MessageChannel();
  const workers: Worker[] = [];
  const closing =
    boot.profile === undefined ? undefined : new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  let tellProfiled = (): void => undefined;
  const profiled = new Promise<void>((resolve) => (tellProfiled = resolve));
  let hasVcpu = false;
  const startWorker = (file: string, name: string, data: NodeBoot | NodeIo, port: MessagePort): Worker => {
    const options = { workerData: data, transferList: [port as unknown as NodePort], name };
    const worker = new Worker(new URL(file, import.meta.url), options);
    workers.push(worker);
    worker.on("error", (error) => receive(fatalError(error)));
    worker.on("message", (message: NodeMessage) => {
      switch (message.type) {
        case "attach":
          io.postMessage(message);
          break;
        case "ready":
          // The guest does not start before its ports are there.
          startWorker("./vcpu.js", "vcpu", { ...boot, closing, io: port2 }, port2).on("exit", () => tellProfiled());
          hasVcpu = true;
          break;
        case "profiled":
          tellProfiled();
          break;
        default:
          receive(message);
      }
    });
    return worker;
  };
  const { network, nameServer, shares } = boot;
  const io = startWorker("./io.js", "io", { network, nameServer, shares: foldersOf(shares), vcpu: port1 }, port1);
  return {
    send: (message, transfer = []) => io.postMessage(message, transfer as unknown as NodePort[]),
    terminate: async () => {
      if (closing && hasVcpu) {
        Atomics.store(closing, 0, 1);
        await profiled;
      }
      await Promise.all(workers.map((worker) => worker.terminate()));
      ended();
    },
  };
}
