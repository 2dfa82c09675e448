/** A directory of this computer, served to the guest. */

import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  futimesSync,
  lchownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  renameSync,
  rmdirSync,
  statfsSync,
  symlinkSync,
  unlinkSync,
  writeSync,
  type BigIntStats,
  type Dirent,
} from "node:fs";
import { join } from "node:path";

import {
  FileError,
  type FileEntry,
  type FileKind,
  type FileProvider,
  type FileStatus,
  type NewFile,
  type OpenFile,
  type StatusChange,
} from "../files/provider.js";
import { DinghyError } from "../options.js";
import { reason } from "../worker/download.js";

/** Where Linux shows the files that a process has open. */
const DESCRIPTORS = "/proc/self/fd";
const HAS_DESCRIPTORS = process.platform === "linux";

/** Linux's O_PATH, which node does not name: a descriptor that names a file only. */
const PATH_ONLY = 0o10000000;

/** How directories are passed through. */
const THROUGH = constants.O_DIRECTORY | constants.O_NOFOLLOW | (HAS_DESCRIPTORS ? PATH_ONLY : 0);

/** Puts files of other file systems apart whose numbers are the same, in a 64-bit number. */
const DEVICE_FACTOR = 0x9e3779b97f4a7c15n;

function kindOf(
  file: Pick<Dirent, "isFile" | "isDirectory" | "isSymbolicLink" | "isFIFO" | "isSocket" | "isBlockDevice">,
): FileKind {
  if (file.isFile()) return "file";
  if (file.isDirectory()) return "directory";
  if (file.isSymbolicLink()) return "link";
  if (file.isFIFO()) return "fifo";
  if (file.isSocket()) return "socket";
  return file.isBlockDevice() ? "block-device" : "character-device";
}

const milliseconds = (nanoseconds: bigint): number => Number(nanoseconds) / 1e6;

/**
 * A directory of this computer and what is below it, and nothing else: each component of a path is opened without
 * following links, from a descriptor of its directory. Where there is no `/proc`, as on other systems than Linux, links are
 * looked for first; there, whoever changes the directory on this computer meanwhile can mislead it.
 *
 * The guest acts with the rights of this process. Only if that is root's, files that the guest makes belong to the guest's
 * users. Pipes, sockets and devices are seen, but not opened.
 */
export class HostDirectory implements FileProvider {
  readonly #root: number;
  readonly #device: bigint;
  readonly #isRoot = process.getuid?.() === 0;

  /** @throws DinghyError if it cannot be opened */
  constructor(private readonly folder: string) {
    try {
      this.#root = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
      this.#device = fstatSync(this.#root, { bigint: true }).dev;
    } catch (error) {
      throw new DinghyError(`The directory ${folder} cannot be shared (${reason(error)}); name one that you may read.`);
    }
  }

  /** Lets go of it. */
  end(): void {
    closeSync(this.#root);
  }

  stat(path: string): FileStatus {
    return this.#at(path, (file) => this.#status(lstatSync(file, { bigint: true })));
  }

  list(path: string): FileEntry[] {
    const names = path === "" ? [] : path.split("/");
    return this.#inside(names, (folder, place) =>
      readdirSync(HAS_DESCRIPTORS ? `${DESCRIPTORS}/${folder}` : place, { withFileTypes: true, encoding: "utf8" })
        // Names that are no text cannot be asked for.
        .filter(({ name }) => !name.includes("\ufffd"))
        .map((entry) => ({ name: entry.name, kind: kindOf(entry) })),
    );
  }

  open(path: string, { read, write, truncate }: { read: boolean; write: boolean; truncate: boolean }): OpenFile {
    const access = write ? (read ? constants.O_RDWR : constants.O_WRONLY) : constants.O_RDONLY;
    // What is no regular file is not waited for.
    const flags = access | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const file = this.#at(path, (name) => openSync(name, flags));
    try {
      if (!fstatSync(file).isFile()) throw new FileError("EPERM");
      if (truncate) ftruncateSync(file);
    } catch (error) {
      closeSync(file);
      throw error;
    }
    return new HostFile(file, (status) => this.#status(status));
  }

  create(path: string, file: NewFile, { read }: { read: boolean }): OpenFile {
    const access = read ? constants.O_RDWR : constants.O_WRONLY;
    const flags = access | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    const opened = this.#at(path, (name) => openSync(name, flags, 0o600));
    try {
      if (this.#isRoot) fchownSync(opened, file.user, file.group);
      // The guest has applied its umask; this process's has no say.
      fchmodSync(opened, file.permissions);
    } catch (error) {
      closeSync(opened);
      throw error;
    }
    return new HostFile(opened, (status) => this.#status(status));
  }

  change(path: string, { size, user, group, permissions, accessed, modified }: StatusChange): void {
    this.#at(path, (file) => {
      if (size !== undefined) {
        const opened = openSync(file, constants.O_WRONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
        try {
          ftruncateSync(opened, size);
        } finally {
          closeSync(opened);
        }
      }
      const status = lstatSync(file);
      if (user !== undefined || group !== undefined) lchownSync(file, user ?? status.uid, group ?? status.gid);
      if (permissions !== undefined) this.#setPermissions(file, permissions);
      if (accessed !== undefined || modified !== undefined) {
        lutimesSync(file, seconds(accessed, status.atimeMs), seconds(modified, status.mtimeMs));
      }
    });
  }

  makeDirectory(path: string, directory: NewFile): void {
    this.#at(path, (name) => {
      mkdirSync(name, 0o700);
      if (this.#isRoot) lchownSync(name, directory.user, directory.group);
      this.#setPermissions(name, directory.permissions);
    });
  }

  makeLink(path: string, target: string, link: NewFile): void {
    this.#at(path, (name) => {
      symlinkSync(target, name);
      if (this.#isRoot) lchownSync(name, link.user, link.group);
    });
  }

