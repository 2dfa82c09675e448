/** Reads HTTP/1.1 messages (RFC 9112) from a stream of bytes: what requests and responses have in common. */

import { DinghyError } from "../options.js";

/** How the end of a body is found. */
export type Framing =
  | { kind: "length"; left: number }
  | { kind: "chunked"; left: number; isFirst: boolean; isOver: boolean }
  | { kind: "until-end" };

/** Most bytes of a head, as in common servers and proxies. */
const MOST_HEAD_BYTES = 64 * 1024;

/** One message after the other. */
export class MessageReader {
  readonly #source: ReadableStreamDefaultReader<Uint8Array>;
  #rest: Uint8Array = new Uint8Array(0);
  /** Whether anything has come since this was last set to false. */
  hasReceived = false;

  /** @param sender who sends, for errors, for example "server" */
  constructor(
    stream: ReadableStream<Uint8Array>,
    private readonly sender: string,
  ) {
    this.#source = stream.getReader();
    this.#source.closed.catch(() => undefined);
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
        if (!bytes) throw this.malformed("less than it had announced");
        framing.left -= bytes.byteLength;
        return bytes;
      }
      case "chunked":
        return this.#chunk(framing);
    }
  }

  /** Drops what may still come of a body, up to `most` bytes. Returns whether that was all of it. */
  async skip(framing: Framing, most: number): Promise<boolean> {
    for (let skipped = 0; skipped <= most;) {
      const bytes = await this.body(framing);
      if (!bytes) return true;
      skipped += bytes.byteLength;
    }
    return false;
  }

  /** The lines of the next head, without the empty one at its end; nothing where the stream has ended before it. */
  protected async headLines(): Promise<string[] | undefined> {
    if (this.#rest.byteLength === 0 && !(await this.#fill())) return undefined;
    const lines: string[] = [];
    let bytes = 0;
    for (let line = await this.#line(); line !== "" || lines.length === 0; line = await this.#line()) {
      bytes += line.length;
      if (bytes > MOST_HEAD_BYTES) throw this.malformed("too large a head");
      if (line !== "") lines.push(line);
    }
    return lines;
  }

  /** The headers in the lines of a head behind its first. */
  protected headers(lines: readonly string[]): Headers {
    const headers = new Headers();
    for (const line of lines) {
      const [, name, value] = /^([!#$%&'*+\-.^_`|~0-9a-z]+):[ \t]*(.*?)[ \t]*$/i.exec(line) ?? [];
      if (name === undefined || value === undefined) throw this.malformed("a malformed header");
      try {
        headers.append(name, value);
      } catch {
        throw this.malformed(`a malformed header ${name}`);
      }
    }
    return headers;
  }

  /** How the end of a body with these headers is found; `otherwise` if they do not say it. */
  protected framing(headers: Headers, otherwise: Framing): Framing {
    const encoding = headers.get("transfer-encoding")?.trim().toLowerCase();
    if (encoding === "chunked") {
      // Its length, if one is named as well, is not the body's (RFC 9112 6.3).
      headers.delete("content-length");
      return { kind: "chunked", left: 0, isFirst: true, isOver: false };
    }
    if (encoding !== undefined && encoding !== "identity") throw this.malformed(`an unknown transfer encoding`);
    const length = headers.get("content-length");
    if (length === null) return otherwise;
    const [size = "", ...others] = length.split(",").map((part) => part.trim());
    if (!/^\d{1,15}$/.test(size) || others.some((other) => other !== size)) throw this.malformed("a malformed length");
    return { kind: "length", left: Number(size) };
  }

  /** Just so many bytes.
   * @throws DinghyError if the stream ends before */
  protected async exactly(count: number): Promise<Uint8Array> {
    const whole = new Uint8Array(count);
    for (let at = 0; at < count;) {
      const bytes = await this.#take(count - at);
      if (!bytes) throw this.malformed("less than it had announced");
      whole.set(bytes, at);
      at += bytes.byteLength;
    }
    return whole;
  }

  protected malformed(what: string): DinghyError {
    return new DinghyError(`The ${this.sender} in the guest sent ${what}.`);
  }

  async #chunk(framing: Extract<Framing, { kind: "chunked" }>): Promise<Uint8Array | undefined> {
    if (framing.isOver) return undefined;
    if (framing.left === 0) {
      if (!framing.isFirst && (await this.#line()) !== "") {
        throw this.malformed("a chunk that is longer than announced");
      }
      framing.isFirst = false;
      const size = /^([0-9a-f]{1,12})[ \t]*(?:;.*)?$/i.exec(await this.#line())?.[1];
      if (size === undefined) throw this.malformed("a chunk without a size");
      framing.left = parseInt(size, 16);
      if (framing.left === 0) {
        framing.isOver = true;
        // Trailers tell nothing that is used.
        while ((await this.#line()) !== "");
        return undefined;
      }
    }
    const bytes = await this.#take(framing.left);
    if (!bytes) throw this.malformed("less than it had announced");
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
      if (searched > MOST_HEAD_BYTES) throw this.malformed("too long a line");
      if (!(await this.#fill())) throw this.malformed("no whole message");
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

/** Whether a header of words has this one. */
export function hasWord(headers: Headers, name: string, word: string): boolean {
  return (headers.get(name) ?? "").split(",").some((part) => part.trim().toLowerCase() === word);
}
