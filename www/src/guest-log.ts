/** What the guest printed, as lines of text. */

/** Kept per console; a boot log without `quiet` is about a thousand lines. */
const KEPT_LINES = 5000;

/** An unfinished line is cut here, so that a guest that prints no line end cannot fill memory. */
const LONGEST_LINE = 4096;

/** Escape sequences (colours, cursor, titles) and the other control characters except tab. */
// eslint-disable-next-line no-control-regex -- control characters are what this is about
const CONTROLS = /\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]|[\x00-\x08\x0b-\x1f\x7f]/g;

/** Collects the output of one console, and finds whole lines in it. */
export class GuestLog {
  readonly #decoder = new TextDecoder();
  readonly #lines: string[] = [];
  #unfinished = "";

  /** @param onLine called with each finished line, without control characters */
  constructor(private readonly onLine: (line: string) => void = () => undefined) {}

  /** Takes output; lines and characters may be split anywhere. */
  append(bytes: Uint8Array): void {
    const pieces = (this.#unfinished + this.#decoder.decode(bytes, { stream: true })).split("\n");
    this.#unfinished = (pieces.pop() ?? "").slice(-LONGEST_LINE);
    for (const piece of pieces) {
      const line = piece.replace(CONTROLS, "").trimEnd();
      this.#lines.push(line);
      this.onLine(line);
    }
    if (this.#lines.length > KEPT_LINES) this.#lines.splice(0, this.#lines.length - KEPT_LINES);
  }

  /** The last `count` lines that are not empty, the unfinished one included. */
  lastLines(count: number): string[] {
    const lines = [...this.#lines, this.#unfinished.replace(CONTROLS, "").trimEnd()];
    return lines.filter((line) => line !== "").slice(-count);
  }

  /** All that is kept. */
  text(): string {
    return [...this.#lines, this.#unfinished.replace(CONTROLS, "")].join("\n");
  }
}
