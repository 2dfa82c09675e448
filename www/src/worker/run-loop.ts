/**
 * Runs a machine in slices: without pause in a worker that may block ({@link runBlocking}), or
 * returning to the event loop after each slice ({@link SliceLoop}).
 */

import type { ClockSource, EngineMachine, RunOutcome } from "../engine.js";
import { waitForAttention } from "./attention.js";
import { concatenate } from "../bytes.js";
import { reason } from "./download.js";
import type { Keeping } from "./keeping.js";
import type { MachineMessage } from "./protocol.js";
import type { WhenQuiet } from "./quiet.js";

/** Sends a message to the page. */
export type Post = (message: MachineMessage, transfer?: ArrayBuffer[]) => void;

/** How long a slice should take: short enough for typing to feel immediate. */
const SLICE_MS = 10;

/** The first slice's limit; later ones follow the measured speed. */
const FIRST_SLICE_INSTRUCTIONS = 500_000;

/** Bounds of a slice's limit, so that one odd measurement does not stall or burden the loop. */
const SLICE_INSTRUCTIONS = { least: 50_000, most: 50_000_000 } as const;

/** Bytes of a snapshot in one message, about. */
const SNAPSHOT_MESSAGE_BYTES = 4 << 20;

/** Time between two status messages. */
const STATUS_INTERVAL_MS = 500;

/** Outcomes after which a machine does not run again. */
type FinalOutcome = Exclude<RunOutcome, "limit" | "idle" | "save" | "keep">;

function isFinal(outcome: RunOutcome): outcome is FinalOutcome {
  return outcome !== "limit" && outcome !== "idle" && outcome !== "save" && outcome !== "keep";
}

/** Gathers what the guest prints during a slice, so that a slice costs one message a device. */
export class OutputBatch {
  readonly #pieces: Record<"console" | "serial", Uint8Array[]> = { console: [], serial: [] };

  constructor(private readonly post: Post) {}

  /** Takes bytes that the guest printed. */
  add(device: "console" | "serial", bytes: Uint8Array): void {
    this.#pieces[device].push(bytes);
  }

  /** Sends what was gathered. Tells whether the user sees any of it. */
  flush(): boolean {
    const isShown = this.#pieces.console.length > 0;
    // Marks on the serial port tell of what the user has seen before.
    for (const device of ["console", "serial"] as const) {
      const pieces = this.#pieces[device];
      if (pieces.length === 0) continue;
      const length = pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
      const bytes = concatenate(pieces, length);
      pieces.length = 0;
      this.post({ type: "output", device, bytes }, [bytes.buffer]);
    }
    return isShown;
  }
}

/** One machine with its output and figures: what both ways of running share. */
class Slices {
  readonly #startedAt = performance.now();
  #limit = FIRST_SLICE_INSTRUCTIONS;
  #reportedAt = this.#startedAt;
  #reportedInstructions = 0;

  constructor(
    readonly machine: EngineMachine,
    private readonly clock: ClockSource,
    private readonly output: OutputBatch,
    private readonly post: Post,
    private readonly keeping: Keeping | undefined,
    private readonly whenQuiet: WhenQuiet | undefined,
  ) {}

  /** Runs one slice and sends what came of it. */
  run(): RunOutcome {
    const startedAt = performance.now();
    const outcome = this.machine.run(this.#limit);
    const now = performance.now();
    if (outcome === "limit") this.#adapt(now - startedAt);
    if (this.output.flush()) {
      this.keeping?.noteOutput();
      this.whenQuiet?.noteOutput();
    }
    if (outcome === "save") this.#save();
    if (now - this.#reportedAt >= STATUS_INTERVAL_MS || isFinal(outcome)) this.#report(now);
    if (outcome === "memory-lost") {
      this.keeping?.end();
      this.post({ type: "error", message: this.machine.lostMemory() ?? "", fatal: true });
    } else if (isFinal(outcome)) {
      this.keeping?.end();
      this.post({ type: "exit", reason: outcome, code: this.machine.exitCode() });
    } else if (outcome === "keep") {
      this.keeping?.keep();
      // The page is hidden, perhaps for good: it is kept when all of it is there.
      this.whenQuiet?.act();
    } else {
      this.keeping?.noteSlice(now - startedAt, now);
      this.whenQuiet?.noteSlice(now - startedAt, now);
    }
    return outcome;
  }

  /** Sends the whole machine. A failure is the saver's alone: the machine goes on. */
  #save(): void {
    let failure: string | undefined;
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    let length = 0;
    const send = (): void => {
      const bytes = concatenate(pieces, length);
      pieces.length = length = 0;
      this.post({ type: "snapshot", bytes }, [bytes.buffer]);
    };
    try {
      this.machine.save((bytes) => {
        pieces.push(bytes);
        length += bytes.byteLength;
        if (length >= SNAPSHOT_MESSAGE_BYTES) send();
      });
      send();
    } catch (error) {
      failure = reason(error);
    }
    this.post({ type: "saved", failure });
  }

  #adapt(tookMs: number): void {
    // Slices that depended on the host's speed could make two instruction-counted runs differ.
    if (this.clock === "icount") return;
    const scaled = this.#limit * Math.min(2, SLICE_MS / Math.max(tookMs, 0.1));
    this.#limit = Math.round(Math.min(Math.max(scaled, SLICE_INSTRUCTIONS.least), SLICE_INSTRUCTIONS.most));
  }

