/** The emulator's own files in the origin's private file system. */

import type { CacheFile, Engine, EngineChunkCache, EngineFile } from "../engine.js";
import { DinghyError } from "../options.js";
import { keptFile, overlayFile, overlayLock, privateFolder } from "../storage.js";
import { reason } from "./download.js";

/** How long a page waits for another one, which may just be closing, to let go of a file. */
const WAIT_MS = 2000;
const RETRY_MS = 50;

/** The largest the cache of chunks becomes: an image, and the one before it. */
const CACHE_BYTES = 256 * 1024 * 1024;
const CACHE_FILE = "chunks.cache";

/** What dedicated workers have of a file; the DOM's types describe a window's. */
export interface SyncAccessHandle {
  getSize(): number;
  read(buffer: Uint8Array, options: { at: number }): number;
  write(buffer: Uint8Array, options: { at: number }): number;
  truncate(size: number): void;
  flush(): void;
  close(): void;
}

/** A file of the origin's private file system, in a worker. */
export interface SyncFileHandle extends FileSystemFileHandle {
  createSyncAccessHandle(): Promise<SyncAccessHandle>;
}

/**
 * Opens the overlay `name` for this worker alone, for as long as it lives.
 *
 * @param failed told in one sentence when the guest is about to see an I/O error
 * @returns `undefined` where the browser keeps no files, which `failed` is told
 * @throws DinghyError with the code `disk-in-use` if another page has it open
 */
export async function openOverlay(name: string, failed: (message: string) => void): Promise<EngineFile | undefined> {
  let handle: SyncFileHandle;
  try {
    await hold(overlayLock(name));
    handle = (await overlayFile(name, true)) as SyncFileHandle;
  } catch (error) {
    if (error instanceof DinghyError) throw error;
    failed(`This browser keeps no files for this page (${reason(error)}): what the guest writes is gone at a reload.`);
    return undefined;
  }
  const access = await openAlone(handle).catch(() => {
    throw inUse();
  });
  return fileOf(access, (error) => {
    const isFull = error instanceof DOMException && error.name === "QuotaExceededError";
    failed(
      isFull
        ? "This browser has no room left for what the guest writes; the guest sees a disk error. " +
            "Remove what is not needed in the guest, or reset its disk."
        : `What the guest writes could not be kept (${reason(error)}); the guest sees a disk error.`,
    );
  });
}

/**
 * Opens the file in which the machine with the overlay `name`, which this worker holds, is kept.
 *
 * @returns `undefined` where there is none and `create` is false, or the browser keeps no files
 */
export async function openKept(name: string, create: boolean): Promise<EngineFile | undefined> {
  try {
    const handle = (await keptFile(name, create)) as SyncFileHandle;
    return fileOf(await openAlone(handle), () => undefined);
  } catch (error) {
    // Without it, the next visit boots.
    if (error instanceof DOMException) return undefined;
    throw error;
  }
}

/**
 * Opens the file of the cache of chunks for this worker. There is none where another page has it, or the browser
 * keeps no files.
 */
export async function openCacheFile(): Promise<void> {
  try {
    const folder = await privateFolder();
    const handle = await folder.getFileHandle(CACHE_FILE, { create: true });
    const access = await (handle as SyncFileHandle).createSyncAccessHandle();
    (globalThis as { dinghyCacheFile?: CacheFile }).dinghyCacheFile = cacheFileOf(access);
  } catch {
    // The cache only saves time.
  }
}

/** The cache in this worker's file, if there is one that can be used. Call it when the engine is there. */
export function openChunkCache({ ChunkCache }: Pick<Engine, "ChunkCache">): EngineChunkCache | undefined {
  return "dinghyCacheFile" in globalThis ? ChunkCache.open(CACHE_BYTES) : undefined;
}

function cacheFileOf(access: SyncAccessHandle): CacheFile {
  const attempt = <Result>(action: () => Result, failed: Result): Result => {
    try {
      return action();
    } catch {
      return failed;
    }
  };
  return {
    size: () => attempt(() => access.getSize(), -1),
    read: (offset, buffer) =>
      attempt(() => {
        // Views of shared memory are not taken everywhere.
        const bytes = new Uint8Array(buffer.byteLength);
        const count = access.read(bytes, { at: offset });
        buffer.set(bytes);
        return count;
      }, -1),
    write: (offset, data) => attempt(() => access.write(data.slice(), { at: offset }) === data.byteLength, false),
    truncate: (size) =>
      attempt(() => {
        access.truncate(size);
        return true;
      }, false),
  };
}

function inUse(): DinghyError {
  return new DinghyError("The disk is in use by this machine in another tab.", "disk-in-use");
}

/** Takes a lock until this worker ends. */
function hold(lock: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const forEver = (): Promise<never> => {
      resolve();
      return new Promise(() => undefined);
    };
    navigator.locks.request(lock, { signal: AbortSignal.timeout(WAIT_MS) }, forEver).catch((error: unknown) => {
      const isTaken = error instanceof DOMException && ["TimeoutError", "AbortError"].includes(error.name);
      reject(isTaken ? inUse() : (error as Error));
    });
  });
}

/** Opens a file that a worker which has just ended may still hold. */
async function openAlone(handle: SyncFileHandle): Promise<SyncAccessHandle> {
  for (const startedAt = performance.now(); ;) {
    try {
      return await handle.createSyncAccessHandle();
    } catch (error) {
      if (performance.now() - startedAt > WAIT_MS) throw error;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

/** The file as the emulator uses it. `failed` sees what a write or flush throws, before the emulator does. */
function fileOf(access: SyncAccessHandle, failed: (error: unknown) => void): EngineFile {
  const reporting = (action: () => void): void => {
    try {
      action();
    } catch (error) {
      failed(error);
      throw error;
    }
  };
  return {
    size: () => access.getSize(),
    read: (offset, length) => {
      const bytes = new Uint8Array(length);
      return bytes.subarray(0, access.read(bytes, { at: offset }));
    },
    write: (offset, data) =>
      reporting(() => {
        const written = access.write(data, { at: offset });
        if (written !== data.byteLength) {
          throw new DOMException(`${written} of ${data.byteLength} bytes were written`, "QuotaExceededError");
        }
      }),
    truncate: (size) => reporting(() => access.truncate(size)),
    flush: () => reporting(() => access.flush()),
  };
}
