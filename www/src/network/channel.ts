/**
 * A connection to a port of the guest over a message channel: one end in the worker that carries the network,
 * the other wherever the connection is used. Each side sends no more than a window ahead of what the other has taken.
 */

import { DinghyError } from "../options.js";
import type { FlowUser, FlowEnd, Network } from "./flows.js";

/** What goes through the channel, both ways. */
type ChannelMessage =
  | { type: "data"; bytes: Uint8Array }
  /** The sender's stream has ended. */
  | { type: "end" }
  /** The connection is over. */
  | { type: "close"; isReset: boolean }
  /** So many bytes have been taken: as many more may be sent. */
  | { type: "taken"; count: number };

/** Bytes that the user's side sends ahead. */
const WINDOW_BYTES = 256 * 1024;

/** Joins a channel to a port of the guest, on the side of the network. */
export function joinChannel(network: Network, guestPort: number, channel: MessagePort): void {
  const post = (message: ChannelMessage, transfer: Transferable[] = []): void => channel.postMessage(message, transfer);
  const isConnected = network.connect(guestPort, (flow) => channelEnd(flow, channel, post));
  if (isConnected) return;
  post({ type: "close", isReset: true });
  channel.close();
}

function channelEnd(
  flow: FlowUser,
  channel: MessagePort,
  post: (message: ChannelMessage, transfer?: Transferable[]) => void,
): FlowEnd {
  /** Bytes that the guest's side has been given and the user's side has not been told of. */
  let owed = 0;
  const settle = (): void => {
    if (owed > 0) post({ type: "taken", count: owed });
    owed = 0;
  };
  channel.onmessage = ({ data: message }: MessageEvent<ChannelMessage>) => {
    switch (message.type) {
      case "data":
        owed += message.bytes.byteLength;
        if (flow.data(message.bytes)) settle();
        break;
      case "end":
        flow.ended();
        break;
      case "close":
        flow.failed("reset");
        channel.close();
        break;
      case "taken":
        flow.sent(message.count);
        break;
    }
  };
  return {
    send: (bytes) => post({ type: "data", bytes }, [bytes.buffer]),
    finish: () => post({ type: "end" }),
    close: (isReset) => {
      post({ type: "close", isReset });
      channel.close();
    },
    resume: settle,
  };
}

/** A stream of bytes to a port of the guest, and one back. */
export interface Connection {
  /** What the guest sends. It fails with a {@link DinghyError} if the guest refuses or resets the connection. */
  readonly readable: ReadableStream<Uint8Array>;
  /** What the guest is sent. Closing it ends this direction only. */
  readonly writable: WritableStream<Uint8Array>;
  /** Ends both directions at once. */
  close(): void;
}

/** Makes the user's end of a channel. */
export function openConnection(guestPort: number, channel: MessagePort): Connection {
  const post = (message: ChannelMessage): void => channel.postMessage(message);
  let readController: ReadableStreamDefaultController<Uint8Array> | undefined;
  let writeController: WritableStreamDefaultController | undefined;
  let owed = 0;
  let ahead = 0;
  let isOver = false;
  let hasReadableEnded = false;
  let onRoom: (() => void) | undefined;

  const settle = (): void => {
    if (owed > 0 && !isOver) post({ type: "taken", count: owed });
    owed = 0;
  };
  const end = (error?: DinghyError): void => {
    if (isOver) return;
    isOver = true;
    channel.close();
    if (error) {
      if (!hasReadableEnded) readController?.error(error);
      writeController?.error(error);
    } else if (!hasReadableEnded) {
      readController?.close();
    }
    hasReadableEnded = true;
    onRoom?.();
  };
  const close = (): void => {
    if (isOver) return;
    post({ type: "close", isReset: true });
    end(new DinghyError(`The connection to port ${guestPort} of the guest was closed.`));
  };
  channel.onmessage = ({ data: message }: MessageEvent<ChannelMessage>) => {
    switch (message.type) {
      case "data":
        owed += message.bytes.byteLength;
        if (hasReadableEnded) {
          settle();
          break;
        }
        readController?.enqueue(message.bytes);
        if ((readController?.desiredSize ?? 0) > 0) settle();
        break;
      case "end":
        if (!hasReadableEnded) readController?.close();
        hasReadableEnded = true;
        break;
      case "close":
        end(
          message.isReset
            ? new DinghyError(`Port ${guestPort} of the guest refused or reset the connection.`)
            : undefined,
        );
        break;
      case "taken":
        ahead -= message.count;
        onRoom?.();
        break;
    }
  };
  const readable = new ReadableStream<Uint8Array>(
    {
      start: (controller) => void (readController = controller),
      pull: settle,
      cancel: () => {
        hasReadableEnded = true;
        close();
      },
    },
    { highWaterMark: WINDOW_BYTES, size: (bytes) => bytes.byteLength },
  );
  const writable = new WritableStream<Uint8Array>({
    start: (controller) => void (writeController = controller),
    async write(bytes) {
      for (let sent = 0; sent < bytes.byteLength;) {
        if (isOver) throw new DinghyError(`The connection to port ${guestPort} of the guest is over.`);
        const count = Math.min(bytes.byteLength - sent, WINDOW_BYTES - ahead);
        if (count <= 0) {
          await new Promise<void>((resolve) => (onRoom = resolve));
          continue;
        }
        const piece = bytes.slice(sent, sent + count);
        ahead += count;
        sent += count;
        channel.postMessage({ type: "data", bytes: piece } satisfies ChannelMessage, [piece.buffer]);
      }
    },
    close: () => post({ type: "end" }),
    abort: close,
  });
  return { readable, writable, close };
}