  #report(now: number): void {
    const statistics = this.machine.statistics();
    const retired = statistics.instructions - this.#reportedInstructions;
    const elapsedMs = Math.max(now - this.#reportedAt, 0.001);
    this.#reportedInstructions = statistics.instructions;
    this.#reportedAt = now;
    const status = {
      statistics,
      mips: retired / elapsedMs / 1000,
      uptimeSeconds: (now - this.#startedAt) / 1000,
    };
    this.post({ type: "status", status });
  }
}

/**
 * Runs a machine to its end in a worker that does nothing else, asleep while the guest is.
 *
 * @param closing its first element becomes 1 when the page goes away: a worker that went on would be ended only seconds
 *   later, and the next page has to wait for its files
 */
export function runBlocking(
  machine: EngineMachine,
  clock: ClockSource,
  memory: WebAssembly.Memory,
  output: OutputBatch,
  post: Post,
  {
    keeping,
    closing,
    whenQuiet,
  }: { keeping?: Keeping | undefined; closing?: Int32Array | undefined; whenQuiet?: WhenQuiet | undefined } = {},
): void {
  const slices = new Slices(machine, clock, output, post, keeping, whenQuiet);
  const attention = machine.attentionAddress();
  for (let outcome = slices.run(); !isFinal(outcome); outcome = slices.run()) {
    if (closing && Atomics.load(closing, 0) !== 0) {
      keeping?.keepLast();
      return;
    }
    if (outcome !== "idle") continue;
    // An upper bound keeps the status line alive while the guest sleeps.
    const milliseconds = Math.min(machine.idleMilliseconds(), STATUS_INTERVAL_MS);
    if (milliseconds > 0) waitForAttention(memory, attention, milliseconds);
  }
}

/** Runs a machine in a worker that must return to its event loop, because all else happens there too. */
export class SliceLoop {
  readonly #slices: Slices;
  readonly #next = new MessageChannel();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #scheduled = false;
  #ended = false;

  /** @param failed told when the emulator itself breaks */
  constructor(
    machine: EngineMachine,
    clock: ClockSource,
    output: OutputBatch,
    post: Post,
    keeping: Keeping | undefined,
    whenQuiet: WhenQuiet | undefined,
    private readonly failed: (error: unknown) => void,
  ) {
    this.#slices = new Slices(machine, clock, output, post, keeping, whenQuiet);
    this.#next.port1.onmessage = () => this.#slice();
  }

  /** Runs the next slice soon: at the start, and whenever something was given to the machine's port. */
  wake(): void {
    if (this.#scheduled || this.#ended) return;
    this.#scheduled = true;
    clearTimeout(this.#timer);
    // A message to oneself is not subject to the four milliseconds that nested timeouts wait at least.
    this.#next.port2.postMessage(null);
  }

  #slice(): void {
    this.#scheduled = false;
    let outcome: RunOutcome;
    try {
      outcome = this.#slices.run();
    } catch (error) {
      this.#ended = true;
      this.failed(error);
      return;
    }
    if (isFinal(outcome)) {
      this.#ended = true;
      this.#next.port1.close();
    } else if (outcome !== "idle") {
      this.wake();
    } else {
      const milliseconds = Math.min(this.#slices.machine.idleMilliseconds(), STATUS_INTERVAL_MS);
      this.#timer = setTimeout(() => this.wake(), milliseconds);
    }
  }
}
