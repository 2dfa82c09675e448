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

/** Options of `Machine.restore` in node. */
export interface NodeRestoreOptions extends Pick<BootOptions, "clock" | "engine" | "size" | "onPhase"> {
  /** A file's name, or what `machine.save()` gave, in node or in a browser. */
  snapshot: string | Uint8Array;
  /** The disks that the machine was booted with; what the guest wrote to an overlay since is in the snapshot. */
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
      ...common(options),
      kernel: options.kernel,
      initrd: options.initrd,
      commandLine: options.commandLine ?? DEFAULT_COMMAND_LINE,
      memoryMiB,
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
    return Machine.#start({ ...common(options), snapshot: options.snapshot }, options);
  }

  static async #start(boot: NodeBoot, { onPhase }: Pick<BootOptions, "onPhase">): Promise<Machine> {
    checkBuilt();
    const machine = new Machine((receive) => connect(boot, receive), onPhase);
    return machine.started();
  }
}

/** What both ways of starting state; the rest as it is when a snapshot has it. */
function common(options: Pick<NodeBootOptions, "disks" | "clock" | "engine" | "size">): NodeBoot {
  return {
    snapshot: undefined,
    kernel: new Uint8Array(),
    initrd: undefined,
    disks: options.disks ?? [],
    commandLine: "",
    memoryMiB: 0,
    clock: options.clock ?? "real",
    engine: checkEngine(options.engine ?? "auto"),
    size: checkedSize(options.size ?? { columns: 80, rows: 24 }),
  };
}

function checkBuilt(): void {
  if (!existsSync(new URL("../../pkg/shared/dinghy_bg.wasm", import.meta.url))) {
    throw new DinghyError("The emulator is not built; build it with `make build`.");
  }
}

function connect(boot: NodeBoot, receive: (message: MachineMessage) => void): Backend {
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
    terminate: () => workers.forEach((worker) => void worker.terminate()),
  };
}
