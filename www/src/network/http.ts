/** HTTP/1.1 to a web server in the guest, over connections that are kept for further requests. */

import { concatenate } from "../bytes.js";
import { DinghyError } from "../options.js";
import type { Connection } from "./channel.js";
import { ResponseReader, type ResponseHead } from "./http-response.js";

/** A server in the guest could not be asked; `status` is what a proxy would answer. */
export class GuestHttpError extends DinghyError {
  override name = "GuestHttpError";

  constructor(
    message: string,
    /** 502: nobody listens, or what came is no answer. 504: none came in time. */
    readonly status: 502 | 504,
  ) {
    super(message);
  }
}

/** Connections to one port that are used at once; further requests wait. */
const MOST_CONNECTIONS = 32;
/** Of these, those whose answer has not begun: as many as browsers allow a server, for some listen with no larger backlog. */
const MOST_UNANSWERED = 6;
/** How often what may be repeated is asked of a server that ends the connection without a word. */
const MOST_ATTEMPTS = 3;
/** How long a connection without a request is kept. */
const IDLE_MS = 4000;
/** How long the head of an answer is waited for. */
const HEAD_MS = 120_000;
/** Bodies up to this size are sent with their length, which every server understands; larger ones in chunks. */
const WHOLE_BODY_BYTES = 1 << 20;

/** Statuses whose answers have no body (RFC 9110 6.4.1, and what `Response` wants). */
const WITHOUT_BODY: ReadonlySet<number> = new Set([204, 205, 304]);

/** Headers that concern one connection only (RFC 9110 7.6.1), and what is set here. */
const OWN_HEADERS: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "content-length",
  "accept-encoding",
]);

/** Compressions that browsers undo by themselves where they make the request. */
const ENCODINGS: Readonly<Record<string, CompressionFormat>> = { gzip: "gzip", "x-gzip": "gzip", deflate: "deflate" };

/** A connection that carries one request after the other. */
class Line {
  readonly reader: ResponseReader;
  readonly writer: WritableStreamDefaultWriter<Uint8Array>;
  /** Whether it has carried an answer, so that the server may have ended it meanwhile. */
  isUsed = false;
  idle: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly connection: Connection) {
    this.reader = new ResponseReader(connection.readable);
    this.writer = connection.writable.getWriter();
    // Failures show where something is written or read.
    this.writer.closed.catch(() => undefined);
  }

  close(): void {
    clearTimeout(this.idle);
    this.connection.close();
  }
}

/** The lines to one port. */
interface Pool {
  idle: Line[];
  used: number;
  unanswered: number;
  waiting: (() => void)[];
}

/** What is sent before a body, and the body. */
interface Message {
  method: string;
  head: string;
  whole: Uint8Array | undefined;
  chunks: ReadableStreamDefaultReader<Uint8Array> | undefined;
  /** The first part of a body in chunks. */
  first: Uint8Array[];
}

/** Asks the guest's web servers. */
export class GuestHttp {
  readonly #pools = new Map<number, Pool>();

  constructor(private readonly connect: (port: number) => Connection) {}

  /** See `Machine.fetch`. */
  async fetch(port: number, input: Request | URL | string, init?: RequestInit): Promise<Response> {
    const request = new Request(
      typeof input === "string" ? new URL(input, `http://localhost:${port}/`) : input,
      // A body that is a stream must be announced so.
      init?.body instanceof ReadableStream ? ({ ...init, duplex: "half" } as RequestInit) : init,
    );
    const { signal } = request;
    signal.throwIfAborted();
    const message = await messageOf(request, port);
    const pool = this.#pool(port);
    while (pool.used >= MOST_CONNECTIONS || pool.unanswered >= MOST_UNANSWERED) {
      await new Promise<void>((resolve) => pool.waiting.push(resolve));
    }
    pool.used += 1;
    pool.unanswered += 1;
    for (let attempt = 1; ; attempt++) {
      const line = pool.idle.pop() ?? new Line(this.connect(port));
      clearTimeout(line.idle);
      const abort = (): void => line.close();
      signal.addEventListener("abort", abort, { once: true });
      const release = (isReusable: boolean): void => {
        signal.removeEventListener("abort", abort);
        this.#release(pool, line, isReusable);
      };
      try {
        const head = await exchange(line, message, port);
        pool.unanswered -= 1;
        pool.waiting.shift()?.();
        return answer(head, line, message.method, request.url, release);
      } catch (error) {
        line.close();
        signal.removeEventListener("abort", abort);
        // The server may just have ended a connection that it had kept, or not have had room for a new one.
        const isRepeatable = line.isUsed
          ? message.chunks === undefined
          : attempt < MOST_ATTEMPTS && (message.method === "GET" || message.method === "HEAD");
        const isLate = error instanceof GuestHttpError && error.status === 504;
        if (isRepeatable && !line.reader.hasReceived && !signal.aborted && !isLate) continue;
        pool.unanswered -= 1;
        this.#leave(pool);
        signal.throwIfAborted();
        throw error instanceof GuestHttpError
          ? error
          : new GuestHttpError(`Port ${port} of the guest does not answer: ${text(error)}`, 502);
      }
    }
  }

