/** A directory of the browser, served to the guest: of its private file system (OPFS), or one that the user has picked. */

import {
  FileError,
  type FileEntry,
  type FileProvider,
  type FileStatus,
  type OpenFile,
  type StatusChange,
} from "./provider.js";

/** The permissions of all files. */
const PERMISSIONS = { file: 0o644, directory: 0o755 } as const;

/** Most bytes of a file that can lose its name while it is open: they are kept in memory. */
const REST_BYTES_MAX = 64 << 20;

/** What the browser's types lack: iteration, and moving, which is there in the private file system only. */
type Folder = FileSystemDirectoryHandle & AsyncIterable<[string, FileSystemHandle]>;
type Movable = FileSystemFileHandle & { move?: (folder: FileSystemDirectoryHandle, name: string) => Promise<void> };

/**
 * Serves a directory of the browser. What a browser's directories cannot keep, the guest cannot set: new files have the
 * permissions and the owner that all have; to change those, or times but to the present, is EPERM; links are EOPNOTSUPP,
 * and a directory's new place is EXDEV, upon which `mv` copies. Written data are in the file when it is synchronized or
 * closed: until then the browser keeps them in a copy.
 *
 * @param folder from `navigator.storage.getDirectory()`, `showDirectoryPicker()` or a directory in one; where the page
 *   may only read it, so may the guest
 */
export function browserDirectory(folder: FileSystemDirectoryHandle): FileProvider {
  return new BrowserDirectory(folder);
}

class BrowserDirectory implements FileProvider {
  /** Files that are open, by their paths. */
  readonly #files = new Map<string, BrowserFile>();

  constructor(private readonly root: FileSystemDirectoryHandle) {}

  async stat(path: string): Promise<FileStatus> {
    if (path === "") return folderStatus;
    const open = this.#files.get(path);
    if (open) return open.stat();
    const found = await this.#entry(path);
    if (found.kind === "directory") return folderStatus;
    return statusOf(await (found as FileSystemFileHandle).getFile());
  }

