/** Fetches the chunks of remote disks that the guest asks for, and those that it will ask for. */

import type { EngineChunkCache, EnginePort } from "../engine.js";
import { reason } from "./download.js";
import type { RemoteDisk } from "./protocol.js";
import { ImageChanged, readRange } from "./remote-disk.js";

/** Requests at one time: a browser opens six connections to an HTTP/1.1 server. */
const PARALLEL_REQUESTS = 6;

/** Of these, requests for what the guest has not asked for yet: it shall not wait behind them. */
const PARALLEL_PREFETCHES = 3;

/** Neighbouring chunks that wait are fetched by one request of up to this many. */
const CHUNKS_PER_REQUEST = 16;

/** Pauses before each further attempt at a failed request. */
const RETRY_PAUSES_MS: readonly number[] = [300, 1000, 3000];

/** A chunk, and where its bytes are. */
interface Part {
  disk: number;
  index: number;
  /** The file, by its place among those of the disk. */
  file: number;
  offset: number;
  length: number;
  /** Whether the guest waits for it. */
  wanted: boolean;
}

/** What the fetcher uses of a machine's port. */
export type ChunkPort = Pick<
  EnginePort,
  "completeChunk" | "failChunk" | "chunkLocation" | "chunkDigest" | "chunksToPrefetch"
>;

/** What is not given has a default. */
export interface FetcherOptions {
  retryPausesMs?: readonly number[];
  /** Keeps what was fetched. */
  cache?: EngineChunkCache | undefined;
}

/** Delivers through a machine's port. */
export class ChunkFetcher {
  readonly #asked: Part[] = [];
  readonly #ahead: Part[] = [];
  /** The chunks that are in one of the lists or under way. */
  readonly #known = new Map<string, Part>();
  #active = 0;
  #activeAhead = 0;
  readonly #retryPausesMs: readonly number[];
  readonly #cache: EngineChunkCache | undefined;

  /**
   * @param delivered called after each delivery, to wake the vCPU
   * @param failed told in one sentence when the guest is about to see an I/O error
   */
  constructor(
    private readonly disks: readonly RemoteDisk[],
    private readonly chunkBytes: number,
    private readonly port: ChunkPort,
    private readonly delivered: () => void,
    private readonly failed: (message: string) => void,
    { retryPausesMs = RETRY_PAUSES_MS, cache }: FetcherOptions = {},
  ) {
    this.#retryPausesMs = retryPausesMs;
    this.#cache = cache;
  }

  /** Fetches chunk `index` of disk `disk` as soon as a connection is free. */
  request(disk: number, index: number): void {
    const known = this.#known.get(key(disk, index));
    if (known === undefined) {
      this.#enlist(this.#asked, disk, index, true);
    } else if (!known.wanted) {
      known.wanted = true;
      const place = this.#ahead.indexOf(known);
      if (place >= 0) this.#asked.push(...this.#ahead.splice(place, 1));
    }
    this.#startWaiting();
  }

  /** Fetches what the disks' manifests name, in their order, behind all that the guest asks for. */
  prefetch(): void {
    this.disks.forEach((remote, disk) => {
      if (remote.kind !== "chunked") return;
      for (const index of this.port.chunksToPrefetch(disk)) {
        if (!this.#known.has(key(disk, index))) this.#enlist(this.#ahead, disk, index, false);
      }
    });
    this.#startWaiting();
  }

  #enlist(list: Part[], disk: number, index: number, wanted: boolean): void {
    const part = { disk, index, wanted, ...this.#place(disk, index) };
    this.#known.set(key(disk, index), part);
    list.push(part);
  }

  #place(disk: number, index: number): Pick<Part, "file" | "offset" | "length"> {
    const remote = this.disks[disk];
    if (!remote) throw new RangeError(`there is no disk ${disk}`);
    if (remote.kind === "raw") {
      const offset = index * this.chunkBytes;
      return { file: 0, offset, length: Math.min(this.chunkBytes, remote.sizeBytes - offset) };
    }
    const [file, offset, length] = this.port.chunkLocation(disk, index) ?? [];
    if (file === undefined || offset === undefined || length === undefined) {
      throw new RangeError(`chunk ${index} of disk ${disk} is not stored`);
    }
    return { file, offset, length };
  }

