/** Disk images on a server or in a `Blob`, read in pieces. */

import { checkDiskSize, DinghyError } from "../options.js";
import { reason } from "./download.js";
import type { BootDisk, ChunkedImage, RawImage, RemoteDisk } from "./protocol.js";

/**
 * Finds out what must be known of a disk before the machine is made.
 *
 * @throws DinghyError if the image cannot be used
 */
export function openImage({ source, format }: BootDisk): Promise<RemoteDisk> {
  return format === "chunked" && !(source instanceof Blob) ? fetchManifest(source) : probe(source);
}

/** Fetches the list of an image's chunks. */
async function fetchManifest(source: string): Promise<ChunkedImage> {
  const response = await fetch(source).catch((error: unknown) => {
    throw new DinghyError(
      `The disk image ${source} could not be reached (${reason(error)}); check the connection and reload.`,
    );
  });
  if (!response.ok) {
    await response.body?.cancel();
    throw new DinghyError(
      `The disk image could not be reached: the server answered ${response.status} for ${source}; ` +
        `check that the file is there.`,
    );
  }
  return { kind: "chunked", source, packs: [], manifest: new Uint8Array(await response.arrayBuffer()) };
}

/**
 * Finds out how large a raw image is, and that its server answers byte ranges.
 *
 * @throws DinghyError if the image cannot be used
 */
export async function probe(source: string | Blob): Promise<RawImage> {
  if (source instanceof Blob) {
    checkDiskSize("from a file", source.size);
    return { kind: "raw", source, sizeBytes: source.size, entityTag: undefined };
  }
  const response = await fetch(source, { headers: { range: "bytes=0-511" } }).catch((error: unknown) => {
    throw new DinghyError(
      `The disk image ${source} could not be reached (${reason(error)}); check the connection and reload.`,
    );
  });
  await response.body?.cancel();
  if (!response.ok) {
    throw new DinghyError(
      `The disk image could not be reached: the server answered ${response.status} for ${source}; ` +
        `check that the file is there.`,
    );
  }
  const total = /^bytes 0-\d+\/(\d+)$/.exec(response.headers.get("content-range") ?? "")?.[1];
  if (response.status !== 206 || total === undefined) {
    throw new DinghyError(
      `The server of the disk image ${source} does not answer byte ranges; ` +
        `serve it from one that does (for example nginx, or \`make run\`).`,
    );
  }
  const sizeBytes = Number(total);
  checkDiskSize(source, sizeBytes);
  return { kind: "raw", source, sizeBytes, entityTag: response.headers.get("etag") ?? undefined };
}

/**
 * Reads `length` bytes of one of a disk's files from byte `offset`, in one attempt.
 *
 * @param isRetry whether what a cache on the way has may be bad
 * @throws Error that says why it failed
 */
export async function* readRange(
  disk: RemoteDisk,
  file: number,
  offset: number,
  length: number,
  isRetry: boolean,
): AsyncGenerator<Uint8Array> {
  if (disk.source instanceof Blob) {
    yield new Uint8Array(await disk.source.slice(offset, offset + length).arrayBuffer());
    return;
  }
  const response = await fetch(disk.kind === "raw" ? disk.source : packAddress(disk, file), {
    headers: { range: `bytes=${offset}-${offset + length - 1}` },
    cache: isRetry ? "reload" : "default",
  });
  if (response.status !== 206 || !response.body) {
    await response.body?.cancel();
    throw new Error(
      response.status === 200
        ? "the server does not answer byte ranges; serve it from one that does"
        : `the server answered ${response.status} in place of 206`,
    );
  }
  // A pack's name tells what is in it; a raw image may be replaced by another.
  if (disk.kind === "raw" && (response.headers.get("etag") ?? undefined) !== disk.entityTag) {
    await response.body.cancel();
    throw new ImageChanged("the image has changed on the server since the start");
  }
  const reader = response.body.getReader();
  try {
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) yield piece.value;
  } finally {
    // After a chunk that is none, the rest is of no use.
    await reader.cancel();
  }
}

function packAddress(disk: ChunkedImage, file: number): string {
  const name = disk.packs[file];
  if (name === undefined) throw new RangeError(`there is no pack ${file}`);
  return new URL(name, disk.source).href;
}

/** The image is another one than at the start; asking again does not help. */
export class ImageChanged extends Error {}