  readLink(path: string): string {
    return this.#at(path, (name) => readlinkSync(name));
  }

  link(path: string, to: string): void {
    this.#at(path, (name) => this.#at(to, (other) => linkSync(name, other)));
  }

  rename(path: string, to: string): void {
    this.#at(path, (name) => this.#at(to, (other) => renameSync(name, other)));
  }

  remove(path: string): void {
    this.#at(path, (name) => unlinkSync(name));
  }

  removeDirectory(path: string): void {
    this.#at(path, (name) => rmdirSync(name));
  }

  room(): { bytes: number; free: number } {
    const { bsize, blocks, bavail } = statfsSync(this.folder);
    return { bytes: bsize * blocks, free: bsize * bavail };
  }

  /** Uses a name by which the system finds the file at `path`, whose last component is not followed. */
  #at<T>(path: string, use: (name: string) => T): T {
    const names = path === "" ? [] : path.split("/");
    const last = names.pop() ?? ".";
    if (path !== "") checkName(last);
    return this.#inside(names, (folder, place) => use(below(folder, place, last)));
  }

  /** Uses the directory that `names` lead to: a descriptor of it, and its path on this computer. */
  #inside<T>(names: string[], use: (folder: number, place: string) => T): T {
    const through: number[] = [];
    try {
      let folder = this.#root;
      let place = this.folder;
      for (const name of names) {
        checkName(name);
        folder = openSync(below(folder, place, name), constants.O_RDONLY | THROUGH);
        through.push(folder);
        place = join(place, name);
      }
      return use(folder, place);
    } finally {
      through.forEach((folder) => closeSync(folder));
    }
  }

  #setPermissions(name: string, permissions: number): void {
    if (!HAS_DESCRIPTORS) {
      if (lstatSync(name).isSymbolicLink()) throw new FileError("EOPNOTSUPP");
      chmodSync(name, permissions);
      return;
    }
    const file = openSync(name, constants.O_RDONLY | constants.O_NOFOLLOW | PATH_ONLY);
    try {
      if (fstatSync(file).isSymbolicLink()) throw new FileError("EOPNOTSUPP");
      chmodSync(`${DESCRIPTORS}/${file}`, permissions);
    } finally {
      closeSync(file);
    }
  }

  #status(status: BigIntStats): FileStatus {
    const inode =
      status.dev === this.#device ? status.ino : status.ino ^ BigInt.asUintN(64, status.dev * DEVICE_FACTOR);
    return {
      kind: kindOf(status),
      size: Number(status.size),
      permissions: Number(status.mode & 0o7777n),
      user: Number(status.uid),
      group: Number(status.gid),
      links: Number(status.nlink),
      inode,
      blocks: Number(status.blocks),
      accessed: milliseconds(status.atimeNs),
      modified: milliseconds(status.mtimeNs),
      changed: milliseconds(status.ctimeNs),
    };
  }
}

/** Keeps the guest inside, whoever asks.
 * @throws FileError if `name` is no component */
function checkName(name: string): void {
  if (name === "" || name === "." || name === ".." || /[/\0]/.test(name)) throw new FileError("EINVAL");
}

/** A time to set, or the one that there is, as node takes it. */
const seconds = (time: number | "now" | undefined, present: number): number =>
  (time === "now" ? Date.now() : (time ?? present)) / 1000;

/** The entry `name` of a directory that is open, and is found at `place`. */
const below = (folder: number, place: string, name: string): string =>
  HAS_DESCRIPTORS ? `${DESCRIPTORS}/${folder}/${name}` : join(place, name);

class HostFile implements OpenFile {
  constructor(
    private readonly file: number,
    private readonly toStatus: (status: BigIntStats) => FileStatus,
  ) {}

  read(offset: number, length: number): Uint8Array {
    const buffer = new Uint8Array(length);
    let read = 0;
    while (read < length) {
      const count = readSync(this.file, buffer, read, length - read, offset + read);
      if (count === 0) break;
      read += count;
    }
    return buffer.subarray(0, read);
  }

  write(offset: number, bytes: Uint8Array): void {
    for (let written = 0; written < bytes.byteLength;) {
      written += writeSync(this.file, bytes, written, bytes.byteLength - written, offset + written);
    }
  }

  stat(): FileStatus {
    return this.toStatus(fstatSync(this.file, { bigint: true }));
  }

  change({ size, user, group, permissions, accessed, modified }: StatusChange): void {
    if (size !== undefined) ftruncateSync(this.file, size);
    const status = fstatSync(this.file);
    if (user !== undefined || group !== undefined) fchownSync(this.file, user ?? status.uid, group ?? status.gid);
    if (permissions !== undefined) fchmodSync(this.file, permissions);
    if (accessed !== undefined || modified !== undefined) {
      futimesSync(this.file, seconds(accessed, status.atimeMs), seconds(modified, status.mtimeMs));
    }
  }

  sync(): void {
    fsyncSync(this.file);
  }

  close(): void {
    closeSync(this.file);
  }
}
