/** What serves a shared directory: the interface, which any object can have, and its errors. */

type Awaitable<T> = T | Promise<T>;

/** What a file is. */
export type FileKind = "file" | "directory" | "link" | "fifo" | "socket" | "character-device" | "block-device";

/** What is known of a file beside its contents. Times are milliseconds since 1970. */
export interface FileStatus {
  kind: FileKind;
  /** Bytes of contents. */
  size: number;
  /** Permission bits; `0o644` if not given, `0o755` of a directory. */
  permissions?: number;
  /** Owner; root, 0, if not given. */
  user?: number;
  /** Group; 0 if not given. */
  group?: number;
  /** How many names it has; 1 if not given. */
  links?: number;
  /** A number that no other file of the directory has, below 2⁶⁴; one is made up from its path if not given. */
  inode?: bigint;
  /** Units of 512 bytes that it takes; as its size needs if not given. */
  blocks?: number;
  /** Last change of the contents; 1970 if not given. */
  modified?: number;
  /** Last access to the contents; as `modified` if not given. */
  accessed?: number;
  /** Last change of contents or attributes; as `modified` if not given. */
  changed?: number;
}

/** An entry of a directory. */
export interface FileEntry {
  name: string;
  kind: FileKind;
  /** As in {@link FileStatus}. */
  inode?: bigint;
}

/** How a new file begins. */
export interface NewFile {
  permissions: number;
  user: number;
  group: number;
}

/** Attributes to set; what is not given stays. */
export interface StatusChange extends Partial<NewFile> {
  /** Bytes of contents: what is cut off is gone, what is added is zero. */
  size?: number;
  /** A time, or the present. */
  accessed?: number | "now";
  modified?: number | "now";
}

/** A file that is open. What of it is missing, the guest cannot do (EOPNOTSUPP). */
export interface OpenFile {
  /** Returns `length` bytes from byte `offset`, fewer only at the end of the file. */
  read(offset: number, length: number): Awaitable<Uint8Array>;
  /** Stores all `bytes` at byte `offset`. */
  write?(offset: number, bytes: Uint8Array): Awaitable<void>;
  /** As {@link FileProvider.stat}, which is asked instead if it is missing. */
  stat?(): Awaitable<FileStatus>;
  /** As {@link FileProvider.change}, which is asked instead if it is missing. */
  change?(change: StatusChange): Awaitable<void>;
  /** Makes what was written durable. */
  sync?(): Awaitable<void>;
  /** Ends its use. */
  close?(): Awaitable<void>;
}

/**
 * Serves a directory to the guest. Paths have components divided by `/`, none of which is empty, `.` or `..`; the top
 * directory's path is empty. Links are the guest's matter: no operation may follow one.
 *
 * Each operation may answer later. One that throws gives the guest an error: {@link FileError} names it, system errors of
 * node and exceptions of the browser's file systems are known, all else is EIO. What is missing, the guest cannot do
 * (EOPNOTSUPP).
 */
export interface FileProvider {
  stat(path: string): Awaitable<FileStatus>;
  /** The entries of a directory, in any order. */
  list(path: string): Awaitable<Iterable<FileEntry>>;
  /** Opens a regular file that exists. */
  open(path: string, mode: { read: boolean; write: boolean; truncate: boolean }): Awaitable<OpenFile>;
  /** Makes a regular file that must not exist, and opens it for writing. */
  create?(path: string, file: NewFile, mode: { read: boolean }): Awaitable<OpenFile>;
  change?(path: string, change: StatusChange): Awaitable<void>;
  makeDirectory?(path: string, directory: NewFile): Awaitable<void>;
  /** Makes a symbolic link to `target`. */
  makeLink?(path: string, target: string, link: NewFile): Awaitable<void>;
  /** What a symbolic link leads to. */
  readLink?(path: string): Awaitable<string>;
  /** Gives a file one more name. */
  link?(path: string, to: string): Awaitable<void>;
  /** Moves an entry, over an existing one if need be, as rename(2) does. */
  rename?(path: string, to: string): Awaitable<void>;
  /** Takes the name of a file that is no directory away. */
  remove?(path: string): Awaitable<void>;
  /** Removes an empty directory. */
  removeDirectory?(path: string): Awaitable<void>;
  /** Bytes of the file system, and how many of them are free; as good as unlimited if it is missing. */
  room?(path: string): Awaitable<{ bytes: number; free: number }>;
}

/** Linux's numbers of the errors that a provider can name (asm-generic/errno.h). */
export const ERROR_NUMBERS = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  EMFILE: 24,
  EFBIG: 27,
  ENOSPC: 28,
  EROFS: 30,
  EMLINK: 31,
  ENAMETOOLONG: 36,
  ENOTEMPTY: 39,
  ELOOP: 40,
  EILSEQ: 84,
  EOPNOTSUPP: 95,
  ETIMEDOUT: 110,
  ESTALE: 116,
  EDQUOT: 122,
} as const;

/** The name of an error of a file system. */
export type ErrorName = keyof typeof ERROR_NUMBERS;

/** An error of a provider, which the guest sees as it is. */
export class FileError extends Error {
  override name = "FileError";

  constructor(
    readonly code: ErrorName,
    message: string = code,
  ) {
    super(message);
  }
}

/** What the exceptions of the browser's file systems mean. */
const EXCEPTIONS: Readonly<Record<string, ErrorName>> = {
  InvalidModificationError: "ENOTEMPTY",
  NoModificationAllowedError: "EBUSY",
  NotAllowedError: "EACCES",
  NotFoundError: "ENOENT",
  QuotaExceededError: "ENOSPC",
  SecurityError: "EACCES",
  TypeMismatchError: "ENOTDIR",
};

/** Linux's number for what a provider has thrown; nothing if it says nothing. */
export function errorNumber(error: unknown): number | undefined {
  if (typeof DOMException !== "undefined" && error instanceof DOMException) {
    const known = EXCEPTIONS[error.name];
    return known && ERROR_NUMBERS[known];
  }
  const code = (error as { code?: unknown } | null | undefined)?.code;
  // node says ENOTSUP where Linux's two names share a number.
  const name = code === "ENOTSUP" ? "EOPNOTSUPP" : code;
  return typeof name === "string" && name in ERROR_NUMBERS ? ERROR_NUMBERS[name as ErrorName] : undefined;
}
