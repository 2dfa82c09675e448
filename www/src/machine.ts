/** A running machine, as a user of the package holds it: the same in browsers and in node. */

import { Emitter } from "./emitter.js";
import type { FileProvider } from "./files/provider.js";
import { FileService } from "./files/service.js";
import { GuestLog } from "./guest-log.js";
import { type Connection, openConnection } from "./network/channel.js";
import { GuestHttp } from "./network/http.js";
import { TRUST_MESSAGE } from "./network/trust.js";
import { GuestWebSocket } from "./network/web-socket.js";
import {
  type BootOptions,
  DinghyError,
  type ErrorCode,
  type Exit,
  type ExitReason,
  type Kept,
  type Phase,
  type PublishedPort,
  type SharedFiles,
  type SharedProvider,
  type Status,
  type TerminalSize,
} from "./options.js";
import type { PeersState } from "./network/peers.js";
import type { RegistryEvent } from "./registry/registry.js";
import { nobody } from "./shares.js";
import type { InputMessage, MachineMessage } from "./worker/protocol.js";

/** How many of the last lines an {@link Exit} carries, of each console. */
const LAST_LINES = 12;

/** A kernel without a panic device announces a panic only in print, and then resets. */
const PANIC_TEXT = "Kernel panic - not syncing";

/** A line on the serial port by which the guest tells how far it is; from the kernel's log it comes with a time. */
const MARK_LINE = /^(?:\[ *\d+\.\d+\] )?dinghy:([a-z0-9-]+)$/;

/** The mark by which the guest names the TCP ports at which something listens. */
const PORTS_MARK = /^ports((?:-\d{1,5})*)$/;

/** The mark by which the guest tells that the command that it was given has ended, with its exit status. */
const COMMAND_MARK = /^command-ended-(\d{1,3})$/;

/** The workers behind a machine. */
export interface Backend {
  /** Brings input to the machine. */
  send(message: InputMessage, transfer?: MessagePort[]): void;
  /** Ends the workers at once; resolves when what they held is free. */
  terminate(): Promise<void>;
}

/** What a {@link Machine} looks at of its options. */
export type StartOptions = Pick<BootOptions, "onPhase" | "shares"> & {
  /** Whether the guest is to trust the certificate authority of its network. */
  trusts?: boolean;
};

/** What a {@link Machine} tells. */
export interface MachineEvents {
  /** The machine is no more. The last event. */
  exit: Exit;
  /** Figures, about twice a second. */
  status: Status;
  /** A failure that the guest may survive, for example of a disk; one sentence for the user. */
  error: DinghyError;
  /** The machine has come further. */
  phase: Phase;
  /** The registry in the emulator fetches, has changed, or has refused something. */
  registry: RegistryEvent;
  /** A machine has come among the peers, or has gone, or this one has. */
  peers: PeersState;
  /** The machine was kept, as the option `keep` asks. */
  kept: Kept;
  /** The command of the option `startUp` has ended, with this exit status. */
  command: { status: number };
  /** The guest's listening TCP ports have changed: all that there are now, in order. */
  ports: readonly number[];
}

/** One of the guest's consoles. */
export interface Console {
  /**
   * Calls `listener` with what the guest prints, from the first byte on: what was printed before
   * the first listener came is kept for it. Returns a function that ends that.
   */
  onData(listener: (bytes: Uint8Array) => void): () => void;
  /** Types text or bytes. */
  write(data: string | Uint8Array): void;
}

/** The guest's terminal (hvc0). */
export interface TerminalConsole extends Console {
  /** Tells the guest the terminal's new size. */
  resize(columns: number, rows: number): void;
}

/** Console output on its way to its listeners. */
class OutputStream {
  readonly #emitter = new Emitter<{ data: Uint8Array }>();
  #kept: Uint8Array[] | undefined = [];

  push(bytes: Uint8Array): void {
    if (this.#kept) this.#kept.push(bytes);
    else this.#emitter.emit("data", bytes);
  }

  onData(listener: (bytes: Uint8Array) => void): () => void {
    const kept = this.#kept ?? [];
    this.#kept = undefined;
    kept.forEach(listener);
    return this.#emitter.on("data", listener);
  }
}

/** A machine that was booted. Made by `boot` of the browser's or node's entry. */
export class Machine {
  /** The guest's terminal (hvc0). */
  readonly console: TerminalConsole;
  /** The guest's serial port (ttyS0), which carries the kernel's log. */
  readonly serial: Console;

