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

import type { Engine } from "../engine.js";
import { checkedSize, Machine as AnyMachine, type Backend } from "../machine.js";
import {
  type BootOptions,
  checkMemory,
  DEFAULT_COMMAND_LINE,
  DEFAULT_MEMORY_MIB,
  DinghyError,
} from "../options.js";
import { callAttention } from "../worker/attention.js";
import { deliver } from "../worker/input.js";
import type { Attachment, InputMessage, MachineMessage } from "../worker/protocol.js";
import { fatalError, THREAD_STACK_BYTES } from "../worker/start.js";
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
      size: checkedSize(options.size ?? { columns: 80, rows: 24 }),
    };
    const engine = await loadEngine();
    const machine = new Machine((receive) => connect(engine, boot, receive), options.onPhase);
    return machine.started();
  }
}

/** Loads the emulator's JavaScript side for this thread's port. */
async function loadEngine(): Promise<Engine> {
  if (!existsSync(new URL("../../pkg/shared/dinghy_bg.wasm", import.meta.url))) {
    throw new DinghyError("The emulator is not built; build it with `make build`.");
  }
  return import("../../pkg/shared/dinghy.js");
}

function connect(engine: Engine, boot: NodeBoot, receive: (message: MachineMessage) => void): Backend {
  const worker = new Worker(new URL("./vcpu.js", import.meta.url), { workerData: boot, name: "vcpu" });
  const early: InputMessage[] = [];
  let send = (message: InputMessage): void => {
    early.push(message);
  };
  worker.on("message", (message: NodeMessage) => {
    if (message.type === "attach") {
      send = attach(engine, message.attachment);
      early.forEach(send);
    } else {
      receive(message);
    }
  });
  worker.on("error", (error) => receive(fatalError(error)));
  return { send: (message) => send(message), terminate: () => void worker.terminate() };
}

/** Reaches the machine in the worker through a second instance on its memory. */
function attach(engine: Engine, { module, memory, portHandle, attentionAddress }: Attachment) {
  engine.initSync({ module, memory, thread_stack_size: THREAD_STACK_BYTES });
  const port = new engine.MachinePort(portHandle);
  return (message: InputMessage): void => {
    deliver(port, message);
    callAttention(memory, attentionAddress);
  };
}
