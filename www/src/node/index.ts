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
import { Worker } from "node:worker_threads";

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
import type { DiskFile, NodeBoot, NodeMessage } from "./protocol.js";

export type { Console, MachineEvents, TerminalConsole } from "../machine.js";
export * from "../options.js";
export type { DiskFile } from "./protocol.js";

/** Options of `Machine.boot` in node. */
export interface NodeBootOptions extends Omit<BootOptions, "kernel" | "initrd" | "disks"> {
  /** The kernel, a file's name or its contents: vmlinux (ELF64) or bzImage, optionally gzip-compressed. */
  kernel: string | Uint8Array;
  /** An initial RAM file system, a file's name or its contents. */
  initrd?: string | Uint8Array;
  /** The disks, vda first. */
  disks?: DiskFile[];
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
    const boot: NodeBoot = {
      kernel: options.kernel,
      initrd: options.initrd,
      disks: options.disks ?? [],
      commandLine: options.commandLine ?? DEFAULT_COMMAND_LINE,
      memoryMiB,
      clock: options.clock ?? "real",
      engine: checkEngine(options.engine ?? "auto"),
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

function checkBuilt(): void {
  if (!existsSync(new URL("../../pkg/shared/dinghy_bg.wasm", import.meta.url))) {
    throw new DinghyError("The emulator is not built; build it with `make build`.");
  }
}

/** @param ended called when the workers are gone */
function connect(boot: NodeBoot, receive: (message: MachineMessage) => void, ended: () => void): Backend {
  const vcpu = new Worker(new URL("./vcpu.js", import.meta.url), { workerData: boot, name: "vcpu" });
  const io = new Worker(new URL("./io.js", import.meta.url), { name: "io" });
  vcpu.on("message", (message: NodeMessage) => {
    if (message.type === "attach") io.postMessage(message);
    else receive(message);
  });
  const workers = [vcpu, io];
  workers.forEach((worker) => worker.on("error", (error) => receive(fatalError(error))));
  return {
    send: (message) => io.postMessage(message),
    terminate: () => void Promise.all(workers.map((worker) => worker.terminate())).then(ended),
  };
}
