/**
 * The packets of the Wisp protocol (https://github.com/MercuryWorkshop/wisp-protocol), versions 1 and 2: streams to many
 * destinations over one WebSocket, a packet a message.
 */

/** The first byte of a packet. */
export const PACKET = { connect: 1, data: 2, continue: 3, close: 4, info: 5 } as const;

/** What a stream carries, in a CONNECT packet. */
export const STREAM = { tcp: 1, udp: 2 } as const;

/** Why a stream is over, in a CLOSE packet. */
export const CLOSE = {
  unknown: 0x01,
  voluntary: 0x02,
  networkError: 0x03,
  invalid: 0x41,
  unreachable: 0x42,
  timeout: 0x43,
  refused: 0x44,
  blocked: 0x48,
  throttled: 0x49,
} as const;

/** The extensions of version 2 that are known here. */
export const EXTENSION = {
  udp: 0x01,
  /** The server sends CONTINUE for a stream when it has connected. */
  openConfirmation: 0x05,
  /**
   * Of this project (others leave it alone): an empty DATA packet on a TCP stream ends the sender's direction only; and the client limits
   * the server too: on each TCP stream the server sends no more bytes than the 32-bit number with which the client announces
   * the extension, and than each CONTINUE of the client adds.
   */
  duplex: 0xd1,
} as const;

/** The WebSocket subprotocol by which a client asks for version 2. */
export const SUBPROTOCOL = "wisp-v2";

/** A packet, read. */
export type Packet =
  | { type: "connect"; stream: number; transport: "tcp" | "udp"; port: number; host: string }
  | { type: "data"; stream: number; bytes: Uint8Array }
  | { type: "continue"; stream: number; count: number }
  | { type: "close"; stream: number; reason: number }
  | { type: "info"; major: number; extensions: Map<number, Uint8Array> };

/** Reads a packet; nothing if it is malformed or unknown. */
export function parsePacket(message: Uint8Array): Packet | undefined {
  if (message.byteLength < 5) return undefined;
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  const stream = view.getUint32(1, true);
  const payload = message.subarray(5);
  switch (message[0]) {
    case PACKET.connect: {
      const transport = payload[0] === STREAM.tcp ? "tcp" : payload[0] === STREAM.udp ? "udp" : undefined;
      if (payload.byteLength < 4 || transport === undefined) return undefined;
      const host = new TextDecoder().decode(payload.subarray(3));
      return { type: "connect", stream, transport, port: view.getUint16(6, true), host };
    }
    case PACKET.data:
      return { type: "data", stream, bytes: payload };
    case PACKET.continue:
      return payload.byteLength < 4 ? undefined : { type: "continue", stream, count: view.getUint32(5, true) };
    case PACKET.close:
      return { type: "close", stream, reason: payload[0] ?? CLOSE.unknown };
    case PACKET.info:
      return payload.byteLength < 2 ? undefined : parseInfo(payload, view);
    default:
      return undefined;
  }
}

function parseInfo(payload: Uint8Array, view: DataView): Packet | undefined {
  const extensions = new Map<number, Uint8Array>();
  for (let at = 2; at < payload.byteLength;) {
    if (at + 5 > payload.byteLength) return undefined;
    const length = view.getUint32(5 + at + 1, true);
    const end = at + 5 + length;
    if (end > payload.byteLength) return undefined;
    extensions.set(payload[at] ?? 0, payload.subarray(at + 5, end));
    at = end;
  }
  return { type: "info", major: payload[0] ?? 0, extensions };
}

function packet(
  type: number,
  stream: number,
  payloadBytes: number,
): { bytes: Uint8Array<ArrayBuffer>; view: DataView } {
  const bytes = new Uint8Array(5 + payloadBytes);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, type);
  view.setUint32(1, stream, true);
  return { bytes, view };
}

/** A CONNECT packet. */
export function connectPacket(
  stream: number,
  transport: "tcp" | "udp",
  host: string,
  port: number,
): Uint8Array<ArrayBuffer> {
  const name = new TextEncoder().encode(host);
  const { bytes, view } = packet(PACKET.connect, stream, 3 + name.byteLength);
  view.setUint8(5, STREAM[transport]);
  view.setUint16(6, port, true);
  bytes.set(name, 8);
  return bytes;
}

/** A DATA packet. */
export function dataPacket(stream: number, data: Uint8Array): Uint8Array<ArrayBuffer> {
  const { bytes } = packet(PACKET.data, stream, data.byteLength);
  bytes.set(data, 5);
  return bytes;
}

/** A CONTINUE packet. */
export function continuePacket(stream: number, count: number): Uint8Array<ArrayBuffer> {
  const { bytes, view } = packet(PACKET.continue, stream, 4);
  view.setUint32(5, count, true);
  return bytes;
}

/** A CLOSE packet. */
export function closePacket(stream: number, reason: number): Uint8Array<ArrayBuffer> {
  const { bytes } = packet(PACKET.close, stream, 1);
  bytes[5] = reason;
  return bytes;
}

/** An INFO packet of version 2.0. */
export function infoPacket(extensions: readonly [id: number, payload: Uint8Array][]): Uint8Array<ArrayBuffer> {
  const { bytes, view } = packet(
    PACKET.info,
    0,
    extensions.reduce((size, [, payload]) => size + 5 + payload.byteLength, 2),
  );
  view.setUint8(5, 2);
  let at = 7;
  for (const [id, payload] of extensions) {
    view.setUint8(at, id);
    view.setUint32(at + 1, payload.byteLength, true);
    bytes.set(payload, at + 5);
    at += 5 + payload.byteLength;
  }
  return bytes;
}

/** A number as an extension's payload. */
export function numberPayload(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

/** The number in an extension's payload; 0 without one. */
export function payloadNumber(payload: Uint8Array): number {
  if (payload.byteLength < 4) return 0;
  return new DataView(payload.buffer, payload.byteOffset, payload.byteLength).getUint32(0, true);
}
