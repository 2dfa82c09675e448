/**
 * dinghy in a browser.
 *
 * ```ts
 * import { Machine } from "dinghy";
 *
 * const machine = await Machine.boot({
 *   kernel: "/kernel/vmlinux.gz",
 *   disks: [{ manifest: "/guest/chunks/manifest.json", overlay: "home" }],
 * });
 * machine.console.onData((bytes) => terminal.write(bytes));
 * terminal.onData((text) => machine.console.write(text));
 * machine.on("exit", ({ reason }) => console.log(reason));
 * ```
 */

import { chooseBuild, type Build } from "./features.js";
import { checkedSize, Machine as AnyMachine, type Backend, type StartOptions } from "./machine.js";
import { nameAddress } from "./network/relay.js";
import { httpsPorts } from "./network/trust.js";
import { answerLink, offerLink, type PeerLink, type PeerOffer } from "./network/web-rtc.js";
import { GuestHttpError } from "./network/http.js";
import {
  type BootOptions,
  checkCpu,
  checkEngine,
  checkMemory,
  DEFAULT_COMMAND_LINE,
  DEFAULT_MEMORY_MIB,
  DinghyError,
  type DiskSource,
  type NetworkOptions,
  type RestoreOptions,
  type ResumeOptions,
} from "./options.js";
import { bootShares } from "./shares.js";
import { checkOverlayName } from "./storage.js";
import { callAttention } from "./worker/attention.js";
import type { BootDisk, BootMessage, ConnectMessage, ErrorMessage, MachineMessage } from "./worker/protocol.js";

export { chooseBuild, type Build } from "./features.js";
export { GuestHttpError };
export { GuestWebSocket, type WebSocketEvents } from "./network/web-socket.js";
export type { RegistryEvent } from "./registry/registry.js";
export type { CachedImage, Images } from "./registry/images.js";
export type { PeerLink, PeerOffer } from "./network/web-rtc.js";
export { browserDirectory } from "./files/browser-directory.js";
export type { PeersState } from "./network/peers.js";
export type { Connection } from "./network/channel.js";
export type { Console, MachineEvents, TerminalConsole } from "./machine.js";
export * from "./options.js";
export {
  clearImages,
  exportOverlay,
  forgetKept,
  imageBytes,
  images,
  importOverlay,
  isMachineKept,
  overlayBytes,
  resetOverlay,
} from "./storage.js";

type Receive = (message: MachineMessage) => void;

/** A machine in this tab. */
export class Machine extends AnyMachine {
  /**
   * Starts a machine in workers of its own.
   *
   * @throws DinghyError with one sentence for the user, if the browser, an option or a file does not do
   */
  static async boot(options: BootOptions): Promise<Machine> {
    return Machine.#start(bootMessage(options), options);
  }

  /**
   * Goes on with a machine that was saved. Network connections that it had are gone; its clock is right.
   *
   * @throws DinghyError with one sentence for the user, if the snapshot is damaged or of another version, or the
   *   disks are not those that it was saved with
   */
  static async restore(options: RestoreOptions): Promise<Machine> {
    return Machine.#start(restoreMessage(options), options);
  }

  /**
   * Goes on with the machine that was kept while it ran with these disks, where it was when it was kept last. The
   * options must be those that it was started with. It is kept further on.
   *
   * @throws DinghyError with the code `nothing-kept` if there is none, or it cannot go on because its disk was written
   *   to since; boot it then
   */
  static async resume(options: ResumeOptions): Promise<Machine> {
    return Machine.#start({ ...commonMessage({ ...options, keep: true }), resumes: true }, options);
  }

  /**
   * Offers a link to a machine in another browser, by WebRTC: its user takes the offer's text to `answerPeer` there, and
   * the answer's text comes back to `accept`. Both guests then reach each other as `joinPeers` says.
   *
   * @param iceServers servers that help to find a way between networks; none if not given
   */
  async offerPeer(iceServers: RTCIceServer[] = []): Promise<PeerOffer> {
    const { port1, port2 } = new MessageChannel();
    const offer = await offerLink(port1, iceServers);
    this.linkPeer(port2);
    return offer;
  }

  /**
   * Answers the offer of a machine in another browser.
   *
   * @throws DinghyError if it is none
   */
  async answerPeer(offer: string, iceServers: RTCIceServer[] = []): Promise<PeerLink> {
    const { port1, port2 } = new MessageChannel();
    const link = await answerLink(port1, offer, iceServers);
    this.linkPeer(port2);
    return link;
  }

