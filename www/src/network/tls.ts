/** TLS on flows: the guest's, ended in the tab, and the tab's own over a relay. The protocol is in `tls/`, a module of its own. */

import { reason } from "../worker/download.js";
import type { Carrier, FlowEnd, FlowUser } from "./flows.js";

/** One end of a connection; `wire` is asked after each call for what goes to the other end. */
export interface TlsSession {
  /** Takes bytes from the other end and returns what they say. Throws if they are not what they should be. */
  receive(bytes: Uint8Array): Uint8Array<ArrayBuffer>;
  send(plain: Uint8Array): void;
  /** Ends the stream to the other end. */
  finish(): void;
  wire(): Uint8Array<ArrayBuffer>;
  isShakingHands(): boolean;
  /** Whether the other end has ended its stream. */
  hasEnded(): boolean;
  /** The name that the client asked for, in lower case. */
  serverName(): string | undefined;
  free(): void;
}

/** A certificate authority, which has a key of its own. */
export interface TlsAuthority {
  /** Its certificate in PEM. */
  certificate(): string;
  /** The server's end of a connection to an address. */
  accept(address: string): TlsSession;
}

/** Opens connections to servers that Mozilla's roots speak for, or the user's. */
export interface TlsClient {
  /** The client's end of a connection to a name or address. */
  connect(host: string): TlsSession;
}

/** What the module exports (`tls/src/web.rs`). */
export interface TlsModule {
  Authority: new () => TlsAuthority;
  Client: new (more: string) => TlsClient;
  initSync(source: { module: WebAssembly.Module }): unknown;
}

/** Reads the module's code. */
export type ReadModule = (address: URL) => Promise<BufferSource>;

let loading: Promise<TlsModule> | undefined;

/** The module, which is fetched when it is wanted first, and again if that has failed: most machines do without HTTPS. */
export function loadTls(read: ReadModule): Promise<TlsModule> {
  loading ??= load(read).catch((error: unknown) => {
    loading = undefined;
    throw error;
  });
  return loading;
}

async function load(read: ReadModule): Promise<TlsModule> {
  const [tls, code] = await Promise.all([
    import("../../pkg/tls/tls.js") as Promise<TlsModule>,
    read(new URL("../../pkg/tls/tls_bg.wasm", import.meta.url)),
  ]);
  tls.initSync({ module: await WebAssembly.compile(code) });
  return tls;
}

