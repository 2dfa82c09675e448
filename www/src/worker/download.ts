/** Downloads of whole files: the kernel and the initial RAM file system. */

import { DinghyError } from "../options.js";

/** Told after each piece: bytes so far, and all there are where the server says so. */
export type Progress = (loadedBytes: number, totalBytes: number | undefined) => void;

/**
 * Returns the contents of `source`; a kernel is unpacked if it is gzip-compressed. An initial RAM
 * file system stays packed: the guest's kernel unpacks it, in any format it knows.
 *
 * @param what the file, by its name in messages
 * @throws DinghyError if it cannot be had
 */
export async function load(
  what: "kernel" | "initial RAM file system",
  source: string | Uint8Array,
  progress: Progress,
): Promise<Uint8Array> {
  const bytes = typeof source === "string" ? await download(what, source, progress) : source;
  return what === "kernel" && isGzip(bytes) ? unpack(what, bytes) : bytes;
}

async function download(what: string, url: string, progress: Progress): Promise<Uint8Array> {
  const response = await fetch(url).catch((error: unknown) => {
    throw new DinghyError(
      `The ${what} could not be downloaded from ${url} (${reason(error)}); check the connection and reload.`,
    );
  });
  if (!response.ok) {
    throw new DinghyError(
      `The ${what} could not be downloaded: the server answered ${response.status} for ${url}; ` +
        `check that the file is there.`,
    );
  }
  // A server's catch-all page in place of a missing file would reach the guest as a broken kernel.
  if (response.headers.get("content-type")?.startsWith("text/html")) {
    throw new DinghyError(`The server sent a web page in place of the ${what} ${url}; check that the file is there.`);
  }
  // Content-Length counts the bytes on the wire, the reader those after decoding.
  const length = Number(response.headers.get("content-length"));
  const totalBytes = length > 0 && !response.headers.has("content-encoding") ? length : undefined;
  return collect(what, url, response, (loaded) => progress(loaded, totalBytes));
}

async function collect(
  what: string,
  url: string,
  response: Response,
  progress: (loadedBytes: number) => void,
): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let loaded = 0;
  const reader = response.body?.getReader();
  try {
    for (let piece = await reader?.read(); piece && !piece.done; piece = await reader?.read()) {
      pieces.push(piece.value);
      loaded += piece.value.byteLength;
      progress(loaded);
    }
  } catch (error) {
    throw new DinghyError(
      `The download of the ${what} from ${url} broke off after ${loaded} bytes (${reason(error)}); ` +
        `check the connection and reload.`,
    );
  }
  return concatenate(pieces, loaded);
}

/** Joins `pieces`, which hold `length` bytes together. */
export function concatenate(pieces: readonly Uint8Array[], length: number): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(length);
  let offset = 0;
  for (const piece of pieces) {
    whole.set(piece, offset);
    offset += piece.byteLength;
  }
  return whole;
}

function isGzip(bytes: Uint8Array): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b;
}

async function unpack(what: string, bytes: Uint8Array): Promise<Uint8Array> {
  const packed = new Blob([bytes as Uint8Array<ArrayBuffer>]).stream();
  const stream = packed.pipeThrough(new DecompressionStream("gzip"));
  try {
    return new Uint8Array(await new Response(stream).arrayBuffer());
  } catch {
    throw new DinghyError(`The ${what} is a damaged gzip file; download or build it again.`);
  }
}

/** What an error says, for the end of a sentence. */
export function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