  static async #start(boot: BootMessage, options: StartOptions): Promise<Machine> {
    const workers = await takeWorkers();
    const machine = new Machine((receive) => connect(workers, boot, receive), {
      ...options,
      trusts: httpsPorts(boot.network).length > 0,
    });
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
    cpu: checkCpu(options.cpu),
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

function disk(source: DiskSource): BootDisk {
  if (source instanceof Blob) return { source, format: "raw", overlay: undefined };
  if (typeof source === "string" || source instanceof URL) {
    return { source: address(source), format: "raw", overlay: undefined };
  }
  const { manifest, overlay } = source;
  return {
    source: address(manifest),
    format: "chunked",
    overlay: overlay === undefined ? undefined : checkOverlayName(overlay),
  };
}

/** What both ways of starting state; the rest as it is when a snapshot has it. */
function commonMessage(
  options: Pick<BootOptions, "disks" | "clock" | "engine" | "network" | "shares" | "startUp" | "size" | "keep">,
): BootMessage {
  const disks = (options.disks ?? []).map(disk);
  const keep = options.keep === true ? disks[0]?.overlay : undefined;
  if (options.keep === true && keep === undefined) {
    throw new DinghyError("A machine is kept beside the overlay of its first disk; give that disk one.");
  }
  return {
    type: "boot",
    snapshot: undefined,
    resumes: false,
    keep,
    kernel: new Uint8Array(),
    initrd: undefined,
    disks,
    shares: bootShares(options),
    commandLine: "",
    memoryMiB: 0,
    clock: options.clock ?? "real",
    engine: checkEngine(options.engine ?? "auto"),
    cpu: undefined,
    network: checkedNetwork(options),
    size: checkedSize(options.size ?? { columns: 80, rows: 24 }),
    closing: undefined,
    io: undefined,
  };
}

/** The network of the options, with whole addresses: workers have another base address. */
function checkedNetwork({ network, clock }: Pick<BootOptions, "network" | "clock">): NetworkOptions {
  if (network?.to !== "relay") return network ?? { to: clock === "icount" ? "none" : "nowhere" };
  const relay = new URL(network.relay, document.baseURI.replace(/^http/, "ws"));
  const dns = network.dns === undefined ? nameAddress(relay) : new URL(network.dns, document.baseURI);
  return { ...network, relay: relay.href, dns: dns.href };
}

/** The workers of one machine. */
interface Workers {
  build: Build;
  vcpu: Worker;
  /** Where memory is shared. */
  io: Worker | undefined;
  /** Whether one of them has failed before anybody listened. */
  hasFailed: boolean;
}

function makeWorkers(build: Build): Workers {
  const workers: Workers =
    build === "shared"
      ? {
          build,
          vcpu: new Worker(new URL("./worker/vcpu-shared.js", import.meta.url), { type: "module", name: "vcpu" }),
          io: new Worker(new URL("./worker/io.js", import.meta.url), { type: "module", name: "io" }),
          hasFailed: false,
        }
      : {
          build,
          vcpu: new Worker(new URL("./worker/vcpu-unshared.js", import.meta.url), { type: "module", name: "vcpu" }),
          io: undefined,
          hasFailed: false,
        };
  for (const worker of [workers.vcpu, workers.io]) {
    if (worker) worker.onerror = () => (workers.hasFailed = true);
  }
  return workers;
}

/** Workers for the next machine. */
let prepared: Promise<Workers> | undefined;

/** Loads the emulator ahead, while it is still being found out what is to be started: the next start is sooner then. */
export function prepare(): void {
  prepared ??= chooseBuild().then(makeWorkers);
  // The start that takes them tells what went wrong.
  prepared.catch(() => undefined);
}

async function takeWorkers(): Promise<Workers> {
  const workers = await prepared;
  prepared = undefined;
  return workers && !workers.hasFailed ? workers : makeWorkers(await chooseBuild());
}

function connect(workers: Workers, boot: BootMessage, receive: Receive): Backend {
  const { vcpu, io } = workers;
  return io ? connectShared(vcpu, io, boot, receive) : connectUnshared(vcpu, boot, receive);
}

function connectShared(vcpu: Worker, io: Worker, boot: BootMessage, receive: Receive): Backend {
  const workers = [vcpu, io];
  const closing = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  const gone = new AbortController();
  const close = ({ memory, address }: { memory: WebAssembly.Memory; address: number }): void => {
    Atomics.store(closing, 0, 1);
    callAttention(memory, address);
  };
  workers.forEach((worker) =>
    listen(worker, (message) => {
      if (message.type !== "attention") receive(message);
      // The event loop of that worker does not turn while the machine runs.
      else addEventListener("pagehide", () => close(message), { signal: gone.signal });
    }),
  );
  const { port1, port2 } = new MessageChannel();
  const connection: ConnectMessage = { type: "connect", vcpu: port1 };
  io.postMessage(connection, [port1]);
  vcpu.postMessage({ ...boot, closing, io: port2 }, [port2]);
  return {
    send: (message, transfer = []) => io.postMessage(message, transfer),
    terminate: () => {
      gone.abort();
      workers.forEach((worker) => worker.terminate());
      return Promise.resolve();
    },
  };
}

function connectUnshared(worker: Worker, boot: BootMessage, receive: Receive): Backend {
  listen(worker, receive);
  worker.postMessage(boot);
  return {
    send: (message, transfer = []) => worker.postMessage(message, transfer),
    terminate: () => {
      worker.terminate();
      return Promise.resolve();
    },
  };
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
