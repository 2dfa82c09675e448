/** The relay: Wisp streams of a WebSocket as sockets of this computer, under a policy and within limits. */

import { createSocket, type Socket as DatagramSocket } from "node:dgram";
import { connect, isIPv4, type Socket } from "node:net";
import type { WebSocket } from "ws";

import {
  CLOSE,
  closePacket,
  continuePacket,
  dataPacket,
  EXTENSION,
  infoPacket,
  numberPayload,
  parsePacket,
  payloadNumber,
  SUBPROTOCOL,
} from "../../network/wisp.js";
import { Refusal, type RelayPolicy } from "./policy.js";

/** What one client may have. */
export const LIMITS = {
  /** Streams at once. */
  streams: 256,
  /** DATA packets that a TCP stream's client may send ahead. */
  packets: 32,
  /** Bytes of one packet. */
  packetBytes: 1024 * 1024,
  /** Bytes that wait for a client, above which nothing more is read for it. */
  waitingBytes: 4 * 1024 * 1024,
  /** How long a connection may take to be made. */
  connectMs: 15_000,
  /** How long a UDP stream may be silent. */
  silentMs: 120_000,
} as const;

interface Stream {
  receive(bytes: Uint8Array): void;
  grant(count: number): void;
  /** Whether the client has room again. */
  resume(): void;
  end(isReset: boolean): void;
}

/** Serves one client until its WebSocket closes. `log` is told what is refused. */
export function serveClient(socket: WebSocket, policy: RelayPolicy, log: (text: string) => void): void {
  new Client(socket, policy, log).begin();
}

class Client {
  readonly #streams = new Map<number, Stream>();
  readonly #isVersion2: boolean;
  /** Bytes per stream that the client takes ahead; nothing if it does not limit them. */
  #window: number | undefined;
  #confirmsOpening = false;
  #isReady = false;
  #isFull = false;

  constructor(
    private readonly socket: WebSocket,
    private readonly policy: RelayPolicy,
    private readonly log: (text: string) => void,
  ) {
    this.#isVersion2 = socket.protocol === SUBPROTOCOL;
  }

  begin(): void {
    this.socket.on("message", (data, isBinary) => {
      if (isBinary && data instanceof Buffer) this.#receive(data);
    });
    this.socket.on("error", (error) => this.log(`a client: ${error.message}`));
    this.socket.on("close", () => {
      const streams = [...this.#streams.values()];
      this.#streams.clear();
      streams.forEach((stream) => stream.end(true));
    });
    if (this.#isVersion2) {
      const none = new Uint8Array(0);
      this.#send(
        infoPacket([
          [EXTENSION.udp, none],
          [EXTENSION.openConfirmation, none],
          [EXTENSION.duplex, numberPayload(0)],
        ]),
      );
    } else {
      this.#becomeReady();
    }
  }