  #startWaiting(): void {
    while (this.#active < PARALLEL_REQUESTS) {
      const isAhead = this.#asked.length === 0;
      if (isAhead && (this.#ahead.length === 0 || this.#activeAhead >= PARALLEL_PREFETCHES)) return;
      const batch = this.#takeBatch(isAhead ? this.#ahead : this.#asked);
      this.#active += 1;
      if (isAhead) this.#activeAhead += 1;
      void this.#fetch(batch).finally(() => {
        this.#active -= 1;
        if (isAhead) this.#activeAhead -= 1;
        this.#startWaiting();
      });
    }
  }

  /** Takes the first of a list, and those that lie right behind it in the same file. */
  #takeBatch(list: Part[]): Part[] {
    const batch = list.splice(0, 1);
    for (let last = batch[0]; last !== undefined && batch.length < CHUNKS_PER_REQUEST;) {
      const { disk, file, offset, length }: Part = last;
      last = undefined;
      for (const candidates of [this.#asked, this.#ahead]) {
        const next = candidates.findIndex(
          (part) => part.disk === disk && part.file === file && part.offset === offset + length,
        );
        if (next < 0) continue;
        [last] = candidates.splice(next, 1);
        if (last) batch.push(last);
        break;
      }
    }
    return batch;
  }

  /** Fetches and delivers a batch. Nothing that fails leaves this. */
  async #fetch(batch: Part[]): Promise<void> {
    let rest = await this.#takeFromCache(batch);
    for (let attempt = 0; rest.length > 0; attempt += 1) {
      try {
        rest = await this.#fetchOnce(rest, attempt > 0);
      } catch (error) {
        // What came before the failure has been delivered.
        rest = rest.filter((part) => this.#known.has(key(part.disk, part.index)));
        const pauseMs = this.#retryPausesMs[attempt];
        if (pauseMs === undefined || error instanceof ImageChanged || rest.every((part) => !part.wanted)) {
          this.#giveUp(rest, error);
          return;
        }
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
      }
    }
  }

  /** Delivers what the cache has. Returns what it has not. */
  async #takeFromCache(batch: Part[]): Promise<Part[]> {
    const rest: Part[] = [];
    for (const part of batch) {
      const digest = this.#cache && this.port.chunkDigest(part.disk, part.index);
      const bytes = digest === undefined ? undefined : this.#cache?.get(digest);
      if (digest === undefined || bytes === undefined) {
        rest.push(part);
        continue;
      }
      try {
        this.#deliver(part, bytes);
        // What the guest asks for in the meantime comes first.
        await new Promise((resolve) => setTimeout(resolve, 0));
      } catch {
        this.#cache?.remove(digest);
        rest.push(part);
      }
    }
    return rest;
  }

  /** Fetches parts, of which each lies right behind the one before. Returns those to be fetched anew. */
  async #fetchOnce(parts: Part[], isRetry: boolean): Promise<Part[]> {
    const [first] = parts;
    const remote = first && this.disks[first.disk];
    if (!remote) return [];
    // Between two attempts, parts in the middle may have been delivered.
    const isBroken = (part: Part, at: number): boolean => {
      const before = parts[at - 1];
      return before !== undefined && before.offset + before.length !== part.offset;
    };
    const end = parts.findIndex(isBroken);
    const now = end < 0 ? parts : parts.slice(0, end);
    const length = now.reduce((sum, part) => sum + part.length, 0);
    let at = 0;
    let filled = 0;
    let target = new Uint8Array(first.length);
    for await (const piece of readRange(remote, first.file, first.offset, length, isRetry)) {
      for (let used = 0; used < piece.byteLength;) {
        const part = now[at];
        if (!part) throw new Error("the server sent more than was asked for");
        const taken = piece.subarray(used, used + part.length - filled);
        target.set(taken, filled);
        used += taken.byteLength;
        filled += taken.byteLength;
        if (filled < part.length) continue;
        this.#deliver(part, target);
        this.#keep(part, target);
        at += 1;
        filled = 0;
        target = new Uint8Array(now[at]?.length ?? 0);
      }
    }
    if (at < now.length) throw new Error("the server sent less than was asked for");
    return end < 0 ? [] : parts.slice(end);
  }

  /** @throws Error if the bytes are not those of the chunk */
  #deliver({ disk, index }: Part, bytes: Uint8Array): void {
    const problem = this.port.completeChunk(disk, index, bytes);
    if (problem !== undefined) throw new Error(problem);
    this.#known.delete(key(disk, index));
    this.delivered();
  }

  #keep({ disk, index }: Part, bytes: Uint8Array): void {
    const digest = this.#cache && this.port.chunkDigest(disk, index);
    // A cache that cannot grow any more still has what it has.
    if (digest !== undefined) this.#cache?.put(digest, bytes);
  }

  /** Fails what the guest waits for; the rest is fetched when it does. */
  #giveUp(parts: Part[], error: unknown): void {
    parts.forEach(({ disk, index }) => this.#known.delete(key(disk, index)));
    const wanted = parts.filter((part) => part.wanted);
    wanted.forEach(({ disk, index }) => this.port.failChunk(disk, index, reason(error)));
    const [first] = wanted;
    const remote = first && this.disks[first.disk];
    if (!remote) return;
    const name = remote.source instanceof Blob ? "the opened file" : remote.source;
    this.failed(
      `A part of the disk image could not be read from ${name} (${reason(error)}); ` +
        `the guest sees a disk error. Check the connection and restart the machine.`,
    );
    this.delivered();
  }
}

/** The disks, with the names of their packs, which the emulator has read from their manifests. */
export function withPacks(disks: readonly RemoteDisk[], port: Pick<EnginePort, "chunkPacks">): RemoteDisk[] {
  return disks.map((remote, disk) =>
    remote.kind === "chunked" ? { ...remote, packs: port.chunkPacks(disk)?.split("\n") ?? [] } : remote,
  );
}

function key(disk: number, index: number): string {
  return `${disk}:${index}`;
}
