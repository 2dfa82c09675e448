/**
 * Keeps a machine in a file beside its disk's overlay while it runs: when the guest is quiet and has done something
 * since, and when the page asks for it, because it is hidden.
 */

import type { EngineKeeper, EngineMachine } from "../engine.js";
import { reason } from "./download.js";
import { Quiet } from "./quiet.js";
import type { Post } from "./run-loop.js";

/** How long the guest is quiet before it is kept. */
const QUIET_MS = 1000;

/** Between two keepings passes this many times as long as the first of them took, but no more than the longest pause. */
const PAUSE_FACTOR = 10;
const LONGEST_PAUSE_MS = 4000;

/** The keeping of one machine. */
export class Keeping {
  readonly #quiet = new Quiet();
  #hasShown = true;
  #notBefore = 0;
  #hasEnded = false;

  constructor(
    private readonly machine: EngineMachine,
    private readonly keeper: EngineKeeper,
    private readonly post: Post,
  ) {}

  /** Notes that the guest has printed something for the user. */
  noteOutput(): void {
    this.#hasShown = true;
    this.#quiet.disturb();
  }

  /** Notes that the guest ran for `ranMs` until `now`, and keeps it if that is due. */
  noteSlice(ranMs: number, now: number): void {
    if (!this.#quiet.note(ranMs, now) || this.#hasEnded) return;
    const isDue = now - this.#quiet.since >= QUIET_MS && now >= this.#notBefore;
    if (isDue && (this.#hasShown || this.machine.hasMovedOnFrom(this.keeper))) this.keep();
  }

  /** Keeps the machine now. A failure ends the keeping, and frees the room that the file takes for the disk. */
  keep(): void {
    if (this.#hasEnded) return;
    const startedAt = performance.now();
    try {
      const pages = this.machine.keep(this.keeper);
      const now = performance.now();
      const tookMs = now - startedAt;
      this.#notBefore = now + Math.min(tookMs * PAUSE_FACTOR, LONGEST_PAUSE_MS);
      // What keeping took is not the guest's doing.
      this.#quiet.skipTo(now);
      if (pages === undefined) return;
      this.#hasShown = false;
      this.post({ type: "kept", pages, fileBytes: this.keeper.fileBytes(), tookMs });
    } catch (error) {
      this.#hasEnded = true;
      this.keeper.clear();
      const message = `The running machine cannot be kept (${reason(error)}): the next visit boots it from its disk.`;
      this.post({ type: "error", message, fatal: false });
    }
  }

  /** Keeps the machine for the last time, if it has done anything since it was kept: its page goes away. */
  keepLast(): void {
    if (this.#hasShown || this.machine.hasMovedOnFrom(this.keeper)) this.keep();
  }

  /** The machine is no more, and nothing is to go on from. */
  end(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.keeper.clear();
  }
}
