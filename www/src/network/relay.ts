/** The guest's flows over a relay that speaks Wisp, and its questions for names by DNS over HTTPS. */

import type { FlowFailure, Transport } from "../engine.js";
import type { Carrier, FlowUser, FlowEnd } from "./flows.js";
import {
  CLOSE,
  closePacket,
  connectPacket,
  continuePacket,
  dataPacket,
  EXTENSION,
  infoPacket,
  numberPayload,
  type Packet,
  parsePacket,
  SUBPROTOCOL,
} from "./wisp.js";

/** Bytes that a relay with the duplex extension may send on a stream before the guest has taken any. */
const WINDOW_BYTES = 256 * 1024;
/** Bytes that a relay without it may send on a stream that the guest does not read, before the stream is reset. */
const MOST_HELD_BYTES = 16 * 1024 * 1024;
/** Bytes that wait in the WebSocket, above which nothing more is given to it. */
const MOST_BUFFERED_BYTES = 1024 * 1024;
/** How soon a full WebSocket is looked at again. */
const BUFFERED_POLL_MS = 10;
/** How long a relay may take to answer. */
const CONNECT_MS = 15_000;
/** How long an answer to a question for a name is waited for; the guest asks again. */
const ANSWER_MS = 5000;

/** What of a `WebSocket` is used. */
export interface Socket {
  binaryType: string;
  readonly protocol: string;
  readonly bufferedAmount: number;
  send(bytes: Uint8Array<ArrayBuffer>): void;
  close(): void;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
}

/** Opens a WebSocket. */
export type OpenSocket = (address: string, protocols: string[]) => Socket;

/** Where a relay answers questions for names, unless another place is named. */
export function nameAddress(relay: URL): URL {
  const address = new URL(relay.pathname.endsWith("/") ? "dns-query" : `${relay.pathname}/dns-query`, relay);
  address.protocol = relay.protocol.replace(/^ws/, "http");
  return address;
}

interface Stream {
  id: number;
  flow: FlowUser;
  transport: Transport;
  isOpen: boolean;
  /** DATA packets that the relay takes now. */
  credit: number;
  /** What waits for credit; an empty piece ends the guest's direction. */
  queue: Uint8Array[];
  isClosing: boolean;
  /** Bytes that were taken and of which the relay does not know yet. */
  owed: number;
  isHeld: boolean;
  heldBytes: number;
}

/** A connection to a relay, from its handshake on. */
class Relay {
  readonly #streams = new Map<number, Stream>();
  #waiting: Packet[] = [];
  #firstCredit: number | undefined;
  #isReady = false;
  #isOver = false;
  #hasOpened = false;
  #isDuplex = false;
  #confirmsOpening = false;
  #hasInfo = false;
  #nextId = 1;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #lateTimer: ReturnType<typeof setTimeout>;
  readonly #opening: (() => void)[] = [];

