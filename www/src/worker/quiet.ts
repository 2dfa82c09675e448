/** Tells when the guest has been quiet for a while. */

/** The share of its time that a quiet guest may run. */
const QUIET_SHARE = 0.5;

/** The time over which that share is taken. */
const WINDOW_MS = 250;

/** Watches how much of its time the guest runs. */
export class Quiet {
  #windowAt = performance.now();
  #ranMs = 0;
  #since = this.#windowAt;

  /** Since when the guest has been quiet. */
  get since(): number {
    return this.#since;
  }

  /** Notes that the guest ran for `ranMs` until `now`. Tells whether there is anything new to be said of it. */
  note(ranMs: number, now: number): boolean {
    this.#ranMs += ranMs;
    const elapsed = now - this.#windowAt;
    if (elapsed < WINDOW_MS) return false;
    if (this.#ranMs > elapsed * QUIET_SHARE) this.#since = now;
    this.#windowAt = now;
    this.#ranMs = 0;
    return true;
  }

  /** Notes that the guest is not quiet now. */
  disturb(): void {
    this.#since = performance.now();
  }

  /** Leaves out what has passed since the last note: it was not the guest's doing. */
  skipTo(now: number): void {
    this.#windowAt = now;
  }
}

/** How long the guest is quiet, and shows nothing, before what can wait is done: a user reads and types meanwhile. */
const QUIET_MS = 3000;

/** What can wait until the guest is quiet waits no longer than this. */
const LONGEST_WAIT_MS = 30_000;

/** Something to be done once, as soon as the guest is quiet. */
export class WhenQuiet {
  readonly #quiet = new Quiet();
  readonly #latest = performance.now() + LONGEST_WAIT_MS;
  #action: (() => void) | undefined;

  constructor(action: () => void) {
    this.#action = action;
  }

  /** Notes that the guest has printed something for the user. */
  noteOutput(): void {
    this.#quiet.disturb();
  }

  /** Notes that the guest ran for `ranMs` until `now`, and does it if that is due. */
  noteSlice(ranMs: number, now: number): void {
    if (this.#action === undefined || !this.#quiet.note(ranMs, now)) return;
    if (now - this.#quiet.since >= QUIET_MS || now >= this.#latest) this.act();
  }

  /** Does it now, if it has not been done. */
  act(): void {
    const action = this.#action;
    this.#action = undefined;
    action?.();
  }
}
