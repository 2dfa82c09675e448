/** What the emulator wants of the network, from the bytes in which its port gives it (`encode` in `src/web/net.rs`). */

import type { Transport } from "../engine.js";

/** What the guest's network is to do; the second part is the flow's number, of `"ask"` the question's. */
export type NetworkCommand =
  /** Open a flow to an address and port; `flowOpened` or `flowFailed` is the answer. */
  | [name: "open", flow: number, transport: Transport, address: string, port: number]
  /** Send a piece of a stream, or a datagram; `flowSent` is the answer. */
  | [name: "send", flow: number, bytes: Uint8Array]
  /** The guest's stream has ended; the other direction goes on. */
  | [name: "finish", flow: number]
  /** End the flow and forget it. */
  | [name: "close", flow: number, isReset: boolean]
  /** There is room again after `flowData` had returned false. */
  | [name: "resume", flow: number]
  /** Ask a name server; `answerName` is the answer. */
  | [name: "ask", question: number, query: Uint8Array]
  /** Bring an IPv4 packet to the peer that has its destination; the number means nothing. */
  | [name: "packet", number: number, packet: Uint8Array];

/** Bytes before the rest of a command: its kind, the number, the length of the rest. */
const HEAD_BYTES = 13;

/** Reads commands, in their order. */
export function readCommands(bytes: Uint8Array): NetworkCommand[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const commands: NetworkCommand[] = [];
  for (let at = 0; at < bytes.byteLength;) {
    const number = view.getFloat64(at + 1, true);
    const end = at + HEAD_BYTES + view.getUint32(at + 9, true);
    // A copy: what is sent on may be given away to another worker.
    commands.push(command(bytes[at], number, bytes.slice(at + HEAD_BYTES, end)));
    at = end;
  }
  return commands;
}

function command(kind: number | undefined, number: number, rest: Uint8Array): NetworkCommand {
  switch (kind) {
    case 0: {
      const [transport, low = 0, high = 0, ...address] = rest;
      return ["open", number, transport === 1 ? "tcp" : "udp", addressText(address), low | (high << 8)];
    }
    case 1:
      return ["send", number, rest];
    case 2:
      return ["finish", number];
    case 3:
      return ["close", number, rest[0] === 1];
    case 4:
      return ["resume", number];
    case 5:
      return ["ask", number, rest];
    case 6:
      return ["packet", number, rest];
    default:
      throw new Error(`the emulator gives a network command of kind ${kind}, which is unknown here`);
  }
}

/** An address of 4 bytes with dots, one of 16 with colons. */
function addressText(bytes: readonly number[]): string {
  if (bytes.length === 4) return bytes.join(".");
  const group = (_: unknown, at: number): string =>
    (((bytes[2 * at] ?? 0) << 8) | (bytes[2 * at + 1] ?? 0)).toString(16);
  return Array.from({ length: 8 }, group).join(":");
}
