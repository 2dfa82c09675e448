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
import {
  type BootOptions,
  checkEngine,
  checkMemory,
  DEFAULT_COMMAND_LINE,
  DEFAULT_MEMORY_MIB,
  DinghyError,
} from "../options.js";
import type { MachineMessage } from "../worker/protocol.js";
import { fatalError } from "../worker/start.js";
import { lockOverlay } from "./overlay-lock.js";
import type { DiskFile, NodeBoot, NodeIo, NodeMessage, NodeNetwork } from "./protocol.js";
import { configuredNameServer } from "./sockets.js";

export type { Console, MachineEvents, TerminalConsole } from "../machine.js";
export * from "../options.js";
export { GuestHttpError } from "../network/http.js";
export type { Connection } from "../network/channel.js";
export type { DiskFile, NodeNetwork } from "./protocol.js";

/** Options of `Machine.boot` in node. */
export interface NodeBootOptions extends Omit<BootOptions, "kernel" | "initrd" | "disks" | "network"> {
  /** The kernel, a file's name or its contents: vmlinux (ELF64) or bzImage, optionally gzip-compressed. */
  kernel: string | Uint8Array;
  /** An initial RAM file system, a file's name or its contents. */
  initrd?: string | Uint8Array;
  /** The disks, vda first. */
  disks?: DiskFile[];
  /** The guest's network; `{ to: "nowhere" }` if not given, and none with the clock `"icount"`. */
  network?: NodeNetwork;
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
    const clock = options.clock ?? "real";
    const network = options.network ?? { to: clock === "icount" ? "none" : "nowhere" };
    const boot: Boot = {
      kernel: options.kernel,
      initrd: options.initrd,
      disks: options.disks ?? [],
      commandLine: options.commandLine ?? DEFAULT_COMMAND_LINE,
      memoryMiB,
      clock,
      engine: checkEngine(options.engine ?? "auto"),
      network,
      nameServer: network.to === "host" ? configuredNameServer() : undefined,
      size: checkedSize(options.size ?? { columns: 80, rows: 24 }),
    };
    checkBuilt();
    const overlays = boot.disks.flatMap(({ overlay }) => overlay ?? []);
    const releases: (() => void)[] = [];
    try {
      for (const overlay of overlays) releases.push(await lockOverlay(overlay));
    } catch (error) {
      releases.forEach((release) => release());
      throw error;
    }
    const release = (): void => releases.forEach((release) => release());
    const machine = new Machine((receive) => connect(boot, receive, release), options.onPhase);
    return machine.started();
  }
}

/** What a machine is booted from, but for the way to the I/O worker. */
type Boot = Omit<NodeBoot, "io">;

function checkBuilt(): void {
  if (!existsSync(new URL("../../pkg/shared/dinghy_bg.wasm", import.meta.url))) {
    throw new DinghyError("The emulator is not built; build it with `make build`.");
  }
}

/** @param ended called when the workers are gone */
function connect(boot: Boot, receive: (message: MachineMessage) => void, ended: () => void): Backend {
  const { port1, port2 } = new MessageChannel();
  const workers: Worker[] = [];
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
          startWorker("./vcpu.js", "vcpu", { ...boot, io: port2 }, port2);
          break;
        default:
          receive(message);
      }
    });
    return worker;
  };
  const { network, nameServer } = boot;
  const io = startWorker("./io.js", "io", { network, nameServer, vcpu: port1 }, port1);
  return {
    send: (message, transfer = []) => io.postMessage(message, transfer as unknown as NodePort[]),
    terminate: async () => {
      await Promise.all(workers.map((worker) => worker.terminate()));
      ended();
    },
  };
}
