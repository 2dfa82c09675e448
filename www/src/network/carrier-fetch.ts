/** HTTP and HTTPS over a carrier's connections, for where the browser itself lets a page ask nobody. */

import { DinghyError } from "../options.js";
import type { Fetch } from "../registry/upstream.js";
import type { Carrier, FlowEnd, FlowUser } from "./flows.js";
import { ResponseReader } from "./http-response.js";
import { connectTls, type TlsClient } from "./tls.js";

/** Redirects that are followed, as browsers do. */
const MOST_REDIRECTS = 20;
/** Bytes that are read ahead of whoever wants them. */
const AHEAD_BYTES = 256 * 1024;

/**
 * A `fetch` over a carrier that resolves names and has a policy of its own: a relay.
 *
 * @param tls makes what opens HTTPS; called when that is wanted first, and again if it has failed
 */
export function carrierFetch(carrier: Carrier, tls: () => Promise<TlsClient>): Fetch {
  let client: Promise<TlsClient> | undefined;
  const clientFor = (url: URL): Promise<TlsClient | undefined> => {
    if (url.protocol !== "https:") return Promise.resolve(undefined);
    client ??= tls().catch((error: unknown) => {
      client = undefined;
      throw error;
    });
    return client;
  };
  return async (start, headers) => {
    let url = start;
    for (let redirects = 0; redirects <= MOST_REDIRECTS; redirects++) {
      const sent = { ...headers };
      if (url.origin !== start.origin) delete sent.authorization;
      const answer = await ask(carrier, await clientFor(url), url, sent);
      const location = answer.headers.get("location");
      if (![301, 302, 303, 307, 308].includes(answer.status) || location === null) return answer;
      await answer.body?.cancel();
      const next = new URL(location, url);
      if (next.protocol !== "https:" && (next.protocol !== "http:" || url.protocol === "https:"))
        throw new DinghyError(`${url.origin} sends its clients to ${next.origin}, which is not asked in its place.`);
      url = next;
    }
    throw new DinghyError(`${start.origin} sends its clients from one address to another without an end.`);
  };
}

async function ask(
  carrier: Carrier,
  client: TlsClient | undefined,
  url: URL,
  headers: Record<string, string>,
): Promise<Response> {
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const { readable, end } = openStream(carrier, client, host, Number(url.port) || (client ? 443 : 80));
  const lines = [`GET ${url.pathname}${url.search} HTTP/1.1`, `host: ${url.host}`, "connection: close"];
  for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`);
  end.send(new TextEncoder().encode(`${lines.join("\r\n")}\r\n\r\n`));
  const reader = new ResponseReader(readable);
  const head = await reader.head("GET");
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>(
    {
      async pull(controller) {
        const bytes = await reader.body(head.framing);
        if (bytes) {
          controller.enqueue(bytes as Uint8Array<ArrayBuffer>);
          return;
        }
        controller.close();
        end.close(false);
      },
      cancel: () => end.close(true),
    },
    { highWaterMark: 0 },
  );
  const isEmpty = head.status === 204 || head.status === 304;
  if (isEmpty) end.close(false);
  const { status, statusText } = head;
  return new Response(isEmpty ? null : body, { status, statusText, headers: head.headers });
}

/** Opens a connection, over TLS with a client for that; its stream fails if the connection does. */
function openStream(
  carrier: Carrier,
  client: TlsClient | undefined,
  host: string,
  port: number,
): { readable: ReadableStream<Uint8Array>; end: FlowEnd } {
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  let isHeld = false;
  let isOver = false;
  let why: string | undefined;
  const readable = new ReadableStream<Uint8Array>(
    {
      start: (own) => void (controller = own),
      pull() {
        if (isHeld) end.resume();
        isHeld = false;
      },
    },
    { highWaterMark: AHEAD_BYTES, size: (bytes) => bytes.byteLength },
  );
  const user: FlowUser = {
    opened: () => undefined,
    failed(reason) {
      if (!isOver) controller?.error(new DinghyError(`The connection to ${host}:${port} failed: ${why ?? reason}.`));
      isOver = true;
    },
    data(bytes) {
      if (!isOver) controller?.enqueue(bytes);
      isHeld = !isOver && (controller?.desiredSize ?? 0) <= 0;
      return !isHeld;
    },
    ended() {
      if (!isOver) controller?.close();
      isOver = true;
    },
    sent: () => undefined,
  };
  const end = client
    ? connectTls(carrier, client, user, host, port, (sentence) => (why = sentence))
    : carrier.open(user, "tcp", host, port);
  return { readable, end };
}
