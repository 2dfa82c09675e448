/** Kernels and disk images in files, read synchronously by the worker that runs the vCPU. */

import { createHash } from "node:crypto";
import {
  appendFileSync,
  closeSync,
  constants,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";

import type { EngineFile, MemoryFile, SynchronousDisk } from "../engine.js";
import { checkDiskSize, DinghyError } from "../options.js";
import { reason } from "../worker/download.js";
import { engine } from "../worker/engine-shared.js";
import type { DiskFile } from "./protocol.js";

/**
 * Returns the contents of a file; a kernel is unpacked if it is gzip-compressed. An initial RAM
 * file system stays packed: the guest's kernel unpacks it, in any format it knows.
 *
 * @param what the file, by its name in messages
 * @throws DinghyError if it cannot be read
 */
export function readImage(
  what: "kernel" | "initial RAM file system" | "snapshot",
  source: string | Uint8Array,
): Uint8Array {
  if (source instanceof Uint8Array) return source;
  let bytes: Buffer;
  try {
    bytes = readFileSync(source);
  } catch (error) {
    throw unreadable(what, source, error);
  }
  if (what !== "kernel" || bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  try {
    return gunzipSync(bytes);
  } catch {
    throw new DinghyError(`The ${what} ${source} is a damaged gzip file; build or download it again.`);
  }
}

/** Lets the emulator in this thread load the files beside the snapshot in the file `snapshot`. */
export function serveMemoryFiles(snapshot: string): void {
  (globalThis as { dinghyMemoryFile?: MemoryFile }).dinghyMemoryFile = (name) =>
    new Uint8Array(readFileSync(join(`${snapshot}.pages`, name)));
}

/**
 * Opens a disk image.
 *
 * @throws DinghyError if it cannot be opened or its size is no multiple of a sector
 */
export function openDisk({ path, writes, overlay, identity, recordReads }: DiskFile): SynchronousDisk {
  let file: number;
  let sizeBytes: number;
  try {
    file = openSync(path, writes === "through" ? constants.O_RDWR : constants.O_RDONLY);
    const status = fstatSync(file);
    if (!status.isFile()) throw new Error("it is not a file");
    sizeBytes = status.size;
  } catch (error) {
    throw unreadable("disk", path, error);
  }
  try {
    checkDiskSize(path, sizeBytes);
  } catch (error) {
    closeSync(file);
    throw error;
  }
  const kept =
    overlay === undefined ? {} : { overlay: openOverlay(overlay), identity: identity ?? identityOf(file, sizeBytes) };
  const record = recordReads === undefined ? undefined : recorder(recordReads);
  return {
    kind: "synchronous",
    sizeBytes,
    writes,
    identity,
    ...kept,
    read: (offset, length) => {
      record?.(offset, length);
      return readFully(file, offset, length);
    },
    write: (offset, data) => writeFully(file, offset, data),
    flush: () => fsyncSync(file),
  };
}

/** Bytes at the start of an image that tell it from others: a file system's superblock and tables are there. */
const IDENTITY_BYTES = 1024 * 1024;

function identityOf(file: number, sizeBytes: number): string {
  const start = readFully(file, 0, Math.min(IDENTITY_BYTES, sizeBytes));
  return `${sizeBytes} ${createHash("sha256").update(start).digest("hex")}`;
}

/**
 * Opens the file of an overlay, or makes it.
 *
 * @throws DinghyError if it cannot be opened
 */
function openOverlay(path: string): EngineFile {
  let file: number;
  try {
    file = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o666);
  } catch (error) {
    throw unreadable("overlay", path, error);
  }
  return {
    size: () => fstatSync(file).size,
    read: (offset, length) => readFully(file, offset, length),
    write: (offset, data) => writeFully(file, offset, data),
    truncate: (size) => ftruncateSync(file, size),
    flush: () => fdatasyncSync(file),
  };
}

/** Notes in the new file `path`, a line each, the chunks that are read, in the order in which they are read first. */
function recorder(path: string): (offset: number, length: number) => void {
  const chunkBytes = engine.chunkBytes();
  const seen = new Set<number>();
  writeFileSync(path, "");
  return (offset, length) => {
    const last = Math.floor((offset + length - 1) / chunkBytes);
    for (let chunk = Math.floor(offset / chunkBytes); chunk <= last; chunk += 1) {
      if (seen.has(chunk)) continue;
      seen.add(chunk);
      appendFileSync(path, `${chunk}\n`);
    }
  };
}

function readFully(file: number, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length;) {
    const count = readSync(file, bytes, done, length - done, offset + done);
    if (count === 0) throw new Error("the file has become shorter since the start");
    done += count;
  }
  return bytes;
}

function writeFully(file: number, offset: number, data: Uint8Array): void {
  for (let done = 0; done < data.byteLength;) {
    done += writeSync(file, data, done, data.byteLength - done, offset + done);
  }
}

function unreadable(what: string, path: string, error: unknown): DinghyError {
  return new DinghyError(
    `The ${what} ${path} cannot be opened (${reason(error)}); check the name and the permissions.`,
  );
}