  /** @param onOver told when nothing goes over it any more, and whether it has worked at all */
  constructor(
    private readonly socket: Socket,
    private readonly onOver: (hasOpened: boolean) => void,
  ) {
    socket.binaryType = "arraybuffer";
    socket.onopen = () => (this.#hasOpened = true);
    socket.onmessage = ({ data }) => {
      const packet = data instanceof ArrayBuffer ? parsePacket(new Uint8Array(data)) : undefined;
      if (packet) this.#receive(packet);
    };
    socket.onclose = socket.onerror = () => this.end();
    this.#lateTimer = setTimeout(() => this.end(), CONNECT_MS);
  }

  open(flow: FlowUser, transport: Transport, address: string, port: number): FlowEnd {
    const id = this.#nextId++;
    const stream: Stream = {
      id,
      flow,
      transport,
      isOpen: false,
      credit: 0,
      queue: [],
      isClosing: false,
      owed: 0,
      isHeld: false,
      heldBytes: 0,
    };
    this.#streams.set(id, stream);
    const connect = (): void => {
      if (!this.#streams.has(id)) return;
      stream.credit = this.#firstCredit ?? 0;
      this.socket.send(connectPacket(id, transport, address, port));
      if (transport === "udp" || !this.#confirmsOpening) this.#opened(stream);
      this.#flush(stream);
    };
    if (this.#isReady) queueMicrotask(connect);
    else this.#opening.push(connect);
    return {
      send: (bytes) => this.#send(stream, bytes),
      finish: () => {
        if (!this.#isDuplex || transport === "udp") return;
        stream.queue.push(new Uint8Array(0));
        this.#flush(stream);
      },
      close: (isReset) => this.#close(stream, isReset),
      resume: () => {
        stream.isHeld = false;
        stream.heldBytes = 0;
        this.#grant(stream);
      },
    };
  }

  /** Ends all streams: those that are open are reset. */
  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#lateTimer);
    const streams = [...this.#streams.values()];
    this.#streams.clear();
    this.socket.close();
    this.onOver(this.#hasOpened);
    for (const { flow, isOpen } of streams) flow.failed(isOpen ? "reset" : "unreachable");
  }

  #receive(packet: Packet): void {
    if (!this.#isReady) {
      this.#shakeHands(packet);
      return;
    }
    switch (packet.type) {
      case "data":
        this.#receiveData(packet.stream, packet.bytes);
        break;
      case "continue": {
        const stream = this.#streams.get(packet.stream);
        if (!stream) break;
        stream.credit = packet.count;
        this.#opened(stream);
        this.#flush(stream);
        break;
      }
      case "close":
        this.#receiveClose(packet.stream, packet.reason);
        break;
      case "info":
      case "connect":
        break;
    }
  }

  /** Version 1 begins with CONTINUE; version 2 with INFO both ways, before or after it. */
  #shakeHands(packet: Packet): void {
    if (packet.type === "info" && !this.#hasInfo) {
      this.#hasInfo = true;
      const has = (extension: number): boolean => packet.extensions.has(extension);
      this.#isDuplex = has(EXTENSION.duplex);
      this.#confirmsOpening = has(EXTENSION.openConfirmation);
      const own: [number, Uint8Array][] = [];
      if (has(EXTENSION.udp)) own.push([EXTENSION.udp, new Uint8Array(0)]);
      if (this.#confirmsOpening) own.push([EXTENSION.openConfirmation, new Uint8Array(0)]);
      if (this.#isDuplex) own.push([EXTENSION.duplex, numberPayload(WINDOW_BYTES)]);
      this.socket.send(infoPacket(own));
    } else if (packet.type === "continue" && packet.stream === 0) {
      this.#firstCredit = packet.count;
    } else {
      this.#waiting.push(packet);
    }
    const isVersion2 = this.socket.protocol === SUBPROTOCOL;
    if (this.#firstCredit === undefined || (isVersion2 && !this.#hasInfo)) return;
    this.#isReady = true;
    clearTimeout(this.#lateTimer);
    this.#opening.splice(0).forEach((connect) => connect());
    this.#waiting.splice(0).forEach((early) => this.#receive(early));
  }

  #opened(stream: Stream): void {
    if (stream.isOpen) return;
    stream.isOpen = true;
    stream.flow.opened();
  }

  #send(stream: Stream, bytes: Uint8Array): void {
    if (this.#isOver || !this.#streams.has(stream.id)) {
      // The relay has ended the stream: what the guest still sends has nowhere to go.
      stream.flow.failed("reset");
      return;
    }
    if (stream.transport === "udp") {
      // A datagram that finds the connection full is lost, as on any network.
      if (this.#isReady && this.socket.bufferedAmount < MOST_BUFFERED_BYTES)
        this.socket.send(dataPacket(stream.id, bytes));
      stream.flow.sent(bytes.byteLength);
      return;
    }
    stream.queue.push(bytes);
    this.#flush(stream);
  }

  #flush(stream: Stream): void {
    let sent = 0;
    while (stream.queue.length > 0 && stream.credit > 0 && this.#isReady) {
      if (this.socket.bufferedAmount >= MOST_BUFFERED_BYTES) {
        this.#flushLater();
        break;
      }
      const bytes = stream.queue.shift() ?? new Uint8Array(0);
      stream.credit -= 1;
      sent += bytes.byteLength;
      this.socket.send(dataPacket(stream.id, bytes));
    }
    if (sent > 0) stream.flow.sent(sent);
    if (stream.isClosing && stream.queue.length === 0) this.#sendClose(stream, CLOSE.voluntary);
  }

  #flushLater(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      for (const stream of this.#streams.values()) this.#flush(stream);
    }, BUFFERED_POLL_MS);
  }

  #close(stream: Stream, isReset: boolean): void {
    if (!this.#streams.has(stream.id)) return;
    if (!isReset && stream.queue.length > 0) stream.isClosing = true;
    else this.#sendClose(stream, isReset ? CLOSE.networkError : CLOSE.voluntary);
  }

  #sendClose(stream: Stream, reason: number): void {
    this.#streams.delete(stream.id);
    if (this.#isReady && !this.#isOver) this.socket.send(closePacket(stream.id, reason));
  }

  #receiveData(id: number, bytes: Uint8Array): void {
    const stream = this.#streams.get(id);
    if (!stream || stream.isClosing) return;
    this.#opened(stream);
    if (bytes.byteLength === 0 && stream.transport === "tcp") {
      if (this.#isDuplex) stream.flow.ended();
      return;
    }
    stream.isHeld = !stream.flow.data(bytes);
    if (this.#isDuplex) {
      stream.owed += bytes.byteLength;
      this.#grant(stream);
    } else if (stream.isHeld) {
      stream.heldBytes += bytes.byteLength;
      if (stream.heldBytes <= MOST_HELD_BYTES) return;
      this.#sendClose(stream, CLOSE.networkError);
      stream.flow.failed("reset");
    }
  }

  /** Lets the relay send as much more as the guest has taken. */
  #grant(stream: Stream): void {
    if (!this.#isDuplex || stream.transport === "udp" || stream.isHeld || stream.owed < WINDOW_BYTES / 4) return;
    this.socket.send(continuePacket(stream.id, stream.owed));
    stream.owed = 0;
  }

  #receiveClose(id: number, reason: number): void {
    const stream = this.#streams.get(id);
    if (!stream) return;
    this.#streams.delete(id);
    if (stream.isClosing) return;
    if (stream.isOpen && reason === CLOSE.voluntary) stream.flow.ended();
    else stream.flow.failed(stream.isOpen ? "reset" : failure(reason));
  }
}

/** What a relay's reason means to a guest whose stream is not open yet. */
function failure(reason: number): FlowFailure {
  switch (reason) {
    case CLOSE.refused:
      return "refused";
    case CLOSE.blocked:
      return "forbidden";
    case CLOSE.throttled:
      return "too-many";
    default:
      return "unreachable";
  }
}

/** Carries flows over one connection to a relay, which is made when it is needed, and anew when it is lost. */
export class RelayCarrier implements Carrier {
  #relay: Relay | undefined;
  /** Whether the relay is asked for version 2; one that knows only the first may refuse that. */
  #asksForVersion2 = true;

  /**
   * @param address the relay's
   * @param dns where names are asked for
   */
  constructor(
    private readonly address: string,
    private readonly dns: string | undefined,
    private readonly openSocket: OpenSocket = (url, protocols) => new WebSocket(url, protocols) as unknown as Socket,
  ) {}

  open(flow: FlowUser, transport: Transport, address: string, port: number): FlowEnd {
    this.#relay ??= this.#connect();
    return this.#relay.open(flow, transport, address, port);
  }

  async ask(query: Uint8Array): Promise<Uint8Array | undefined> {
    if (this.dns === undefined) return undefined;
    const response = await fetch(this.dns, {
      method: "POST",
      headers: { "content-type": "application/dns-message", accept: "application/dns-message" },
      body: new Uint8Array(query),
      credentials: "omit",
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    return response.ok ? new Uint8Array(await response.arrayBuffer()) : undefined;
  }

  end(): void {
    this.#relay?.end();
  }

  #connect(): Relay {
    const isVersion2 = this.#asksForVersion2;
    const relay: Relay = new Relay(this.openSocket(this.address, isVersion2 ? [SUBPROTOCOL] : []), (hasOpened) => {
      if (this.#relay === relay) this.#relay = undefined;
      // After a failure the next attempt is made in the other way; the guest repeats what fails now.
      this.#asksForVersion2 = hasOpened || !isVersion2;
    });
    return relay;
  }
}
