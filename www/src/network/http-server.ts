/** An HTTP/1.1 server for the guest, on its flows: what answers is a function from requests to responses. */

import { DinghyError } from "../options.js";
import type { FlowUser, FlowEnd } from "./flows.js";
import { type Framing, hasWord, MessageReader } from "./http-message.js";

/** A request of the guest. */
export interface ServedRequest {
  method: string;
  /** The path and the query, as they were sent. */
  target: string;
  headers: Headers;
  body: ReadableStream<Uint8Array>;
}

/** Answers requests. A body that fails resets the connection, so that nobody takes a part for the whole. */
export type Answer = (request: ServedRequest) => Promise<Response>;

/** What of an unread body is still taken, so that its connection can be used again. */
const MOST_SKIPPED_BYTES = 256 * 1024;

/** Answers the requests that come over a flow, one after the other. */
export function serveHttp(flow: FlowUser, answer: Answer): FlowEnd {
  const streams = new FlowStreams(flow);
  const reader = new RequestReader(streams.readable);
  converse(reader, streams, answer).then(
    () => streams.finish(),
    () => streams.reset(),
  );
  queueMicrotask(() => flow.opened());
  return streams.end;
}

async function converse(reader: RequestReader, streams: FlowStreams, answer: Answer): Promise<void> {
  for (;;) {
    const head = await reader.next();
    if (!head) return;
    if (hasWord(head.request.headers, "expect", "100-continue")) {
      await streams.write(new TextEncoder().encode("HTTP/1.1 100 Continue\r\n\r\n"));
    }
    const response = await answer(head.request);
    const isKept = await respond(streams, head.request.method, response, head.isKept);
    if (!isKept || !(await reader.skip(head.framing, MOST_SKIPPED_BYTES))) return;
  }
}

/** Sends a response. Returns whether the connection can carry another one. */
async function respond(streams: FlowStreams, method: string, response: Response, isKept: boolean): Promise<boolean> {
  const { status, statusText, headers, body } = response;
  const hasBody = body !== null && method !== "HEAD";
  const isChunked = hasBody && !headers.has("content-length");
  const lines = [`HTTP/1.1 ${status} ${statusText}`];
  headers.forEach((value, name) => lines.push(`${name}: ${value}`));
  if (isChunked) lines.push("transfer-encoding: chunked");
  if (body === null && !headers.has("content-length") && status !== 204 && status !== 304)
    lines.push("content-length: 0");
  if (!isKept) lines.push("connection: close");
  await streams.write(new TextEncoder().encode(`${lines.join("\r\n")}\r\n\r\n`));
  if (!hasBody) {
    await body?.cancel();
    return isKept;
  }
  const left = isChunked ? undefined : Number(headers.get("content-length"));
  let sent = 0;
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (value.byteLength === 0) continue;
      sent += value.byteLength;
      if (isChunked) await streams.write(new TextEncoder().encode(`${value.byteLength.toString(16)}\r\n`));
      await streams.write(value);
      if (isChunked) await streams.write(new TextEncoder().encode("\r\n"));
    }
  } catch (error) {
    await reader.cancel(error).catch(() => undefined);
    throw error;
  }
  if (isChunked) await streams.write(new TextEncoder().encode("0\r\n\r\n"));
  else if (sent !== left) throw new DinghyError(`An answer of ${left} bytes has ${sent}.`);
  return isKept;
}

/** Requests, one after the other. */
class RequestReader extends MessageReader {
  constructor(stream: ReadableStream<Uint8Array>) {
    super(stream, "client");
  }

  /** The next request; its body must have been read or skipped before the one after it. */
  async next(): Promise<{ request: ServedRequest; framing: Framing; isKept: boolean } | undefined> {
    const lines = await this.headLines();
    if (!lines) return undefined;
    const [first = "", ...fields] = lines;
    const [, method, target, minor] = /^([A-Z]+) (\S+) HTTP\/1\.([01])$/.exec(first) ?? [];
    if (method === undefined || target === undefined) throw this.malformed("what is no HTTP request");
    const headers = this.headers(fields);
    const framing = this.framing(headers, { kind: "length", left: 0 });
    const isKept =
      minor === "1" ? !hasWord(headers, "connection", "close") : hasWord(headers, "connection", "keep-alive");
    const body = new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          const bytes = await this.body(framing);
          if (bytes) controller.enqueue(bytes);
          else controller.close();
        },
      },
      { highWaterMark: 0 },
    );
    return { request: { method, target, headers, body }, framing, isKept };
  }
}

/** A flow as streams. */
class FlowStreams {
  readonly readable: ReadableStream<Uint8Array>;
  /** What the flow tells. */
  readonly end: FlowEnd;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  /** Bytes of the guest's that were not confirmed to it. */
  #owed = 0;
  #isOver = false;
  #hasReadableEnded = false;
  #isFull = false;
  #onRoom: (() => void) | undefined;

  constructor(private readonly flow: FlowUser) {
    this.readable = new ReadableStream<Uint8Array>(
      {
        start: (controller) => void (this.#controller = controller),
        pull: () => this.#settle(),
      },
      { highWaterMark: 64 * 1024, size: (bytes) => bytes.byteLength },
    );
    this.end = {
      send: (bytes) => this.#receive(bytes),
      finish: () => this.#endReadable(),
      close: () => {
        this.#isOver = true;
        this.#endReadable();
        this.#onRoom?.();
      },
      resume: () => {
        this.#isFull = false;
        this.#onRoom?.();
      },
    };
  }

  /** Sends bytes to the guest, when it has room. */
  async write(bytes: Uint8Array): Promise<void> {
    while (this.#isFull && !this.#isOver) await new Promise<void>((resolve) => (this.#onRoom = resolve));
    if (this.#isOver) throw new DinghyError("The guest has ended the connection.");
    this.#isFull = !this.flow.data(bytes);
  }

  /** Nothing more is sent, and what the guest still sends is not looked at. */
  finish(): void {
    if (this.#isOver) return;
    this.flow.ended();
    this.#endReadable();
    this.#settle();
  }

  /** The connection ends badly. */
  reset(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#endReadable();
    this.flow.failed("reset");
  }

  #receive(bytes: Uint8Array): void {
    this.#owed += bytes.byteLength;
    if (!this.#hasReadableEnded) this.#controller?.enqueue(bytes);
    if (this.#hasReadableEnded || (this.#controller?.desiredSize ?? 0) > 0) this.#settle();
  }

  #settle(): void {
    if (this.#owed > 0 && !this.#isOver) this.flow.sent(this.#owed);
    this.#owed = 0;
  }

  #endReadable(): void {
    if (!this.#hasReadableEnded) this.#controller?.close();
    this.#hasReadableEnded = true;
  }
}
