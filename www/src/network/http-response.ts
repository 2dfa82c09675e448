/** Reads HTTP/1.1 responses (RFC 9112) from a stream of bytes. */

import { DinghyError } from "../options.js";

/** How the end of a body is found. */
export type Framing =
  | { kind: "length"; left: number }
  | { kind: "chunked"; left: number; isFirst: boolean; isOver: boolean }
  | { kind: "until-end" };

/** The head of a response. */
export interface ResponseHead {
  status: number;
  statusText: string;
  headers: Headers;
  framing: Framing;
  /** Whether the connection can carry another request afterwards. */
  isKept: boolean;
}

/** Most bytes of a head, as in common servers and proxies. */
const MOST_HEAD_BYTES = 64 * 1024;

const malformed = (what: string): DinghyError => new DinghyError(`The server in the guest sent ${what}.`);

/** One response after the other. */
export class ResponseReader {
  readonly #source: ReadableStreamDefaultReader<Uint8Array>;
  #rest: Uint8Array = new Uint8Array(0);
  /** Whether anything has come since this was last set to false. */
  hasReceived = false;

  constructor(stream: ReadableStream<Uint8Array>) {
    this.#source = stream.getReader();
    this.#source.closed.catch(() => undefined);
  }

  /** The head of the response to a request with this method. Interim responses are skipped.
   * @throws DinghyError if what comes is no response */
  async head(method: string): Promise<ResponseHead> {
    for (;;) {
      const lines: string[] = [];
      let bytes = 0;
      for (let line = await this.#line(); line !== "" || lines.length === 0; line = await this.#line()) {
        bytes += line.length;
        if (bytes > MOST_HEAD_BYTES) throw malformed("too large a head");
        if (line !== "") lines.push(line);
      }
      const head = parseHead(lines, method);
      if (head.status >= 200) return head;
      if (head.status === 101) throw malformed("a change of protocol that was not asked for");
    }
  }

  /** The next part of a body, or nothing at its end.
   * @throws DinghyError if the connection ends before the body */
  async body(framing: Framing): Promise<Uint8Array | undefined> {
    switch (framing.kind) {
      case "until-end":
        return this.#take(Infinity);
      case "length": {
        if (framing.left === 0) return undefined;
        const bytes = await this.#take(framing.left);
        if (!bytes) throw malformed("less than it had announced");
        framing.left -= bytes.byteLength;
        return bytes;
      }
      case "chunked":
        return this.#chunk(framing);
    }
  }

  async #chunk(framing: Extract<Framing, { kind: "chunked" }>): Promise<Uint8Array | undefined> {
    if (framing.isOver) return undefined;
    if (framing.left === 0) {
      if (!framing.isFirst && (await this.#line()) !== "") throw malformed("a chunk that is longer than announced");
      framing.isFirst = false;
      const size = /^([0-9a-f]{1,12})[ \t]*(?:;.*)?$/i.exec(await this.#line())?.[1];
      if (size === undefined) throw malformed("a chunk without a size");
      framing.left = parseInt(size, 16);
      if (framing.left === 0) {
        framing.isOver = true;
        // Trailers tell nothing that is used.
        while ((await this.#line()) !== "");
        return undefined;
      }
    }
    const bytes = await this.#take(framing.left);
    if (!bytes) throw malformed("less than it had announced");
    framing.left -= bytes.byteLength;
    return bytes;
  }

  /** At most `count` bytes, at least one; nothing at the end of the stream. */
  async #take(count: number): Promise<Uint8Array | undefined> {
    if (this.#rest.byteLength === 0 && !(await this.#fill())) return undefined;
    const bytes = this.#rest.subarray(0, count);
    this.#rest = this.#rest.subarray(bytes.byteLength);
    return bytes;
  }

  /** A line without its end. */
  async #line(): Promise<string> {
    let searched = 0;
    for (;;) {
      const end = this.#rest.indexOf(10, searched);
      if (end >= 0) {
        const line = this.#rest.subarray(0, this.#rest[end - 1] === 13 ? end - 1 : end);
        this.#rest = this.#rest.subarray(end + 1);
        return String.fromCharCode(...line);
      }
      searched = this.#rest.byteLength;
      if (searched > MOST_HEAD_BYTES) throw malformed("too long a line");
      if (!(await this.#fill())) throw malformed("no whole answer");
    }
  }

  async #fill(): Promise<boolean> {
    const { done, value } = await this.#source.read();
    if (done) return false;
    this.hasReceived = true;
    if (this.#rest.byteLength === 0) {
      this.#rest = value;
    } else {
      const rest = new Uint8Array(this.#rest.byteLength + value.byteLength);
      rest.set(this.#rest);
      rest.set(value, this.#rest.byteLength);
      this.#rest = rest;
    }
    return true;
  }
}

function parseHead([first = "", ...fields]: string[], method: string): ResponseHead {
  const status = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: (.*))?$/.exec(first);
  if (!status) throw malformed("what is no HTTP answer");
  const headers = new Headers();
  for (const field of fields) {
    const [, name, value] = /^([!#$%&'*+\-.^_`|~0-9a-z]+):[ \t]*(.*?)[ \t]*$/i.exec(field) ?? [];
    if (name === undefined || value === undefined) throw malformed("a malformed header");
    try {
      headers.append(name, value);
    } catch {
      throw malformed(`a malformed header ${name}`);
    }
  }
  const has = (name: string, word: string): boolean =>
    (headers.get(name) ?? "").split(",").some((part) => part.trim().toLowerCase() === word);
  const code = Number(status[2]);
  const framing = framingOf(headers, code, method);
  for (const name of ["connection", "keep-alive", "transfer-encoding", "trailer", "upgrade"]) {
    if (name !== "connection") headers.delete(name);
  }
  const isKept = status[1] === "1" ? !has("connection", "close") : has("connection", "keep-alive");
  headers.delete("connection");
  return {
    status: code,
    statusText: status[3] ?? "",
    headers,
    framing,
    isKept: isKept && framing.kind !== "until-end",
  };
}

function framingOf(headers: Headers, status: number, method: string): Framing {
  if (method === "HEAD" || status === 204 || status === 304 || status < 200) return { kind: "length", left: 0 };
  const encoding = headers.get("transfer-encoding")?.trim().toLowerCase();
  if (encoding === "chunked") {
    // Its length, if one is named as well, is not the body's (RFC 9112 6.3).
    headers.delete("content-length");
    return { kind: "chunked", left: 0, isFirst: true, isOver: false };
  }
  if (encoding !== undefined && encoding !== "identity") throw malformed(`an unknown transfer encoding`);
  const length = headers.get("content-length");
  if (length === null) return { kind: "until-end" };
  const [size = "", ...others] = length.split(",").map((part) => part.trim());
  if (!/^\d{1,15}$/.test(size) || others.some((other) => other !== size)) throw malformed("a malformed length");
  return { kind: "length", left: Number(size) };
}