  async list(path: string): Promise<FileEntry[]> {
    const entries: FileEntry[] = [];
    for await (const [name, { kind }] of (await this.#folder(path)) as Folder) entries.push({ name, kind });
    return entries;
  }

  async open(path: string, { truncate }: { truncate: boolean }): Promise<OpenFile> {
    const { folder, name } = await this.#place(path);
    const file = this.#opened(path, await folder.getFileHandle(name));
    if (truncate) await file.change({ size: 0 });
    return this.#user(path, file);
  }

  async create(path: string): Promise<OpenFile> {
    const { folder, name } = await this.#place(path);
    await checkFree(folder, name);
    return this.#user(path, this.#opened(path, await folder.getFileHandle(name, { create: true })));
  }

  async change(path: string, change: StatusChange): Promise<void> {
    const found = path === "" ? this.root : await this.#entry(path);
    if (found.kind === "directory") {
      checkChange(change, "directory");
      return;
    }
    const user = this.#user(path, this.#opened(path, found as FileSystemFileHandle));
    try {
      await user.change?.(change);
    } finally {
      await user.close?.();
    }
  }

  async makeDirectory(path: string): Promise<void> {
    const { folder, name } = await this.#place(path);
    await checkFree(folder, name);
    await folder.getDirectoryHandle(name, { create: true });
  }

  async rename(path: string, to: string): Promise<void> {
    if (path === to) return;
    const source = await this.#place(path);
    const target = await this.#place(to);
    const moved = await entry(source.folder, source.name);
    if (moved.kind !== "file") throw new FileError("EXDEV");
    const file = moved as Movable;
    const replaced = await entry(target.folder, target.name).catch(ignoreMissing);
    if (replaced?.kind === "directory") throw new FileError("EISDIR");
    await this.#files.get(path)?.sync();
    await this.#files.get(to)?.detach();
    if (file.move && (await isPrivate(this.root))) {
      if (replaced) await target.folder.removeEntry(target.name);
      await file.move(target.folder, target.name);
    } else {
      const copy = await target.folder.getFileHandle(target.name, { create: true });
      // Ends the writing as well.
      await (await file.getFile()).stream().pipeTo(await copy.createWritable());
      await source.folder.removeEntry(source.name);
    }
    const open = this.#files.get(path);
    this.#files.delete(to);
    this.#files.delete(path);
    if (open) {
      await open.move(await target.folder.getFileHandle(target.name));
      this.#files.set(to, open);
    }
  }

  async remove(path: string): Promise<void> {
    const { folder, name } = await this.#place(path);
    if ((await entry(folder, name)).kind === "directory") throw new FileError("EISDIR");
    const open = this.#files.get(path);
    // What is read from it later has to be there.
    await open?.detach();
    await folder.removeEntry(name);
    this.#files.delete(path);
  }

  async removeDirectory(path: string): Promise<void> {
    const { folder, name } = await this.#place(path);
    if ((await entry(folder, name)).kind !== "directory") throw new FileError("ENOTDIR");
    await folder.removeEntry(name);
  }

  async room(): Promise<{ bytes: number; free: number }> {
    const { quota = 0, usage = 0 } = await navigator.storage.estimate();
    return { bytes: quota, free: Math.max(quota - usage, 0) };
  }

  /** The open file at `path`, which all who open it share. */
  #opened(path: string, handle: FileSystemFileHandle): BrowserFile {
    const file = this.#files.get(path) ?? new BrowserFile(handle);
    this.#files.set(path, file);
    return file;
  }

  /** One use of an open file. */
  #user(path: string, file: BrowserFile): OpenFile {
    file.users += 1;
    return {
      read: (offset, length) => file.read(offset, length),
      write: (offset, bytes) => file.write(offset, bytes),
      stat: () => file.stat(),
      change: (change) => file.change(change),
      sync: () => file.sync(),
      close: async () => {
        file.users -= 1;
        if (file.users > 0) return;
        for (const [known, other] of this.#files) if (other === file) this.#files.delete(known);
        if (this.#files.get(path) === file) this.#files.delete(path);
        await file.sync();
      },
    };
  }

  async #place(path: string): Promise<{ folder: FileSystemDirectoryHandle; name: string }> {
    const names = path.split("/");
    const name = names.pop() ?? "";
    return { folder: await this.#folder(names.join("/")), name };
  }

  async #entry(path: string): Promise<FileSystemHandle> {
    const { folder, name } = await this.#place(path);
    return entry(folder, name);
  }

  async #folder(path: string): Promise<FileSystemDirectoryHandle> {
    let folder = this.root;
    for (const name of path === "" ? [] : path.split("/")) folder = await folder.getDirectoryHandle(name);
    return folder;
  }
}

/** A file that is open, with what was written to it last. Its operations happen in order. */
class BrowserFile {
  users = 0;
  #writable: FileSystemWritableFileStream | undefined;
  #size = 0;
  /** What is left of a file that has lost its name. */
  #rest: Uint8Array | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor(private handle: FileSystemFileHandle) {}

