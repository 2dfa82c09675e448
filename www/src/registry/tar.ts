/** Archives as `tar` makes them (POSIX ustar, with what pax and GNU add for long names). */

import { collect } from "../bytes.js";
import { DinghyError } from "../options.js";

const BLOCK = 512;
/** Longest name that an extra header may give. */
const MOST_NAME_BYTES = 64 * 1024;
/** Entries that are looked at, at most. */
const MOST_ENTRIES = 100_000;

/** The places of fields in a header, and their bytes. */
const FIELD = { name: [0, 100], size: [124, 12], type: [156, 1], magic: [257, 5], prefix: [345, 155] } as const;

/** The files in an archive, by name, without reading them.
 * @throws DinghyError if it is none */
export async function readArchive(archive: Blob): Promise<Map<string, Blob>> {
  const files = new Map<string, Blob>();
  let longName: string | undefined;
  let at = 0;
  for (let entries = 0; at + BLOCK <= archive.size; entries++) {
    const header = new Uint8Array(await archive.slice(at, at + BLOCK).arrayBuffer());
    if (header.every((byte) => byte === 0)) break;
    const size = sizeOf(header);
    if (entries > MOST_ENTRIES || text(header, "magic") !== "ustar" || !(at + BLOCK + size <= archive.size)) {
      throw new DinghyError(
        "This file is no archive of an image; use one that docker save or an export here has made.",
      );
    }
    const content = archive.slice(at + BLOCK, at + BLOCK + size);
    const type = text(header, "type");
    if (type === "x" || type === "L") {
      const bytes = await collect(content.stream(), MOST_NAME_BYTES);
      longName = type === "x" ? paxPath(bytes) : new TextDecoder().decode(bytes).replace(/\0.*$/s, "");
    } else {
      const prefix = text(header, "prefix");
      const name = longName ?? (prefix === "" ? "" : `${prefix}/`) + text(header, "name");
      longName = undefined;
      if (type === "0" || type === "") files.set(name.replace(/^\.\//, ""), content);
    }
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
  }
  return files;
}

function text(header: Uint8Array, field: keyof typeof FIELD): string {
  const [start, length] = FIELD[field];
  return new TextDecoder().decode(header.subarray(start, start + length)).replace(/\0.*$/s, "");
}

/** Octal digits; large sizes are in binary behind a set bit (GNU). */
function sizeOf(header: Uint8Array): number {
  const [start, length] = FIELD.size;
  if (((header[start] ?? 0) & 0x80) === 0) return parseInt(text(header, "size").trim() || "0", 8);
  return header.subarray(start + 1, start + length).reduce((size, byte) => size * 256 + byte, 0);
}

function paxPath(bytes: Uint8Array): string | undefined {
  return /(?:^|\n)\d+ path=(.*)\n/.exec(new TextDecoder().decode(bytes))?.[1];
}

/** What goes into an archive. */
export interface ArchiveEntry {
  /** Of 100 bytes at most. */
  name: string;
  size: number;
  /** Its `size` bytes, asked for when its turn comes. */
  open: () => ReadableStream<Uint8Array> | Promise<ReadableStream<Uint8Array>>;
}

/** An archive of files, made as it is read. */
export function writeArchive(entries: readonly ArchiveEntry[]): ReadableStream<Uint8Array> {
  async function* parts(): AsyncGenerator<Uint8Array, undefined> {
    for (const { name, size, open } of entries) {
      yield headerOf(name, size);
      const reader = (await open()).getReader();
      for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
      yield new Uint8Array((BLOCK - (size % BLOCK)) % BLOCK);
    }
    yield new Uint8Array(2 * BLOCK);
    return undefined;
  }
  const archive = parts();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const part = await archive.next();
        if (part.done === true) controller.close();
        else controller.enqueue(part.value);
      },
      async cancel() {
        await archive.return(undefined);
      },
    },
    { highWaterMark: 0 },
  );
}

function headerOf(name: string, size: number): Uint8Array {
  const header = new Uint8Array(BLOCK);
  const put = (at: number, value: string): void => header.set(new TextEncoder().encode(value), at);
  const octal = (value: number, digits: number): string => `${value.toString(8).padStart(digits, "0")}\0`;
  put(0, name);
  put(100, octal(0o644, 7));
  put(108, octal(0, 7));
  put(116, octal(0, 7));
  // Eight GiB and more do not fit eleven digits.
  if (size < 8 ** 11) put(124, octal(size, 11));
  else new DataView(header.buffer).setBigUint64(128, BigInt(size));
  if (size >= 8 ** 11) header[124] = 0x80;
  put(136, octal(0, 11));
  put(148, "        ");
  put(156, "0");
  put(257, "ustar\x0000");
  put(
    148,
    `${header
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, "0")}\0 `,
  );
  return header;
}
