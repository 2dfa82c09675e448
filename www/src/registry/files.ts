/** Where the cache of images keeps its files. Names are paths with `/`, made of letters, digits and `%-_.`. */

import { collect } from "../bytes.js";

/** Files that are whole or not there. */
export interface CacheFiles {
  /** The size of a file in bytes; nothing where there is none. */
  size(name: string): Promise<number | undefined>;
  /** The bytes of a file from `from` up to `to`. */
  read(name: string, from: number, to: number): ReadableStream<Uint8Array>;
  /** The names of the files in a folder, without the folder's. */
  list(folder: string): Promise<string[]>;
  /** Begins a file that has no name yet. */
  create(): Promise<NewFile>;
  /** Removes a file, if it is there. */
  remove(name: string): Promise<void>;
}

/** A file that is being written. */
export interface NewFile {
  /** Bytes that it has. */
  readonly size: number;
  /** Appends bytes. */
  write(bytes: Uint8Array): Promise<void>;
  /** Ends the file, under this name; it replaces one that has it. */
  keep(name: string): Promise<void>;
  /** Ends the file, and forgets it. */
  discard(): Promise<void>;
}

/** Reads a whole file. */
export async function readWhole(files: CacheFiles, name: string): Promise<Uint8Array | undefined> {
  const size = await files.size(name);
  return size === undefined ? undefined : collect(files.read(name, 0, size));
}

/** Writes a whole file. */
export async function writeWhole(files: CacheFiles, name: string, bytes: Uint8Array): Promise<void> {
  const file = await files.create();
  await file.write(bytes);
  await file.keep(name);
}

/** Files in memory, for where none are kept. */
export class MemoryFiles implements CacheFiles {
  readonly #files = new Map<string, Uint8Array[]>();

  size(name: string): Promise<number | undefined> {
    return Promise.resolve(this.#files.get(name)?.reduce((sum, part) => sum + part.byteLength, 0));
  }

  read(name: string, from: number, to: number): ReadableStream<Uint8Array> {
    const parts = this.#files.get(name) ?? [];
    let index = 0;
    let at = 0;
    return new ReadableStream<Uint8Array>(
      {
        pull(controller) {
          for (;;) {
            const part = parts[index++];
            if (!part || at >= to) {
              controller.close();
              return;
            }
            const begin = Math.max(from - at, 0);
            const end = Math.min(to - at, part.byteLength);
            at += part.byteLength;
            if (begin >= end) continue;
            controller.enqueue(part.slice(begin, end));
            return;
          }
        },
      },
      { highWaterMark: 0 },
    );
  }

  list(folder: string): Promise<string[]> {
    const start = `${folder}/`;
    const names = [...this.#files.keys()].filter((name) => name.startsWith(start));
    return Promise.resolve(names.map((name) => name.slice(start.length)));
  }

  create(): Promise<NewFile> {
    const parts: Uint8Array[] = [];
    const files = this.#files;
    let size = 0;
    return Promise.resolve({
      get size() {
        return size;
      },
      write(bytes) {
        parts.push(bytes.slice());
        size += bytes.byteLength;
        return Promise.resolve();
      },
      keep(name) {
        files.set(name, parts);
        return Promise.resolve();
      },
      discard: () => Promise.resolve(),
    } satisfies NewFile);
  }

  remove(name: string): Promise<void> {
    this.#files.delete(name);
    return Promise.resolve();
  }
}
