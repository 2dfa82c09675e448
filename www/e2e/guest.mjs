/** The Docker guest in node, from the snapshot in which Docker is ready. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { Machine } from "../lib/node/index.js";

const BUILD = fileURLToPath(new URL("../../build/guest/", import.meta.url));
/** What the shell tells the terminal about pasted text. */
const PASTE_MARKS = ["h", "l"].map((letter) => `${String.fromCharCode(27)}[?2004${letter}`);
/** Far more than anything takes here on two busy cores. */
const PATIENCE_MS = 300_000;

/**
 * The guest's shell behind a terminal, as a function that runs a command and resolves to what it prints, and its exit status.
 *
 * @param {{ onData: (listener: (bytes: Uint8Array) => void) => unknown, write: (text: string) => unknown }} terminal
 * @param {() => string | undefined} gone what the guest printed last, if it is gone
 */
export function shellOf(terminal, gone) {
  let printed = "";
  let commands = 0;
  terminal.onData((bytes) => (printed += Buffer.from(bytes).toString()));
  return async (command) => {
    const number = (commands += 1);
    const from = printed.length;
    // The terminal shows the command as well: what ends it is not in it as it is printed.
    terminal.write(`${command}\necho "ended-"${number} $?\n`);
    const end = new RegExp(`^ended-${number} (\\d+)\\r?$`, "m");
    for (const deadline = Date.now() + PATIENCE_MS; Date.now() < deadline;) {
      const found = end.exec(printed.slice(from));
      if (found) {
        const text = ["\r", ...PASTE_MARKS].reduce(
          (shown, mark) => shown.replaceAll(mark, ""),
          printed.slice(from, from + found.index),
        );
        return { text, code: Number(found[1]) };
      }
      const last = gone();
      if (last !== undefined) throw new Error(`the guest is gone: ${last}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new Error(`${command} did not end; the guest printed:\n${printed.slice(from)}`);
  };
}

/** Starts a guest with a network. Its commands run one after the other in the shell of its terminal. */
export async function restoreDocker(network) {
  const { image } = JSON.parse(readFileSync(join(BUILD, "chunks/manifest.json"), "utf8"));
  const machine = await Machine.restore({
    snapshot: join(BUILD, "docker.snapshot"),
    disks: [{ path: join(BUILD, "guest.ext4"), writes: "overlay", identity: image }],
    network,
    size: { columns: 200, rows: 50 },
  });
  const run = shellOf(machine.console, () => machine.exit?.lastLines.join("\n"));
  const stop = async () => {
    machine.stop();
    await machine.gone;
  };
  return { machine, run, stop };
}
