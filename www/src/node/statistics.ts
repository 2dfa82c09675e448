/** What `dinghy run --stats` prints. */

import type { EngineStatistics } from "../options.js";

/** Figures that tell what a machine has now; all others count. */
const CURRENT_FIGURES: readonly string[] = [
  "cachedBlocks",
  "modules",
  "regions",
  "codeBytes",
] satisfies (keyof EngineStatistics)[];

/** Figures over all boots of a run: sums of what counts, and of the rest what the last boot had. */
export class Totals {
  /** By the names of {@link EngineStatistics}; empty if no boot came so far as to tell any. */
  readonly #figures: Record<string, number> = {};

  /** Adds a boot's last figures. */
  add(statistics: EngineStatistics): void {
    for (const [name, value] of Object.entries<number>({ ...statistics })) {
      const before = CURRENT_FIGURES.includes(name) ? 0 : (this.#figures[name] ?? 0);
      this.#figures[name] = before + value;
    }
  }

  /** The line of JSON, for a run that took so many seconds of time and of the processor. */
  line(seconds: { wall: number; cpu: number }): string {
    const { instructions = 0, ...others } = this.#figures;
    return JSON.stringify({
      instructions,
      wallSeconds: seconds.wall,
      cpuSeconds: seconds.cpu,
      mips: instructions / seconds.cpu / 1e6,
      ...others,
    });
  }
}