/** Reads the module's code in a browser. */
export const fetchModule: ReadModule = async (address) => {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address.href} answers ${response.status}`);
  return response.arrayBuffer();
};

/** Which bytes of one stream are done with, by those of another one that carries or is carried by it. */
class Confirmations {
  readonly #pieces: { count: number; worth: number }[] = [];

  /** Waits for `count` bytes, which stand for `worth` of the other stream. Returns how many of those are done with now. */
  add(count: number, worth: number): number {
    this.#pieces.push({ count, worth });
    return this.take(0);
  }

  /** So many bytes are done with. Returns how many of the other stream are thereby. */
  take(count: number): number {
    let left = count;
    let worth = 0;
    for (let [first] = this.#pieces; first !== undefined && first.count <= left; [first] = this.#pieces) {
      left -= first.count;
      worth += first.worth;
      this.#pieces.shift();
    }
    const [first] = this.#pieces;
    if (first) first.count -= left;
    return worth;
  }
}

/**
 * Serves a flow of the guest's over TLS.
 *
 * @param session the server's end, not used otherwise
 * @param serve serves what is in the connection, of the name that the client gave; called when the two ends agree on keys
 */
export function serveTls(
  flow: FlowUser,
  session: TlsSession,
  serve: (plain: FlowUser, serverName: string | undefined) => FlowEnd,
): FlowEnd {
  const confirmations = new Confirmations();
  let inner: FlowEnd | undefined;
  let hasFinished = false;
  let isOver = false;
  const over = (): void => {
    isOver = true;
    session.free();
  };
  const push = (): boolean => {
    const bytes = session.wire();
    return bytes.byteLength === 0 || flow.data(bytes);
  };
  const plain: FlowUser = {
    opened: () => undefined,
    failed(reason) {
      if (isOver) return;
      over();
      flow.failed(reason);
    },
    data(bytes) {
      if (isOver) return false;
      session.send(bytes);
      return push();
    },
    ended() {
      if (isOver) return;
      session.finish();
      push();
      flow.ended();
    },
    sent(count) {
      if (isOver) return;
      const taken = confirmations.take(count);
      if (taken > 0) flow.sent(taken);
    },
  };
  const finish = (): void => {
    if (hasFinished) return;
    hasFinished = true;
    inner?.finish();
  };
  const receive = (bytes: Uint8Array): void => {
    const said = session.receive(bytes);
    const hasEnded = session.hasEnded();
    if (!inner && !session.isShakingHands()) inner = serve(plain, session.serverName());
    push();
    const free = confirmations.add(said.byteLength, bytes.byteLength);
    if (said.byteLength > 0) inner?.send(said);
    if (free > 0) flow.sent(free);
    if (hasEnded) finish();
  };
  queueMicrotask(() => flow.opened());
  return {
    send(bytes) {
      if (isOver) {
        flow.sent(bytes.byteLength);
        return;
      }
      try {
        receive(bytes);
      } catch {
        // What is wrong is the client's to tell: it gets the alert that is waiting, and the end.
        push();
        over();
        inner?.close(true);
        flow.sent(bytes.byteLength);
        flow.ended();
      }
    },
    finish,
    close(isReset) {
      if (!isOver) over();
      inner?.close(isReset);
    },
    resume: () => inner?.resume(),
  };
}

/**
 * Opens a connection to a server, over TLS. `flow` is told of what is in it, as by the carrier.
 *
 * @param onFailure told why, where TLS is the reason; `flow.failed` follows
 */
export function connectTls(
  carrier: Carrier,
  client: TlsClient,
  flow: FlowUser,
  host: string,
  port: number,
  onFailure: (sentence: string) => void,
): FlowEnd {
  const session = client.connect(host);
  const confirmations = new Confirmations();
  let isOpen = false;
  let isOver = false;
  const over = (): void => {
    isOver = true;
    session.free();
  };
  const push = (plain: number): void => {
    const bytes = session.wire();
    const free = confirmations.add(bytes.byteLength, plain);
    if (bytes.byteLength > 0) end.send(bytes);
    if (free > 0) flow.sent(free);
  };
  const fail = (sentence: string): void => {
    over();
    end.close(true);
    onFailure(sentence);
    flow.failed("reset");
  };
  const receive = (bytes: Uint8Array): boolean => {
    const said = session.receive(bytes);
    const isShakingHands = session.isShakingHands();
    push(0);
    if (!isOpen && !isShakingHands) {
      isOpen = true;
      flow.opened();
    }
    return said.byteLength === 0 || flow.data(said);
  };
  const end = carrier.open(
    {
      opened: () => push(0),
      failed(reason) {
        if (isOver) return;
        over();
        flow.failed(reason);
      },
      data(bytes) {
        if (isOver) return true;
        try {
          return receive(bytes);
        } catch (error) {
          push(0);
          fail(reason(error));
          return true;
        }
      },
      ended() {
        if (isOver) return;
        if (session.hasEnded()) flow.ended();
        else fail("the connection was cut off");
      },
      sent(count) {
        const plain = confirmations.take(count);
        if (plain > 0 && !isOver) flow.sent(plain);
      },
    },
    "tcp",
    host,
    port,
  );
  return {
    send(bytes) {
      if (isOver) return;
      session.send(bytes);
      push(bytes.byteLength);
    },
    finish() {
      if (isOver) return;
      session.finish();
      push(0);
      end.finish();
    },
    close(isReset) {
      if (isOver) return;
      over();
      end.close(isReset);
    },
    resume: () => end.resume(),
  };
}
