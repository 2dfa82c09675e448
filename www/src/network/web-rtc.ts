/**
 * A link to a machine in another browser: a WebRTC data channel, whose two ends exchange an offer and an answer by
 * whatever way their users have. No server takes part, unless one is named.
 */

import { DinghyError } from "../options.js";
import { reason } from "../worker/download.js";
import type { PeerMessage } from "./peers.js";

/** How long the browser may look for its own addresses. */
const GATHER_MS = 5000;
/** Bytes that wait in the channel, above which packets are lost. */
const MOST_BUFFERED_BYTES = 4 * 1024 * 1024;
/** Longest message of the other end. */
const MOST_MESSAGE_BYTES = 65_536;

/** One end of a link that is being made. */
export interface PeerLink {
  /** The offer or answer for the other end. */
  text: string;
  /** Resolves when the link is there, or says why it is not. */
  opened: Promise<void>;
  /** Ends the link. */
  close(): void;
}

/** An end that has made an offer. */
export interface PeerOffer extends PeerLink {
  /** Takes the other end's answer.
   * @throws DinghyError if it is none */
  accept(answer: string): Promise<void>;
}

/** Makes an offer. `channel` is the machine's side. */
export async function offerLink(channel: MessagePort, iceServers: RTCIceServer[]): Promise<PeerOffer> {
  const connection = new RTCPeerConnection({ iceServers });
  // Packets may be lost and overtake each other: what sends them sees to that.
  const data = connection.createDataChannel("dinghy", { ordered: false, maxRetransmits: 0 });
  const { opened, close } = carry(connection, data, channel);
  await connection.setLocalDescription(await connection.createOffer());
  return {
    text: await description(connection),
    opened,
    close,
    accept: (answer) => setRemote(connection, "answer", answer),
  };
}

/** Answers an offer.
 * @throws DinghyError if it is none */
export async function answerLink(channel: MessagePort, offer: string, iceServers: RTCIceServer[]): Promise<PeerLink> {
  const connection = new RTCPeerConnection({ iceServers });
  let close = (): void => connection.close();
  const opened = new Promise<void>((resolve, reject) => {
    connection.ondatachannel = ({ channel: data }) => {
      const carried = carry(connection, data, channel);
      close = carried.close;
      carried.opened.then(resolve, reject);
    };
  });
  opened.catch(() => undefined);
  try {
    await setRemote(connection, "offer", offer);
    await connection.setLocalDescription(await connection.createAnswer());
  } catch (error) {
    connection.close();
    throw error;
  }
  return { text: await description(connection), opened, close: () => close() };
}

function late(): DinghyError {
  return new DinghyError("The other machine could not be reached; both pages must stay open, and be on one network.");
}

/** Moves messages between the data channel and the machine's side. `opened` resolves when the data channel is open. */
function carry(
  connection: RTCPeerConnection,
  data: RTCDataChannel,
  channel: MessagePort,
): { opened: Promise<void>; close: () => void } {
  data.binaryType = "arraybuffer";
  data.onmessage = ({ data: bytes }: MessageEvent<unknown>) => {
    const message = bytes instanceof ArrayBuffer ? decode(new Uint8Array(bytes)) : undefined;
    if (message) channel.postMessage(message);
  };
  let end = (): void => undefined;
  const opened = new Promise<void>((resolve, reject) => {
    end = () => {
      channel.postMessage({ type: "gone", address: 0 } satisfies PeerMessage);
      channel.close();
      connection.close();
      reject(late());
    };
    connection.onconnectionstatechange = () => {
      if (connection.connectionState === "failed") end();
    };
    const start = (): void => {
      // What the machine has said before waits in its channel.
      channel.onmessage = ({ data: message }: MessageEvent<PeerMessage>) => {
        if (data.readyState === "open" && data.bufferedAmount < MOST_BUFFERED_BYTES) data.send(encode(message));
        if (message.type === "gone") data.close();
      };
      resolve();
    };
    data.onopen = start;
    data.onclose = () => end();
    if (data.readyState === "open") start();
  });
  opened.catch(() => undefined);
  return { opened, close: () => end() };
}

/** A message in bytes: its kind, then the packet, or an address and a sign. */
const KINDS = ["packet", "who", "here", "gone"] as const;

/** A message as it crosses a data channel. */
export function encode(message: PeerMessage): Uint8Array<ArrayBuffer> {
  const kind = KINDS.indexOf(message.type);
  if (message.type === "packet") {
    const bytes = new Uint8Array(1 + message.bytes.byteLength);
    bytes[0] = kind;
    bytes.set(message.bytes, 1);
    return bytes;
  }
  const view = new DataView(new ArrayBuffer(9));
  view.setUint8(0, kind);
  view.setUint32(1, message.address);
  view.setUint32(5, message.type === "here" ? message.sign : 0);
  return new Uint8Array(view.buffer);
}

/** The message in bytes of the other end; nothing if there is none. */
export function decode(bytes: Uint8Array): PeerMessage | undefined {
  const type = KINDS[bytes[0] ?? KINDS.length];
  if (type === "packet") {
    return bytes.byteLength > MOST_MESSAGE_BYTES ? undefined : { type, bytes: bytes.slice(1) };
  }
  if (type === undefined || bytes.byteLength !== 9) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const address = view.getUint32(1);
  return type === "here" ? { type, address, sign: view.getUint32(5) } : { type, address };
}

/** This end's description, with all addresses under which it may be reached, as text to paste. */
async function description(connection: RTCPeerConnection): Promise<string> {
  await new Promise<void>((resolve) => {
    const look = (): void => {
      if (connection.iceGatheringState === "complete") resolve();
    };
    connection.onicegatheringstatechange = look;
    setTimeout(resolve, GATHER_MS);
    look();
  });
  return btoa(connection.localDescription?.sdp ?? "");
}

async function setRemote(connection: RTCPeerConnection, type: "offer" | "answer", text: string): Promise<void> {
  try {
    await connection.setRemoteDescription({ type, sdp: atob(text.trim()) });
  } catch (error) {
    throw new DinghyError(`This is no ${type} of another machine (${reason(error)}); copy all of it.`);
  }
}
