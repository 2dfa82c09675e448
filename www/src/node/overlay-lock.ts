/** Keeps two machines from writing to one overlay. */

import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";

import { DinghyError } from "../options.js";

/** How long a start waits for a machine that is just ending. */
const WAIT_MS = 2000;
const RETRY_MS = 50;

/** The overlays that machines of this process use. */
const used = new Set<string>();

/**
 * Takes the overlay in the file `path` for a machine of this process, noted for others in `path.lock`.
 *
 * @returns what gives it back
 * @throws DinghyError with the code `disk-in-use` if another machine has it
 */
export async function lockOverlay(path: string): Promise<() => void> {
  const lock = `${resolve(path)}.lock`;
  for (const startedAt = performance.now(); !tryLock(path, lock);) {
    if (performance.now() - startedAt > WAIT_MS) {
      throw new DinghyError(`The overlay ${path} is in use by another machine; stop that one first.`, "disk-in-use");
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
  used.add(lock);
  return () => {
    used.delete(lock);
    rmSync(lock, { force: true });
  };
}

function tryLock(path: string, lock: string): boolean {
  try {
    writeFileSync(lock, String(process.pid), { flag: "wx" });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") {
      throw new DinghyError(`The overlay ${path} cannot be locked (${(error as Error).message}); check its folder.`);
    }
  }
  const owner = Number(readFileSync(lock, "utf8"));
  if (used.has(lock) || (owner !== process.pid && isAlive(owner))) return false;
  // Its process was killed.
  rmSync(lock, { force: true });
  return false;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
