/**
 * The files beside a snapshot, which hold what its machine does not need at once: loaded when the guest touches what is in
 * them, and all of them in the background once the guest is quiet.
 */

import type { EnginePort, MemoryFile } from "../engine.js";
import { reason } from "./download.js";

/** Pauses before the attempts at a file that the guest waits for. The worker stands still meanwhile, as the guest does. */
const PAUSES_MS: readonly number[] = [0, 300, 1000, 3000];

/** Requests at one time in the background: the guest's own come first. */
const PARALLEL_REQUESTS = 2;

/** Pauses before what has failed in the background is tried again. */
const FIRST_PAUSE_MS = 3000;
const LONGEST_PAUSE_MS = 60_000;

/** The address of a file beside the snapshot at the address `snapshot`. */
function addressOf(snapshot: string, name: string): URL {
  const url = new URL(snapshot);
  url.pathname += `.pages/${name}`;
  return url;
}

/** Lets the emulator in this worker load the files beside the snapshot at the address `snapshot`. */
export function serveMemoryFiles(snapshot: string): void {
  (globalThis as { dinghyMemoryFile?: MemoryFile }).dinghyMemoryFile = (name, attempt) => {
    standStill(PAUSES_MS[attempt] ?? 0);
    const url = addressOf(snapshot, name);
    // What a cache on the way had was wrong.
    if (attempt > 0) url.searchParams.set("attempt", String(attempt));
    const request = new XMLHttpRequest();
    request.open("GET", url, false);
    request.responseType = "arraybuffer";
    try {
      request.send();
    } catch (error) {
      throw new Error(`${url.href} could not be downloaded (${reason(error)})`, { cause: error });
    }
    if (request.status !== 200) throw new Error(`the server answered ${request.status} for ${url.href}`);
    return new Uint8Array(request.response as ArrayBuffer);
  };
}

/** Blocks the worker, which may be one that cannot share memory to wait on. */
function standStill(milliseconds: number): void {
  for (const until = performance.now() + milliseconds; performance.now() < until;);
}

/** Brings the parts of a machine's memory that have not come yet, while it runs. */
export class RestOfMemory {
  #hasStarted = false;

  constructor(
    private readonly port: Pick<EnginePort, "memoryParts" | "absentMemoryFile" | "provideMemory">,
    private readonly snapshot: string,
  ) {}

  /** Fetches everything; what cannot be had is tried again until it can. */
  start(): void {
    if (this.#hasStarted) return;
    this.#hasStarted = true;
    void this.#fetchAll();
  }

  async #fetchAll(): Promise<void> {
    let parts = Array.from({ length: this.port.memoryParts() }, (_, part) => part);
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
      const failed: number[] = [];
      const waiting = parts[Symbol.iterator]();
      const workers = Array.from({ length: PARALLEL_REQUESTS }, async () => {
        for (const part of waiting) if (!(await this.#fetch(part))) failed.push(part);
      });
      await Promise.all(workers);
      if (failed.length === 0) return;
      parts = failed;
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }

  /** Fetches a part, unless it has come. Tells whether it is there. */
  async #fetch(part: number): Promise<boolean> {
    const name = this.port.absentMemoryFile(part);
    if (name === undefined) return true;
    try {
      const response = await fetch(addressOf(this.snapshot, name));
      if (!response.ok) throw new Error(`the server answered ${response.status}`);
      const problem = this.port.provideMemory(part, new Uint8Array(await response.arrayBuffer()));
      if (problem !== undefined) throw new Error(problem);
      return true;
    } catch (error) {
      console.warn(`a part of the saved memory could not be fetched yet: ${reason(error)}`);
      return false;
    }
  }
}
