/** A running machine, as a user of the package holds it: the same in browsers and in node. */

import { Emitter } from "./emitter.js";
import { GuestLog } from "./guest-log.js";
import { DinghyError, type Exit, type ExitReason, type Phase, type Status, type TerminalSize } from "./options.js";
import type { InputMessage, MachineMessage } from "./worker/protocol.js";

/** How many of the last lines an {@link Exit} carries, of each console. */
const LAST_LINES = 12;

/** A kernel without a panic device announces a panic only in print, and then resets. */
const PANIC_TEXT = "Kernel panic - not syncing";

/** A line on the serial port by which the guest tells how far it is; from the kernel's log it comes with a time. */
const MARK_LINE = /^(?:\[ *\d+\.\d+\] )?dinghy:([a-z0-9-]+)$/;

/** The workers behind a machine. */
export interface Backend {
  /** Brings input to the machine. */
  send(message: InputMessage): void;
  /** Ends the workers at once. */
  terminate(): void;
}

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
  #saving:
    | { pieces: Uint8Array<ArrayBuffer>[]; resolve: (snapshot: Blob) => void; reject: (error: DinghyError) => void }
    | undefined;
  #hasPanicked = false;
  #exit: Exit | undefined;

  /**
   * @param connect makes the workers; what they tell is given to `receive`
   */
  protected constructor(
    connect: (receive: (message: MachineMessage) => void) => Backend,
    onPhase: ((phase: Phase) => void) | undefined,
  ) {
    this.#onPhase = onPhase;
    const onConsoleLine = (line: string): void => this.#noticePanic(line);
    const onSerialLine = (line: string): void => {
      this.#noticePanic(line);
      const mark = MARK_LINE.exec(line)?.[1];
      if (mark !== undefined) this.#enter({ name: "mark", mark });
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
      case "booting":
        this.#settleStart?.resolve();
        this.#settleStart = undefined;
        this.#enter({ name: "booting" });
        break;
      case "output":
        this.#logs[message.device].append(message.bytes);
        this.#outputs[message.device].push(message.bytes);
        break;
      case "status":
        this.#events.emit("status", message.status);
        break;
      case "snapshot":
        this.#saving?.pieces.push(message.bytes);
        break;
      case "saved":
        this.#endSaving(message.failure);
        break;
      case "exit":
        this.#end(message.reason === "restarted" && this.#hasPanicked ? "panicked" : message.reason, message.code);
        break;
      case "error":
        this.#fail(message.message, message.fatal);
        break;
    }
  }

  #fail(text: string, fatal: boolean): void {
    const error = new DinghyError(text);
    if (this.#settleStart && fatal) {
      this.#settleStart.reject(error);
      this.#settleStart = undefined;
      this.#backend.terminate();
      return;
    }
    this.#events.emit("error", error);
    if (fatal) this.#end("stopped");
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
    this.#backend.terminate();
    this.#events.emit("exit", this.#exit);
  }

  #enter(phase: Phase): void {
    this.#onPhase?.(phase);
    this.#events.emit("phase", phase);
  }

  #noticePanic(line: string): void {
    this.#hasPanicked ||= line.includes(PANIC_TEXT);
  }
}

/** A size that fits the console device's 16-bit fields. */
export function checkedSize({ columns, rows }: TerminalSize): TerminalSize {
  const clamp = (value: number): number => Math.min(Math.max(Math.trunc(value) || 1, 1), 0xffff);
  return { columns: clamp(columns), rows: clamp(rows) };
}