  #becomeReady(): void {
    this.#isReady = true;
    this.#send(continuePacket(0, LIMITS.packets));
  }

  #receive(message: Buffer): void {
    const packet = parsePacket(message);
    if (!packet) return;
    switch (packet.type) {
      case "info": {
        if (this.#isReady) break;
        const window = packet.extensions.get(EXTENSION.duplex);
        this.#window = window ? payloadNumber(window) : undefined;
        this.#confirmsOpening = packet.extensions.has(EXTENSION.openConfirmation);
        this.#becomeReady();
        break;
      }
      case "connect":
        this.#connect(packet.stream, packet.transport, packet.host, packet.port);
        break;
      case "data":
        this.#streams.get(packet.stream)?.receive(packet.bytes);
        break;
      case "continue":
        if (this.#window !== undefined) this.#streams.get(packet.stream)?.grant(packet.count);
        break;
      case "close": {
        const stream = this.#streams.get(packet.stream);
        this.#streams.delete(packet.stream);
        stream?.end(packet.reason !== CLOSE.voluntary);
        break;
      }
    }
  }

  #connect(id: number, transport: "tcp" | "udp", host: string, port: number): void {
    if (id === 0 || port === 0 || this.#streams.has(id)) {
      this.#send(closePacket(id, CLOSE.invalid));
      return;
    }
    if (this.#streams.size >= LIMITS.streams) {
      this.#send(closePacket(id, CLOSE.throttled));
      return;
    }
    const early: Uint8Array[] = [];
    const waiting: Stream = {
      receive: (bytes) => {
        if (early.push(bytes) > LIMITS.packets) this.#close(id, CLOSE.throttled);
      },
      grant: () => undefined,
      resume: () => undefined,
      end: () => undefined,
    };
    this.#streams.set(id, waiting);
    this.policy.address(host, port).then(
      (address) => {
        // The client may have taken its wish back meanwhile.
        if (this.#streams.get(id) !== waiting) return;
        const stream = transport === "tcp" ? this.#openTcp(id, address, port) : this.#openUdp(id, address, port);
        this.#streams.set(id, stream);
        early.forEach((bytes) => stream.receive(bytes));
      },
      (error: unknown) => {
        if (this.#streams.get(id) !== waiting) return;
        const isRefused = error instanceof Refusal;
        this.log(`refused: ${error instanceof Error ? error.message : String(error)}`);
        this.#close(id, isRefused && error.kind === "blocked" ? CLOSE.blocked : CLOSE.unreachable);
      },
    );
  }

  #openTcp(id: number, address: string, port: number): Stream {
    const socket = connect({ host: address, port, allowHalfOpen: true, noDelay: true });
    const isDuplex = this.#window !== undefined;
    let room = this.#window ?? Infinity;
    let received = 0;
    let waiting = 0;
    let isConnected = false;
    const flow = (): void => {
      if (room > 0 && !this.#isFull) socket.resume();
      else socket.pause();
    };
    socket.setTimeout(LIMITS.connectMs, () => {
      if (isConnected) return;
      socket.destroy();
      this.#close(id, CLOSE.timeout);
    });
    socket.once("connect", () => {
      isConnected = true;
      socket.setTimeout(0);
      if (this.#confirmsOpening) this.#send(continuePacket(id, LIMITS.packets));
    });
    socket.on("data", (bytes) => {
      room -= bytes.byteLength;
      this.#send(dataPacket(id, bytes));
      flow();
    });
    socket.on("end", () => {
      if (isDuplex) this.#send(dataPacket(id, new Uint8Array(0)));
      else this.#finishThenClose(id, socket);
    });
    socket.on("error", (error) => this.#close(id, closeReason(error, isConnected)));
    socket.on("close", () => this.#close(id, CLOSE.voluntary));
    return {
      receive: (bytes) => {
        if (bytes.byteLength === 0) {
          if (isDuplex) socket.end();
          return;
        }
        waiting += 1;
        if (waiting > LIMITS.packets) {
          socket.destroy();
          this.#close(id, CLOSE.throttled);
          return;
        }
        socket.write(bytes, () => {
          waiting -= 1;
          received += 1;
          // Half of what the client may send ahead is left when it learns that it may send more.
          if (received < LIMITS.packets / 2) return;
          received = 0;
          if (this.#streams.has(id)) this.#send(continuePacket(id, LIMITS.packets - waiting));
        });
      },
      grant: (count) => {
        room += count;
        flow();
      },
      resume: flow,
      end: (isReset) => {
        if (isReset) socket.resetAndDestroy();
        else socket.destroySoon();
      },
    };
  }

  /** Wisp has no half-open streams: what the client has sent is brought to its end, then both directions are over. */
  #finishThenClose(id: number, socket: Socket): void {
    socket.end(() => this.#close(id, CLOSE.voluntary));
  }

  #openUdp(id: number, address: string, port: number): Stream {
    const socket: DatagramSocket = createSocket(isIPv4(address) ? "udp4" : "udp6");
    let isOpen = true;
    const end = (): void => {
      clearTimeout(timer);
      if (isOpen) socket.close();
      isOpen = false;
    };
    const timer = setTimeout(() => {
      end();
      this.#close(id, CLOSE.voluntary);
    }, LIMITS.silentMs);
    socket.on("message", (datagram) => {
      timer.refresh();
      // What the client has no room for is lost, as on any network.
      if (!this.#isFull) this.#send(dataPacket(id, datagram));
    });
    socket.on("error", (error) => {
      end();
      this.#close(id, closeReason(error, false));
    });
    const early: Uint8Array[] = [];
    let isConnected = false;
    const send = (bytes: Uint8Array): void => {
      timer.refresh();
      if (isOpen) socket.send(bytes, () => undefined);
    };
    socket.connect(port, address, () => {
      isConnected = true;
      early.splice(0).forEach(send);
    });
    return {
      receive: (bytes) => {
        if (isConnected) send(bytes);
        else if (early.length < LIMITS.packets) early.push(bytes);
      },
      grant: () => undefined,
      resume: () => undefined,
      end,
    };
  }

  #close(id: number, reason: number): void {
    if (this.#streams.delete(id)) this.#send(closePacket(id, reason));
  }

  #send(packet: Uint8Array): void {
    if (this.socket.readyState !== this.socket.OPEN) return;
    this.socket.send(packet, () => {
      if (!this.#isFull || this.socket.bufferedAmount > LIMITS.waitingBytes / 2) return;
      this.#isFull = false;
      this.#streams.forEach((stream) => stream.resume());
    });
    this.#isFull ||= this.socket.bufferedAmount > LIMITS.waitingBytes;
  }
}

function closeReason(error: NodeJS.ErrnoException, isConnected: boolean): number {
  if (isConnected) return CLOSE.networkError;
  switch (error.code) {
    case "ECONNREFUSED":
      return CLOSE.refused;
    case "ETIMEDOUT":
      return CLOSE.timeout;
    case "EMFILE":
    case "ENFILE":
      return CLOSE.throttled;
    default:
      return CLOSE.unreachable;
  }
}
