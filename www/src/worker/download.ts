/** Downloads of whole files: the kernel, the initial RAM file system, a snapshot. */

import { concatenate } from "../bytes.js";
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

/**
 * Gives the contents of `source` to `take`, piece by piece as they come.
 *
 * @param what the file, by its name in messages
 * @throws DinghyError if it cannot be had, and what `take` throws
 */
export async function loadPieces(
  what: string,
  source: string | Uint8Array | Blob,
  progress: Progress,
  take: (piece: Uint8Array) => void,
): Promise<void> {
  if (source instanceof Uint8Array) {
    take(source);
  } else if (source instanceof Blob) {
    await readPieces(what, "a file", new Response(source), () => undefined, take);
  } else {
    const { response, totalBytes } = await request(what, source);
    await readPieces(what, source, response, (loaded) => progress(loaded, totalBytes), take);
  }
}

async function download(what: string, url: string, progress: Progress): Promise<Uint8Array> {
  const { response, totalBytes } = await request(what, url);
  const pieces: Uint8Array[] = [];
  let length = 0;
  await readPieces(
    what,
    url,
    response,
    (loaded) => progress(loaded, totalBytes),
    (piece) => {
      pieces.push(piece);
      length += piece.byteLength;
    },
  );
  return concatenate(pieces, length);
}

async function request(what: string, url: string): Promise<{ response: Response; totalBytes: number | undefined }> {
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
  return { response, totalBytes };
}

async function readPieces(
  what: string,
  name: string,
  response: Response,
  progress: (loadedBytes: number) => void,
  take: (piece: Uint8Array) => void,
): Promise<void> {
  let loaded = 0;
  const reader = response.body?.getReader();
  const next = async (): Promise<Uint8Array | undefined> => {
    try {
      return (await reader?.read())?.value;
    } catch (error) {
      throw new DinghyError(
        `The download of the ${what} from ${name} broke off after ${loaded} bytes (${reason(error)}); ` +
          `check the connection and reload.`,
      );
    }
  };
  for (let piece = await next(); piece !== undefined; piece = await next()) {
    loaded += piece.byteLength;
    progress(loaded);
    take(piece);
  }
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
