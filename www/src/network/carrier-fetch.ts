/** Plain HTTP over a carrier's connections, for where the browser itself lets a page ask nobody. */

import { DinghyError } from "../options.js";
import type { Fetch } from "../registry/upstream.js";
import type { Carrier, FlowEnd } from "./flows.js";
import { ResponseReader } from "./http-response.js";

/** Redirects that are followed, as browsers do. */
const MOST_REDIRECTS = 20;
/** Bytes that are read ahead of whoever wants them. */
const AHEAD_BYTES = 256 * 1024;

/** A `fetch` over a carrier that resolves names and has a policy of its own: a relay. */
export function carrierFetch(carrier: Carrier): Fetch {
  return async (start, headers) => {
    let url = start;
    for (let redirects = 0; redirects <= MOST_REDIRECTS; redirects++) {
      if (url.protocol !== "http:")
        throw new DinghyError(`${url.origin} can only be asked by fetch, not over a relay.`);
      const sent = { ...headers };
      if (url.origin !== start.origin) delete sent.authorization;
      const answer = await ask(carrier, url, sent);
      const location = answer.headers.get("location");
      if (![301, 302, 303, 307, 308].includes(answer.status) || location === null) return answer;
      await answer.body?.cancel();
      url = new URL(location, url);
    }
    throw new DinghyError(`${start.origin} sends its clients from one address to another without an end.`);
  };
}

async function ask(carrier: Carrier, url: URL, headers: Record<string, string>): Promise<Response> {
  const { readable, end } = openStream(carrier, url.hostname, Number(url.port) || 80);
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

/** Opens a connection; its stream fails if the connection does. */
function openStream(
  carrier: Carrier,
  host: string,
  port: number,
): { readable: ReadableStream<Uint8Array>; end: FlowEnd } {
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  let isHeld = false;
  let isOver = false;
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
  const end = carrier.open(
    {
      opened: () => undefined,
      failed(reason) {
        if (!isOver) controller?.error(new DinghyError(`The connection to ${host}:${port} failed: ${reason}.`));
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
    },
    "tcp",
    host,
    port,
  );
  return { readable, end };
}
