/** A client of the guest's WebSocket servers (RFC 6455). */

import { concatenate } from "../bytes.js";
import { sha1 } from "../hashes.js";

import { Emitter } from "../emitter.js";
import { DinghyError } from "../options.js";
import type { Connection } from "./channel.js";
import { ResponseReader } from "./http-response.js";

/** Largest message that is taken, in bytes. */
const MOST_MESSAGE_BYTES = 64 * 1024 * 1024;
/** How long the guest may take to end what was closed. */
const CLOSE_MS = 5000;
/** What a server adds to a client's key (RFC 6455 1.3). */
const ACCEPT_SUFFIX = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;
/** Why a socket has closed (RFC 6455 7.4.1). */
const CODE = { normal: 1000, none: 1005, abnormal: 1006, protocolError: 1002, badText: 1007, tooLarge: 1009 } as const;

/** What a {@link GuestWebSocket} tells. */
export interface WebSocketEvents {
  /** The server has agreed, to this of the protocols that were offered, or to none. */
  open: { protocol: string };
  /** A message: text or bytes. */
  message: string | Uint8Array<ArrayBuffer>;
  /** The end. The last event. */
  close: { code: number; reason: string; wasClean: boolean };
}

/** A failure with the code that the server is told. */
class ProtocolError extends DinghyError {
  constructor(
    readonly closeCode: number,
    message: string,
  ) {
    super(message);
  }
}

/** A WebSocket to a server in the guest. */
export class GuestWebSocket {
  readonly #events = new Emitter<WebSocketEvents>();
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #reader: FrameReader;
  #isOpen = false;
  #hasSentClose = false;
  #isOver = false;

