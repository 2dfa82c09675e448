/** Fetches the chunks of remote disks that the guest asks for, several at a time. */

import type { EnginePort } from "../engine.js";
import { reason } from "./download.js";
import type { RemoteDisk } from "./protocol.js";
import { ImageChanged, readRange } from "./remote-disk.js";

/** Requests at one time: a browser opens six connections to an HTTP/1.1 server. */
const PARALLEL_REQUESTS = 6;

/** Neighbouring chunks that wait are fetched by one request of up to this many. */
const CHUNKS_PER_REQUEST = 16;

/** Pauses before each further attempt at a failed request. */
const RETRY_PAUSES_MS: readonly number[] = [300, 1000, 3000];

/** A run of neighbouring chunks of one disk. */
interface Batch {
  disk: number;
  first: number;
  count: number;
}

/** Delivers through a machine's port. */
export class ChunkFetcher {
  readonly #waiting: { disk: number; index: number }[] = [];
  #active = 0;

  /**
   * @param delivered called after each delivery, to wake the vCPU
   * @param failed told in one sentence when the guest is about to see an I/O error
   */
  constructor(
    private readonly disks: readonly RemoteDisk[],
    private readonly chunkBytes: number,
    private readonly port: Pick<EnginePort, "completeChunk" | "failChunk">,
    private readonly delivered: () => void,
    private readonly failed: (message: string) => void,
    private readonly retryPausesMs: readonly number[] = RETRY_PAUSES_MS,
  ) {}

  /** Fetches chunk `index` of disk `disk` as soon as a connection is free. */
  request(disk: number, index: number): void {
    this.#waiting.push({ disk, index });
    this.#startWaiting();
  }

  #startWaiting(): void {
    while (this.#active < PARALLEL_REQUESTS) {
      const batch = this.#takeBatch();
      if (!batch) return;
      this.#active += 1;
      void this.#fetch(batch).finally(() => {
        this.#active -= 1;
        this.#startWaiting();
      });
    }
  }

  /** Takes the oldest request, and those for the chunks right behind it. */
  #takeBatch(): Batch | undefined {
    const oldest = this.#waiting.shift();
    if (!oldest) return undefined;
    const batch = { disk: oldest.disk, first: oldest.index, count: 1 };
    while (batch.count < CHUNKS_PER_REQUEST) {
      const next = this.#waiting.findIndex(
        ({ disk, index }) => disk === batch.disk && index === batch.first + batch.count,
      );
      if (next < 0) break;
      this.#waiting.splice(next, 1);
      batch.count += 1;
    }
    return batch;
  }

  async #fetch({ disk, first, count }: Batch): Promise<void> {
    const remote = this.disks[disk];
    if (!remote) throw new RangeError(`there is no disk ${disk}`);
    const start = first * this.chunkBytes;
    const end = Math.min((first + count) * this.chunkBytes, remote.sizeBytes);
    try {
      const bytes = await this.#readWithRetries(remote, start, end - start);
      for (let chunk = 0; chunk < count; chunk += 1) {
        const from = chunk * this.chunkBytes;
        this.port.completeChunk(disk, first + chunk, bytes.subarray(from, from + this.chunkBytes));
      }
    } catch (error) {
      for (let chunk = 0; chunk < count; chunk += 1) {
        this.port.failChunk(disk, first + chunk, reason(error));
      }
      const name = remote.source instanceof Blob ? "the opened file" : remote.source;
      this.failed(
        `A part of the disk image could not be read from ${name} (${reason(error)}); ` +
          `the guest sees a disk error. Check the connection and restart the machine.`,
      );
    }
    this.delivered();
  }

  async #readWithRetries(disk: RemoteDisk, offset: number, length: number): Promise<Uint8Array> {
    for (const pauseMs of this.retryPausesMs) {
      try {
        return await readRange(disk, offset, length);
      } catch (error) {
        if (error instanceof ImageChanged) throw error;
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
      }
    }
    return readRange(disk, offset, length);
  }
}