  /** Ends all connections. */
  close(): void {
    for (const pool of this.#pools.values()) pool.idle.splice(0).forEach((line) => line.close());
  }

  #pool(port: number): Pool {
    const known = this.#pools.get(port);
    if (known) return known;
    const pool: Pool = { idle: [], used: 0, unanswered: 0, waiting: [] };
    this.#pools.set(port, pool);
    return pool;
  }

  #release(pool: Pool, line: Line, isReusable: boolean): void {
    if (isReusable) {
      line.isUsed = true;
      pool.idle.push(line);
      line.idle = setTimeout(() => {
        pool.idle.splice(pool.idle.indexOf(line), 1);
        line.close();
      }, IDLE_MS);
    } else {
      line.close();
    }
    this.#leave(pool);
  }

  #leave(pool: Pool): void {
    pool.used -= 1;
    pool.waiting.shift()?.();
  }
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Puts a request into the form in which it is sent. */
async function messageOf(request: Request, port: number): Promise<Message> {
  const { method, body, headers } = request;
  const url = new URL(request.url);
  const lines = [`${method} ${url.pathname}${url.search} HTTP/1.1`];
  if (!headers.has("host")) lines.push(`host: localhost:${port}`);
  headers.forEach((value, name) => {
    if (!OWN_HEADERS.has(name)) lines.push(`${name}: ${value}`);
  });
  lines.push("accept-encoding: identity");
  const first: Uint8Array[] = [];
  let whole: Uint8Array | undefined;
  let chunks: ReadableStreamDefaultReader<Uint8Array> | undefined;
  if (body) {
    chunks = body.getReader();
    let size = 0;
    while (size <= WHOLE_BODY_BYTES) {
      const { done, value } = await chunks.read();
      if (done) {
        chunks = undefined;
        break;
      }
      size += value.byteLength;
      first.push(value);
    }
    if (chunks) lines.push("transfer-encoding: chunked");
    else whole = concatenate(first, size);
  }
  if (whole || (!body && (method === "POST" || method === "PUT"))) {
    lines.push(`content-length: ${whole?.byteLength ?? 0}`);
  }
  return { method, head: `${lines.join("\r\n")}\r\n\r\n`, whole, chunks, first };
}

/** Sends a request and waits for the head of its answer. */
async function exchange(line: Line, message: Message, port: number): Promise<ResponseHead> {
  line.reader.hasReceived = false;
  // A server may answer before it has the whole body, so nothing waits for the sending.
  let sendingError: unknown;
  send(line, message).catch((error: unknown) => {
    sendingError = error;
  });
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new GuestHttpError(`Port ${port} of the guest does not answer in time.`, 504)),
      HEAD_MS,
    );
  });
  try {
    return await Promise.race([line.reader.head(message.method), late]);
  } catch (error) {
    throw sendingError instanceof DinghyError ? sendingError : error;
  } finally {
    clearTimeout(timer);
  }
}

async function send(line: Line, { head, whole, chunks, first }: Message): Promise<void> {
  const { writer } = line;
  const bytes = new TextEncoder().encode(head);
  await writer.write(whole ? concatenate([bytes, whole], bytes.byteLength + whole.byteLength) : bytes);
  if (!chunks) return;
  for (const chunk of first) await sendChunk(writer, chunk);
  for (;;) {
    const { done, value } = await chunks.read();
    if (done) break;
    await sendChunk(writer, value);
  }
  await writer.write(new TextEncoder().encode("0\r\n\r\n"));
}

async function sendChunk(writer: WritableStreamDefaultWriter<Uint8Array>, chunk: Uint8Array): Promise<void> {
  if (chunk.byteLength === 0) return;
  await writer.write(new TextEncoder().encode(`${chunk.byteLength.toString(16)}\r\n`));
  await writer.write(chunk);
  await writer.write(new TextEncoder().encode("\r\n"));
}

/** Makes the answer of its head; `release` is called when its body has been read or is not wanted any more. */
function answer(
  head: ResponseHead,
  line: Line,
  method: string,
  url: string,
  release: (isReusable: boolean) => void,
): Response {
  const { status, statusText, headers } = head;
  if (method === "HEAD" || WITHOUT_BODY.has(status)) {
    release(head.isKept && head.framing.kind !== "until-end");
    return withUrl(new Response(null, { status, statusText, headers }), url);
  }
  const encoded = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const bytes = await line.reader.body(head.framing);
          if (bytes) {
            controller.enqueue(bytes);
          } else {
            controller.close();
            release(head.isKept);
          }
        } catch (error) {
          release(false);
          controller.error(error);
        }
      },
      cancel: () => release(false),
    },
    { highWaterMark: 0 },
  );
  const format = ENCODINGS[headers.get("content-encoding")?.trim().toLowerCase() ?? ""];
  if (format === undefined) return withUrl(new Response(encoded, { status, statusText, headers }), url);
  headers.delete("content-encoding");
  headers.delete("content-length");
  const decoder = new DecompressionStream(format) as ReadableWritablePair<Uint8Array, Uint8Array>;
  return withUrl(new Response(encoded.pipeThrough(decoder), { status, statusText, headers }), url);
}

/** `Response` has no way to be given its address. */
function withUrl(response: Response, url: string): Response {
  Object.defineProperty(response, "url", { value: url });
  return response;
}
