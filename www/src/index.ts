/**
 * dinghy in a browser.
 *
 * ```ts
 * import { Machine } from "dinghy";
 *
 * const machine = await Machine.boot({ kernel: "/kernel/vmlinux.gz", disks: ["/guest/guest.ext4"] });
 * machine.console.onData((bytes) => terminal.write(bytes));
 * terminal.onData((text) => machine.console.write(text));
 * machine.on("exit", ({ reason }) => console.log(reason));
 * ```
 */

import { chooseBuild, type Build } from "./features.js";
import { checkedSize, Machine as AnyMachine, type Backend } from "./machine.js";
import {
  type BootOptions,
  checkEngine,
  checkMemory,
  DEFAULT_COMMAND_LINE,
  DEFAULT_MEMORY_MIB,
  type Phase,
  type RestoreOptions,
} from "./options.js";
import type { BootMessage, ConnectMessage, ErrorMessage, MachineMessage } from "./worker/protocol.js";

export { chooseBuild, type Build } from "./features.js";
export type { Console, MachineEvents, TerminalConsole } from "./machine.js";
export * from "./options.js";

type Receive = (message: MachineMessage) => void;

/** A machine in this tab. */
export class Machine extends AnyMachine {
  /**
   * Starts a machine in workers of its own.
   *
   * @throws DinghyError with one sentence for the user, if the browser, an option or a file does not do
   */
  static async boot(options: BootOptions): Promise<Machine> {
    return Machine.#start(bootMessage(options), options.onPhase);
  }

  /**
   * Goes on with a machine that was saved. Network connections that it had are gone; its clock is right.
   *
   * @throws DinghyError with one sentence for the user, if the snapshot is damaged or of another version, or the
   *   disks are not those that it was saved with
   */
  static async restore(options: RestoreOptions): Promise<Machine> {
    return Machine.#start(restoreMessage(options), options.onPhase);
  }

  static async #start(boot: BootMessage, onPhase: ((phase: Phase) => void) | undefined): Promise<Machine> {
    const build = await chooseBuild();
    const machine = new Machine((receive) => connect(build, boot, receive), onPhase);
    return machine.started();
  }
}

function bootMessage(options: BootOptions): BootMessage {
  const memoryMiB = options.memoryMiB ?? DEFAULT_MEMORY_MIB;
  checkMemory(memoryMiB);
  return {
    ...commonMessage(options),
    kernel: image(options.kernel),
    initrd: options.initrd === undefined ? undefined : image(options.initrd),
    commandLine: options.commandLine ?? DEFAULT_COMMAND_LINE,
    memoryMiB,
  };
}

function restoreMessage(options: RestoreOptions): BootMessage {
  const { snapshot } = options;
  return { ...commonMessage(options), snapshot: snapshot instanceof Blob ? snapshot : image(snapshot) };
}

// Workers have another base address: resolve relative ones here.
const address = (url: string | URL): string => new URL(url, document.baseURI).href;
const image = (source: string | URL | Uint8Array): string | Uint8Array =>
  source instanceof Uint8Array ? source : address(source);

/** What both ways of starting state; the rest as it is when a snapshot has it. */
function commonMessage(options: Pick<BootOptions, "disks" | "clock" | "engine" | "size">): BootMessage {
  return {
    type: "boot",
    snapshot: undefined,
    kernel: new Uint8Array(),
    initrd: undefined,
    disks: (options.disks ?? []).map((disk) => (disk instanceof Blob ? disk : address(disk))),
    commandLine: "",
    memoryMiB: 0,
    clock: options.clock ?? "real",
    engine: checkEngine(options.engine ?? "auto"),
    size: checkedSize(options.size ?? { columns: 80, rows: 24 }),
    io: undefined,
  };
}

function connect(build: Build, boot: BootMessage, receive: Receive): Backend {
  return build === "shared" ? connectShared(boot, receive) : connectUnshared(boot, receive);
}

function connectShared(boot: BootMessage, receive: Receive): Backend {
  const vcpu = new Worker(new URL("./worker/vcpu-shared.js", import.meta.url), { type: "module", name: "vcpu" });
  const io = new Worker(new URL("./worker/io.js", import.meta.url), { type: "module", name: "io" });
  const workers = [vcpu, io];
  workers.forEach((worker) => listen(worker, receive));
  const { port1, port2 } = new MessageChannel();
  const connection: ConnectMessage = { type: "connect", vcpu: port1 };
  io.postMessage(connection, [port1]);
  vcpu.postMessage({ ...boot, io: port2 }, [port2]);
  return {
    send: (message) => io.postMessage(message),
    terminate: () => workers.forEach((worker) => worker.terminate()),
  };
}

function connectUnshared(boot: BootMessage, receive: Receive): Backend {
  const worker = new Worker(new URL("./worker/vcpu-unshared.js", import.meta.url), { type: "module", name: "vcpu" });
  listen(worker, receive);
  worker.postMessage(boot);
  return { send: (message) => worker.postMessage(message), terminate: () => worker.terminate() };
}

function listen(worker: Worker, receive: Receive): void {
  worker.onmessage = (event: MessageEvent<MachineMessage>) => receive(event.data);
  worker.onerror = (event) => {
    // A script that cannot be loaded has no message.
    const message = event.message
      ? `The emulator stopped: ${event.message}; restart the machine.`
      : "A part of the emulator could not be loaded; check that the site is complete and reload.";
    receive({ type: "error", message, fatal: true } satisfies ErrorMessage);
  };
}
