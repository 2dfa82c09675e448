/** Joins a machine's consoles to this process's standard input and output. */

import type { Machine } from "./index.js";

/** Ctrl-A: begins a command to dinghy itself. */
const ESCAPE = 0x01;

/** A machine's consoles on this terminal. */
export interface AttachedTerminal {
  /** Gives the terminal back. */
  detach(): void;
}

/** What input means: bytes for the guest, and whether to end the machine. */
export interface Typed {
  bytes: Uint8Array;
  ends: boolean;
}

/** Finds Ctrl-A X in what is typed; Ctrl-A Ctrl-A stands for one Ctrl-A. */
export class EscapeFilter {
  #isEscaped = false;

  /** Takes typed bytes; the two keys may come in separate pieces. */
  take(input: Uint8Array): Typed {
    const bytes: number[] = [];
    for (const byte of input) {
      if (!this.#isEscaped) {
        if (byte === ESCAPE) this.#isEscaped = true;
        else bytes.push(byte);
        continue;
      }
      this.#isEscaped = false;
      if (byte === 0x78 || byte === 0x58) return { bytes: Uint8Array.from(bytes), ends: true };
      bytes.push(byte);
    }
    return { bytes: Uint8Array.from(bytes), ends: false };
  }
}

/**
 * Prints what both consoles print, and types at `device`; a terminal is set to raw mode until `detach`.
 *
 * @param quit called when the user wants to end the machine
 */
export function attachTerminal(machine: Machine, device: "console" | "serial", quit: () => void): AttachedTerminal {
  const { stdin, stdout } = process;
  const guest = machine[device];
  const stopOutput = [machine.serial, machine.console].map((console) => console.onData((bytes) => stdout.write(bytes)));
  const filter = stdin.isTTY ? new EscapeFilter() : undefined;
  const onInput = (data: Buffer): void => {
    const typed = filter?.take(data) ?? { bytes: new Uint8Array(data), ends: false };
    if (typed.bytes.byteLength > 0) guest.write(typed.bytes);
    if (typed.ends) quit();
  };
  const onResize = (): void => machine.console.resize(stdout.columns, stdout.rows);
  // The reader of a pipe may leave before the guest does.
  const onOutputClosed = (): void => machine.stop();
  if (stdin.isTTY) stdin.setRawMode(true);
  stdin.on("data", onInput);
  stdin.resume();
  stdout.on("resize", onResize);
  stdout.on("error", onOutputClosed);
  return {
    detach: () => {
      stopOutput.forEach((stop) => stop());
      stdin.off("data", onInput);
      stdin.pause();
      if (stdin.isTTY) stdin.setRawMode(false);
      stdout.off("resize", onResize);
      // The listener for errors stays: what is still to be written may meet a closed pipe later.
    },
  };
}