  readonly #backend: Backend;
  readonly #events = new Emitter<MachineEvents>();
  readonly #outputs = { console: new OutputStream(), serial: new OutputStream() };
  readonly #logs: { console: GuestLog; serial: GuestLog };
  readonly #onPhase: ((phase: Phase) => void) | undefined;
  readonly #started: Promise<void>;
  #settleStart: { resolve: () => void; reject: (error: DinghyError) => void } | undefined;
  /** Failures that the start survived, which nobody could hear yet. */
  readonly #earlyErrors: DinghyError[] = [];
  #saving:
    | { pieces: Uint8Array<ArrayBuffer>[]; resolve: (snapshot: Blob) => void; reject: (error: DinghyError) => void }
    | undefined;
  #hasPanicked = false;
  #exit: Exit | undefined;
  #ports: readonly number[] = [];
  #published: PublishedPort[] = [];
  #peers: PeersState = { own: undefined, others: [] };
  #gone: Promise<void> | undefined;
  readonly #http = new GuestHttp((port) => this.connect(port));
  /** Those that serve shares, by the shares' places. */
  readonly #fileServices: (FileService | undefined)[];
  readonly #shares: StartOptions["shares"];

  /**
   * @param connect makes the workers; what they tell is given to `receive`
   */
  protected constructor(
    connect: (receive: (message: MachineMessage) => void) => Backend,
    { onPhase, shares = [], trusts = false }: StartOptions,
  ) {
    this.#onPhase = onPhase;
    this.#shares = shares;
    this.#fileServices = shares.map((share) => this.#fileServiceOf(share));
    const onConsoleLine = (line: string): void => this.#noticePanic(line);
    const onSerialLine = (line: string): void => {
      this.#noticePanic(line);
      const mark = MARK_LINE.exec(line)?.[1];
      if (mark === undefined) return;
      const ports = PORTS_MARK.exec(mark)?.[1];
      if (trusts && mark === "listening") this.serial.write(TRUST_MESSAGE);
      const status = COMMAND_MARK.exec(mark)?.[1];
      if (ports !== undefined) this.#noticePorts(ports);
      else if (status !== undefined) this.#events.emit("command", { status: Number(status) });
      else this.#enter({ name: "mark", mark });
    };
    this.#logs = { console: new GuestLog(onConsoleLine), serial: new GuestLog(onSerialLine) };
    this.#started = new Promise((resolve, reject) => {
      this.#settleStart = { resolve, reject };
    });
    this.#backend = connect((message) => this.#receive(message));
    this.console = {
      ...this.#consoleOf("console"),
      resize: (columns, rows) => this.#send({ type: "resize", size: checkedSize({ columns, rows }) }),
    };
    this.serial = this.#consoleOf("serial");
  }

  /** Resolves when the guest runs. */
  protected async started(): Promise<this> {
    await this.#started;
    return this;
  }

  /** Calls `listener` at each `name` from now on. Returns a function that ends that. */
  on<Name extends keyof MachineEvents>(name: Name, listener: (value: MachineEvents[Name]) => void): () => void {
    return this.#events.on(name, listener);
  }

  /**
   * Saves the whole machine: processor, devices, memory, and what the guest has written to disks that are kept in
   * memory. The machine goes on running; it stands still for some seconds meanwhile.
   *
   * @throws DinghyError if it has ended, or cannot be saved now
   */
  async save(): Promise<Blob> {
    if (this.#exit) throw new DinghyError("The machine has ended and cannot be saved; start it again.");
    if (this.#saving) throw new DinghyError("The machine is being saved already; wait for that.");
    const saved = new Promise<Blob>((resolve, reject) => {
      this.#saving = { pieces: [], resolve, reject };
    });
    this.#send({ type: "save" });
    return saved;
  }

  /** Keeps the machine now, if it was started with the option `keep`; the event `kept` tells when that is done. */
  keep(): void {
    this.#send({ type: "keep" });
  }

  /**
   * Has a share served by `provider` from now on. It must be one of the option `shares` without files; files that the
   * guest has open stay with who served them.
   *
   * @throws DinghyError if there is none of that tag
   */
  share(tag: string, provider: FileProvider): void {
    const place = (this.#shares ?? []).findIndex((share) => share.tag === tag);
    const service = this.#fileServices[place];
    if (!service) {
      throw new DinghyError(
        `There is no share "${tag}" to be served; name it in the option \`shares\`, without files.`,
      );
    }
    service.replaceProvider(provider);
  }

  /** Presses the power button: the guest shuts down in order, if it listens. */
  powerButton(): void {
    this.#send({ type: "power" });
  }

  /** Ends the machine at once, as if the power were cut. */
  stop(): void {
    this.#end("stopped");
  }

  /** How the machine ended, or `undefined` while it runs. */
  get exit(): Exit | undefined {
    return this.#exit;
  }

  /**
   * Connects to a TCP port of the guest. One that nobody listens on fails the connection's streams, with a
   * {@link DinghyError}.
   */
  connect(port: number): Connection {
    const { port1, port2 } = new MessageChannel();
    const connection = openConnection(checkedPort(port), port1);
    if (this.#exit) connection.close();
    else this.#backend.send({ type: "connect-guest", port, channel: port2 }, [port2]);
    return connection;
  }

  /**
   * Asks a web server in the guest, as `fetch` would: the answer may still be arriving, and is taken as fast as it is read.
   *
   * @param port the server's TCP port, for example one that `docker run --publish` names
   * @param request what to ask for; of an address, the path and the query count
   * @throws GuestHttpError if nobody listens there (its `status` is 502), the answer is none (502) or late (504)
   */
  async fetch(port: number, request: Request | URL | string, init?: RequestInit): Promise<Response> {
    return this.#http.fetch(checkedPort(port), request, init);
  }

  /**
   * Opens a WebSocket to a server in the guest. If nobody listens there, or no such server does, its `close` tells why.
   *
   * @param path with the query, for example `/chat?room=1`
   */
  webSocket(port: number, path: string, protocols: readonly string[] = []): GuestWebSocket {
    // Whatever is in it, it stays one line of a request.
    const { pathname, search } = new URL(path, "http://localhost/");
    const isToken = (protocol: string): boolean => /^[!#$%&'*+\-.^_`|~0-9a-z]+$/i.test(protocol);
    if (!protocols.every(isToken)) throw new DinghyError("A WebSocket's protocols are words.");
    return new GuestWebSocket(this.connect(port), port, pathname + search, protocols);
  }

  /**
   * The guest's TCP ports at which something listens that can be reached from outside it, in order, as the guest that comes
   * with dinghy tells them; among them those that `docker run --publish` names.
   */
  get ports(): readonly number[] {
    return this.#ports;
  }

  /**
   * Lets the guest reach other machines, and these the guest, all its ports: those of this origin (in node: of this process)
   * that have joined a room of this name. Each machine has an address of its own, in 10.87.0.0/16; the event `peers` tells.
   */
  joinPeers(room = "home"): void {
    this.#send({ type: "join-peers", room });
  }

  /** Reaches no other machines any more, nor is reached by them. */
  leavePeers(): void {
    this.#send({ type: "leave-peers" });
  }

  /** Joins the machine at the other end of a channel, which carries the messages of `network/peers.ts`. */
  linkPeer(channel: MessagePort): void {
    if (this.#exit) channel.close();
    else this.#backend.send({ type: "link-peer", channel }, [channel]);
  }

  /** This machine's address among its peers, and theirs. */
  get peers(): PeersState {
    return this.#peers;
  }

  /** In node: the ports of this computer that lead to the guest. */
  get published(): readonly PublishedPort[] {
    return this.#published;
  }

  /** After the end: resolves when the machine's workers and all that they held are gone. */
  get gone(): Promise<void> {
    return this.#gone ?? Promise.reject(new DinghyError("The machine still runs."));
  }

  /** What the guest printed on its serial port: the boot log. */
  get bootLog(): string {
    return this.#logs.serial.text();
  }

  #consoleOf(device: "console" | "serial"): Console {
    return {
      onData: (listener) => this.#outputs[device].onData(listener),
      write: (data) => {
        const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
        this.#send({ type: "input", device, bytes });
      },
    };
  }

  #send(message: InputMessage): void {
    if (!this.#exit) this.#backend.send(message);
  }

  #receive(message: MachineMessage): void {
    if (this.#exit) return;
    switch (message.type) {
      case "download":
        this.#enter({ name: "downloading", loadedBytes: message.loadedBytes, totalBytes: message.totalBytes });
        break;
      case "milestone":
        this.#enter({ name: "milestone", milestone: message.name, at: message.at });
        break;
      case "booting":
        this.#settleStart?.resolve();
        this.#settleStart = undefined;
        // Whoever waits for the start listens from then on.
        setTimeout(() => this.#earlyErrors.splice(0).forEach((error) => this.#events.emit("error", error)));
        this.#enter({ name: "booting" });
        break;
      case "output":
        this.#logs[message.device].append(message.bytes);
        this.#outputs[message.device].push(message.bytes);
        break;
      case "status":
        this.#events.emit("status", message.status);
        break;
      case "published":
        this.#published = message.ports;
        break;
      case "registry":
        this.#events.emit("registry", message.event);
        break;
      case "peers":
        this.#peers = message.state;
        this.#events.emit("peers", message.state);
        break;
      case "operation":
        this.#fileServices[message.share]?.take(message);
        break;
      case "snapshot":
        this.#saving?.pieces.push(message.bytes);
        break;
      case "saved":
        this.#endSaving(message.failure);
        break;
      case "kept": {
        const { pages, fileBytes, tookMs } = message;
        this.#events.emit("kept", { pages, fileBytes, tookMs });
        break;
      }
      case "exit":
        this.#end(message.reason === "restarted" && this.#hasPanicked ? "panicked" : message.reason, message.code);
        break;
      case "error":
        this.#fail(message.message, message.fatal, message.code);
        break;
    }
  }

  #fail(text: string, fatal: boolean, code?: ErrorCode): void {
    const error = new DinghyError(text, code);
    if (this.#settleStart && fatal) {
      this.#settleStart.reject(error);
      this.#settleStart = undefined;
      void this.#backend.terminate();
      return;
    }
    if (this.#settleStart) this.#earlyErrors.push(error);
    else this.#events.emit("error", error);
    if (fatal) this.#end("stopped");
  }

  #fileServiceOf(share: SharedFiles | SharedProvider): FileService | undefined {
    if ("files" in share) return undefined;
    const { tag, provider = nobody } = share;
    return new FileService(
      provider,
      tag,
      (answer) => this.#send(answer),
      (message) => this.#fail(message, false),
    );
  }

  #endSaving(failure: string | undefined): void {
    const saving = this.#saving;
    this.#saving = undefined;
    if (failure !== undefined) saving?.reject(new DinghyError(failure));
    else saving?.resolve(new Blob(saving.pieces, { type: "application/octet-stream" }));
  }

  #end(reason: ExitReason, code?: number): void {
    if (this.#exit) return;
    this.#endSaving("The machine has ended before it was saved.");
    const { serial, console } = this.#logs;
    const lastLines = serial.lastLines(LAST_LINES);
    // The kernel prints the same on both.
    lastLines.push(...console.lastLines(LAST_LINES).filter((line) => !lastLines.includes(line)));
    this.#exit = { reason, code, lastLines };
    this.#http.close();
    this.#gone = this.#backend.terminate();
    this.#events.emit("exit", this.#exit);
  }

  #enter(phase: Phase): void {
    this.#onPhase?.(phase);
    this.#events.emit("phase", phase);
  }

  #noticePorts(text: string): void {
    const ports = text.split("-").slice(1).map(Number);
    this.#ports = ports.sort((a, b) => a - b);
    this.#events.emit("ports", this.#ports);
  }

  #noticePanic(line: string): void {
    this.#hasPanicked ||= line.includes(PANIC_TEXT);
  }
}

/** A TCP port.
 * @throws DinghyError if it is none */
function checkedPort(port: number): number {
  if (!Number.isInteger(port) || port < 1 || port > 0xffff) {
    throw new DinghyError(`The guest has no port ${port}; ports are numbers from 1 to 65535.`);
  }
  return port;
}

/** A size that fits the console device's 16-bit fields. */
export function checkedSize({ columns, rows }: TerminalSize): TerminalSize {
  const clamp = (value: number): number => Math.min(Math.max(Math.trunc(value) || 1, 1), 0xffff);
  return { columns: clamp(columns), rows: clamp(rows) };
}
