/** The cache of images in a folder of this computer. */

import { createReadStream } from "node:fs";
import { mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";

import { DinghyError } from "../options.js";
import type { CacheFiles, NewFile } from "../registry/files.js";
import { reason } from "../worker/download.js";

/** Where files are while they are written. A start removes what an earlier one has left. */
const NEW = "new";

/**
 * Opens the cache in a folder, which is made where it is not there.
 *
 * @throws DinghyError if it cannot be
 */
export async function openCacheFolder(folder: string): Promise<CacheFiles> {
  try {
    for (const part of ["blobs/sha256", "refs", NEW]) await mkdir(join(folder, part), { recursive: true });
    await removeOld(join(folder, NEW));
  } catch (error) {
    throw new DinghyError(`The registry's cache cannot be kept in ${folder} (${reason(error)}); name another folder.`);
  }
  return {
    size: async (name) => (await stat(join(folder, name)).catch(absent))?.size,
    read(name, from, to) {
      if (from >= to) return new Blob([]).stream();
      const stream = createReadStream(join(folder, name), { start: from, end: to - 1, highWaterMark: 256 * 1024 });
      return Readable.toWeb(stream) as ReadableStream<Uint8Array>;
    },
    list: (name) => readdir(join(folder, name)),
    create: () => create(folder),
    remove: (name) => rm(join(folder, name), { force: true }),
  };
}

/** Removes what is so old that no other process can be writing it. */
async function removeOld(folder: string): Promise<void> {
  const limit = Date.now() - 24 * 3_600_000;
  for (const name of await readdir(folder)) {
    const file = join(folder, name);
    const found = await stat(file).catch(absent);
    if (found && found.mtimeMs < limit) await rm(file, { force: true });
  }
}

async function create(folder: string): Promise<NewFile> {
  const path = join(folder, NEW, crypto.randomUUID());
  const file = await open(path, "wx");
  let size = 0;
  return {
    get size() {
      return size;
    },
    async write(bytes) {
      await file.writeFile(bytes);
      size += bytes.byteLength;
    },
    async keep(name) {
      // A name must not be found with less than the whole behind it, whenever the computer stops.
      await file.datasync();
      await file.close();
      await rename(path, join(folder, name));
    },
    async discard() {
      await file.close();
      await rm(path, { force: true });
    },
  };
}

function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code === "ENOENT") return undefined;
  throw error;
}