  read(offset: number, length: number): Promise<Uint8Array> {
    return this.#next(async () => {
      if (this.#rest) return this.#rest.slice(offset, offset + length);
      await this.#finish();
      const piece = (await this.handle.getFile()).slice(offset, offset + length);
      return new Uint8Array(await piece.arrayBuffer());
    });
  }

  write(offset: number, bytes: Uint8Array): Promise<void> {
    return this.#next(async () => {
      if (this.#rest) {
        this.#resizeRest(Math.max(this.#rest.byteLength, offset + bytes.byteLength)).set(bytes, offset);
        return;
      }
      const writable = await this.#begin();
      await writable.write({ type: "write", position: offset, data: bytes as Uint8Array<ArrayBuffer> });
      this.#size = Math.max(this.#size, offset + bytes.byteLength);
    });
  }

  stat(): Promise<FileStatus> {
    return this.#next(async () => {
      if (this.#rest) return { kind: "file", size: this.#rest.byteLength, links: 0 };
      if (this.#writable)
        return { kind: "file", size: this.#size, modified: Date.now(), permissions: PERMISSIONS.file };
      return statusOf(await this.handle.getFile());
    });
  }

  change(change: StatusChange): Promise<void> {
    return this.#next(async () => {
      checkChange(change, "file");
      if (this.#rest) {
        if (change.size !== undefined) this.#resizeRest(change.size);
        return;
      }
      // A file that is written anew has the present as its time.
      if (change.size === undefined && change.modified === undefined) return;
      const writable = await this.#begin();
      if (change.size === undefined) return;
      await writable.truncate(change.size);
      this.#size = change.size;
    });
  }

  /** Has what was written in the file. */
  sync(): Promise<void> {
    return this.#next(() => this.#finish());
  }

  /** The file is elsewhere now. */
  async move(handle: FileSystemFileHandle): Promise<void> {
    await this.#next(() => {
      this.handle = handle;
      return Promise.resolve();
    });
  }

  /** Takes the contents along, because the name goes. */
  async detach(): Promise<void> {
    await this.#next(async () => {
      await this.#finish();
      if ((await this.handle.getFile()).size > REST_BYTES_MAX) throw new FileError("EBUSY");
      this.#rest = new Uint8Array(await (await this.handle.getFile()).arrayBuffer());
    });
  }

  #resizeRest(size: number): Uint8Array {
    const rest = new Uint8Array(size);
    rest.set((this.#rest ?? rest).subarray(0, size));
    this.#rest = rest;
    return rest;
  }

  #next<T>(action: () => Promise<T>): Promise<T> {
    const outcome = this.#last.then(action);
    this.#last = outcome.catch(() => undefined);
    return outcome;
  }

  async #begin(): Promise<FileSystemWritableFileStream> {
    if (!this.#writable) {
      this.#size = (await this.handle.getFile()).size;
      this.#writable = await this.handle.createWritable({ keepExistingData: true });
    }
    return this.#writable;
  }

  async #finish(): Promise<void> {
    const writable = this.#writable;
    this.#writable = undefined;
    await writable?.close();
  }
}

const folderStatus: FileStatus = { kind: "directory", size: 0, permissions: PERMISSIONS.directory };

function statusOf(file: File): FileStatus {
  return { kind: "file", size: file.size, modified: file.lastModified, permissions: PERMISSIONS.file };
}

/** The entry `name` of a directory, whatever it is. */
async function entry(folder: FileSystemDirectoryHandle, name: string): Promise<FileSystemHandle> {
  try {
    return await folder.getFileHandle(name);
  } catch (error) {
    if (!(error instanceof DOMException && error.name === "TypeMismatchError")) throw error;
    return folder.getDirectoryHandle(name);
  }
}

function ignoreMissing(error: unknown): undefined {
  if (!(error instanceof DOMException && error.name === "NotFoundError")) throw error;
}

async function checkFree(folder: FileSystemDirectoryHandle, name: string): Promise<void> {
  if (await entry(folder, name).catch(ignoreMissing)) throw new FileError("EEXIST");
}

/** Whether a directory is in the page's private file system, where files can be moved. */
async function isPrivate(folder: FileSystemDirectoryHandle): Promise<boolean> {
  return (await (await navigator.storage.getDirectory()).resolve(folder)) !== null;
}

function checkChange(
  { permissions, user, group, accessed, modified }: StatusChange,
  kind: keyof typeof PERMISSIONS,
): void {
  const isOther = permissions !== undefined && permissions !== PERMISSIONS[kind];
  const isOwned = (user ?? 0) !== 0 || (group ?? 0) !== 0;
  const isTimed = [accessed, modified].some((time) => time !== undefined && time !== "now");
  if (isOther || isOwned || isTimed) throw new FileError("EPERM");
}
