/** Disk images on a server or in a `Blob`, read in pieces. */

import { checkDiskSize, DinghyError } from "../options.js";
import { reason } from "./download.js";
import type { RemoteDisk } from "./protocol.js";

/**
 * Finds out how large a disk is, and that its server answers byte ranges.
 *
 * @throws DinghyError if the image cannot be used
 */
export async function probe(source: string | Blob): Promise<RemoteDisk> {
  if (source instanceof Blob) {
    checkDiskSize("from a file", source.size);
    return { source, sizeBytes: source.size, entityTag: undefined };
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
  return { source, sizeBytes, entityTag: response.headers.get("etag") ?? undefined };
}

/** Reads `length` bytes of a disk from byte `offset`, in one attempt.
 * @throws Error that says why it failed */
export async function readRange(disk: RemoteDisk, offset: number, length: number): Promise<Uint8Array> {
  if (disk.source instanceof Blob) {
    return new Uint8Array(await disk.source.slice(offset, offset + length).arrayBuffer());
  }
  const response = await fetch(disk.source, {
    headers: { range: `bytes=${offset}-${offset + length - 1}` },
  });
  if (response.status !== 206) {
    await response.body?.cancel();
    throw new Error(`the server answered ${response.status} in place of 206`);
  }
  const entityTag = response.headers.get("etag") ?? undefined;
  if (entityTag !== disk.entityTag) {
    await response.body?.cancel();
    throw new ImageChanged("the image has changed on the server since the start");
  }
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (bytes.byteLength !== length) {
    throw new Error(`the server sent ${bytes.byteLength} bytes in place of ${length}`);
  }
  return bytes;
}

/** The image is another one than at the start; asking again does not help. */
export class ImageChanged extends Error {}
