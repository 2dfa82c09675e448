/** The cache of images in the origin's private file system, from a worker. */

import type { CacheFiles, NewFile } from "../registry/files.js";
import { MemoryFiles } from "../registry/files.js";
import { imageFolder } from "../storage.js";
import type { SyncAccessHandle, SyncFileHandle } from "./own-files.js";

/** Where files are while they are written. */
const NEW = "new";

/** What browsers have of a file and their types do not. */
interface MovableFile extends SyncFileHandle {
  move(folder: FileSystemDirectoryHandle, name: string): Promise<void>;
}

/** Opens the cache, in memory where this browser keeps no files. */
export async function openImageCache(): Promise<CacheFiles> {
  try {
    return await openFolder(await imageFolder());
  } catch {
    return new MemoryFiles();
  }
}

async function openFolder(root: FileSystemDirectoryHandle): Promise<CacheFiles> {
  const options = { create: true };
  const blobs = await (await root.getDirectoryHandle("blobs", options)).getDirectoryHandle("sha256", options);
  const folders = new Map([
    ["", root],
    ["blobs/sha256", blobs],
    ["refs", await root.getDirectoryHandle("refs", options)],
    [NEW, await root.getDirectoryHandle(NEW, options)],
  ]);
  const folderOf = (name: string): FileSystemDirectoryHandle => {
    const folder = folders.get(name);
    if (!folder) throw new Error(`the cache has no folder ${name}`);
    return folder;
  };
  const place = (path: string): [FileSystemDirectoryHandle, string] => {
    const slash = path.lastIndexOf("/");
    return [folderOf(path.slice(0, Math.max(slash, 0))), path.slice(slash + 1)];
  };
  const find = async (path: string): Promise<File | undefined> => {
    const [folder, name] = place(path);
    try {
      return await (await folder.getFileHandle(name)).getFile();
    } catch (error) {
      if (error instanceof DOMException && error.name === "NotFoundError") return undefined;
      throw error;
    }
  };
  await removeLeft(folderOf(NEW));
  return {
    size: async (name) => (await find(name))?.size,
    read(name, from, to) {
      const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
      find(name)
        .then((file) => (file ?? new Blob([])).slice(from, to).stream().pipeTo(writable))
        .catch((error: unknown) => writable.abort(error).catch(() => undefined));
      return readable;
    },
    async list(name) {
      const names: string[] = [];
      for await (const found of folderOf(name).keys()) names.push(found);
      return names;
    },
    create: () => create(folderOf(NEW), place),
    async remove(path) {
      const [folder, name] = place(path);
      await folder.removeEntry(name).catch((error: unknown) => {
        if (!(error instanceof DOMException && error.name === "NotFoundError")) throw error;
      });
    },
  };
}

/** Removes what an earlier worker has left; what another one is writing is locked and stays. */
async function removeLeft(folder: FileSystemDirectoryHandle): Promise<void> {
  for await (const name of folder.keys()) await folder.removeEntry(name).catch(() => undefined);
}

async function create(
  folder: FileSystemDirectoryHandle,
  place: (path: string) => [FileSystemDirectoryHandle, string],
): Promise<NewFile> {
  const temporary = crypto.randomUUID();
  const handle = (await folder.getFileHandle(temporary, { create: true })) as MovableFile;
  // Only workers have files that are written at once.
  if (!("createSyncAccessHandle" in handle)) return stream(folder, handle, place);
  const access: SyncAccessHandle = await handle.createSyncAccessHandle();
  let size = 0;
  return {
    get size() {
      return size;
    },
    write(bytes) {
      const written = access.write(bytes, { at: size });
      size += written;
      return written === bytes.byteLength
        ? Promise.resolve()
        : Promise.reject(new DOMException("the browser has no room left", "QuotaExceededError"));
    },
    async keep(path) {
      access.flush();
      access.close();
      const [target, name] = place(path);
      await handle.move(target, name);
    },
    async discard() {
      access.close();
      await folder.removeEntry(temporary);
    },
  };
}

/** The same in a page. */
async function stream(
  folder: FileSystemDirectoryHandle,
  handle: FileSystemFileHandle & Pick<MovableFile, "move">,
  place: (path: string) => [FileSystemDirectoryHandle, string],
): Promise<NewFile> {
  const writable = await handle.createWritable();
  let size = 0;
  return {
    get size() {
      return size;
    },
    async write(bytes) {
      await writable.write(bytes as Uint8Array<ArrayBuffer>);
      size += bytes.byteLength;
    },
    async keep(path) {
      await writable.close();
      await handle.move(...place(path));
    },
    async discard() {
      await writable.abort();
      await folder.removeEntry(handle.name);
    },
  };
}