  /**
   * @param connection to the server's port, of which nothing was used yet
   * @param path with the query
   * @param protocols what is offered
   */
  constructor(
    private readonly connection: Connection,
    port: number,
    path: string,
    protocols: readonly string[],
  ) {
    this.#writer = connection.writable.getWriter();
    this.#writer.closed.catch(() => undefined);
    this.#reader = new FrameReader(connection.readable);
    this.#run(port, path, protocols).catch((error: unknown) => {
      const code = error instanceof ProtocolError ? error.closeCode : CODE.abnormal;
      const reason = error instanceof Error ? error.message : String(error);
      if (code !== CODE.abnormal && !this.#hasSentClose) this.#sendClose(code, "");
      this.#end({ code: CODE.abnormal, reason, wasClean: false });
    });
  }

  /** Calls `listener` at each `name` from now on. Returns a function that ends that. */
  on<Name extends keyof WebSocketEvents>(name: Name, listener: (value: WebSocketEvents[Name]) => void): () => void {
    return this.#events.on(name, listener);
  }

  /** Sends a message.
   * @throws DinghyError if the socket is not open */
  send(data: string | Uint8Array): void {
    if (!this.#isOpen || this.#hasSentClose) throw new DinghyError("The WebSocket is not open.");
    if (typeof data === "string") this.#send(OPCODE.text, new TextEncoder().encode(data));
    else this.#send(OPCODE.binary, data);
  }

  /** Begins to close; `close` is told when the server has agreed, or does not in time. */
  close(code?: number, reason = ""): void {
    if (this.#isOver || this.#hasSentClose) return;
    if (!this.#isOpen) {
      this.#end({ code: CODE.abnormal, reason: "", wasClean: false });
      return;
    }
    this.#sendClose(code, reason);
    setTimeout(() => this.#end({ code: CODE.abnormal, reason: "", wasClean: false }), CLOSE_MS);
  }

  async #run(port: number, path: string, protocols: readonly string[]): Promise<void> {
    const key = btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(16))));
    const lines = [
      `GET ${path} HTTP/1.1`,
      `host: localhost:${port}`,
      "upgrade: websocket",
      "connection: Upgrade",
      `origin: http://localhost:${port}`,
      `sec-websocket-key: ${key}`,
      "sec-websocket-version: 13",
    ];
    if (protocols.length > 0) lines.push(`sec-websocket-protocol: ${protocols.join(", ")}`);
    this.#write(new TextEncoder().encode(`${lines.join("\r\n")}\r\n\r\n`));
    const { status, headers } = await this.#reader.head("GET");
    const accept = btoa(String.fromCharCode(...sha1(new TextEncoder().encode(key + ACCEPT_SUFFIX))));
    const protocol = headers.get("sec-websocket-protocol") ?? "";
    if (status !== 101) throw new DinghyError(`The server in the guest answered ${status} in place of a WebSocket.`);
    if (headers.get("sec-websocket-accept") !== accept || (protocol !== "" && !protocols.includes(protocol))) {
      throw new DinghyError("The server in the guest does not speak WebSocket.");
    }
    this.#isOpen = true;
    this.#events.emit("open", { protocol });
    await this.#receive();
  }

  /** Takes messages until the server closes. */
  async #receive(): Promise<void> {
    let parts: Uint8Array[] = [];
    let size = 0;
    let kind: number | undefined;
    for (;;) {
      const { opcode, isLast, payload } = await this.#reader.frame(MOST_MESSAGE_BYTES - size);
      switch (opcode) {
        case OPCODE.ping:
          if (!this.#hasSentClose) this.#send(OPCODE.pong, payload);
          break;
        case OPCODE.pong:
          break;
        case OPCODE.close: {
          const code = payload.byteLength >= 2 ? ((payload[0] ?? 0) << 8) | (payload[1] ?? 0) : CODE.none;
          const reason = text(payload.subarray(2));
          if (!this.#hasSentClose) this.#sendClose(code === CODE.none ? undefined : code, reason);
          this.#end({ code, reason, wasClean: true });
          return;
        }
        default: {
          if ((opcode === OPCODE.continuation) !== (kind !== undefined)) {
            throw new ProtocolError(CODE.protocolError, "The server in the guest mixes its messages up.");
          }
          kind ??= opcode;
          parts.push(payload);
          size += payload.byteLength;
          if (!isLast) break;
          const whole = concatenate(parts, size);
          this.#events.emit("message", kind === OPCODE.text ? text(whole) : whole);
          parts = [];
          size = 0;
          kind = undefined;
        }
      }
    }
  }

  #sendClose(code: number | undefined, reason: string): void {
    const bytes = new TextEncoder().encode(reason).subarray(0, 123);
    const payload = code === undefined ? new Uint8Array(0) : new Uint8Array([code >> 8, code & 0xff, ...bytes]);
    this.#send(OPCODE.close, payload);
    this.#hasSentClose = true;
  }

  /** Sends a frame, masked as clients have to. */
  #send(opcode: number, payload: Uint8Array): void {
    const size = payload.byteLength;
    const lengthBytes = size < 126 ? 0 : size < 0x10000 ? 2 : 8;
    const frame = new Uint8Array(2 + lengthBytes + 4 + size);
    const view = new DataView(frame.buffer);
    frame[0] = 0x80 | opcode;
    frame[1] = 0x80 | (lengthBytes === 0 ? size : lengthBytes === 2 ? 126 : 127);
    if (lengthBytes === 2) view.setUint16(2, size);
    if (lengthBytes === 8) view.setBigUint64(2, BigInt(size));
    const mask = frame.subarray(2 + lengthBytes, 6 + lengthBytes);
    crypto.getRandomValues(mask);
    for (let at = 0; at < size; at++) {
      frame[6 + lengthBytes + at] = (payload[at] ?? 0) ^ (mask[at & 3] ?? 0);
    }
    this.#write(frame);
  }

  #write(bytes: Uint8Array): void {
    // A connection that has failed is found by whoever reads it.
    this.#writer.write(bytes).catch(() => undefined);
  }

  #end(how: WebSocketEvents["close"]): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#isOpen = false;
    // What was written last has to leave first.
    this.#writer
      .close()
      .catch(() => undefined)
      .finally(() => this.connection.close());
    this.#events.emit("close", how);
  }
}

interface Frame {
  opcode: number;
  isLast: boolean;
  payload: Uint8Array;
}

class FrameReader extends ResponseReader {
  constructor(stream: ReadableStream<Uint8Array>) {
    super(stream, true);
  }

  /** The next frame, with at most so many bytes. */
  async frame(most: number): Promise<Frame> {
    const [first = 0, second = 0] = await this.exactly(2);
    const opcode = first & 0xf;
    const isControl = opcode >= 8;
    const isLast = (first & 0x80) !== 0;
    let size = second & 0x7f;
    const isKnown = (Object.values(OPCODE) as number[]).includes(opcode);
    // No extension was agreed on, servers do not mask, and control frames are short and whole.
    if ((first & 0x70) !== 0 || (second & 0x80) !== 0 || !isKnown || (isControl && (size > 125 || !isLast))) {
      throw new ProtocolError(CODE.protocolError, "The server in the guest sent what is no WebSocket frame.");
    }
    if (size >= 126) {
      const bytes = await this.exactly(size === 126 ? 2 : 8);
      size = bytes.reduce((sum, byte) => sum * 256 + byte, 0);
    }
    if (!isControl && size > most) {
      throw new ProtocolError(CODE.tooLarge, "The server in the guest sent too large a message.");
    }
    return { opcode, isLast, payload: await this.exactly(size) };
  }
}

function text(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new ProtocolError(CODE.badText, "The server in the guest sent text that is no UTF-8.");
  }
}
