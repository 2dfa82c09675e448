/** HTTP and HTTPS requests of this computer, at addresses that were looked up once. */

import { request as requestHttp, type IncomingMessage } from "node:http";
import { request as requestHttps } from "node:https";
import type { LookupFunction } from "node:net";
import { Readable } from "node:stream";

import { type FetchSurroundings, RefusedRequest } from "../network/fetch-carrier.js";
import { Refusal, RelayPolicy } from "./serve/policy.js";

/** How long a server may be silent. */
const SILENCE_MS = 60_000;

/** What is asked, besides the address. */
export interface Question {
  method: string;
  headers: Record<string, string>;
  body: Uint8Array | undefined;
}

/** Asks at this very address, so that no second look-up leads elsewhere. */
export function ask(url: URL, address: string, { method, headers, body }: Question): Promise<IncomingMessage> {
  const pinned: LookupFunction = (_, options, settle) => {
    if (options.all === true) settle(null, [{ address, family: 4 }]);
    else settle(null, address, 4);
  };
  return new Promise((resolve, reject) => {
    const request = (url.protocol === "https:" ? requestHttps : requestHttp)(url, { method, headers, lookup: pinned });
    request.setTimeout(SILENCE_MS, () => request.destroy(new Error(`${url.host} does not answer`)));
    request.once("response", resolve);
    request.once("error", reject);
    request.end(body);
  });
}

/** An answer as `fetch` would give it, but for its encodings, which stay. */
export function responseOf(answer: IncomingMessage): Response {
  const headers = new Headers();
  for (const [name, values] of Object.entries(answer.headersDistinct)) {
    values?.forEach((value) => headers.append(name, value));
  }
  const status = answer.statusCode ?? 502;
  const statusText = answer.statusMessage ?? "";
  if (status === 204 || status === 304) {
    answer.resume();
    return new Response(null, { status, statusText, headers });
  }
  const body = Readable.toWeb(answer) as ReadableStream<Uint8Array<ArrayBuffer>>;
  return new Response(body, { status, statusText, headers });
}

/** The port that an address leads to. */
export function portOf(url: URL): number {
  return Number(url.port) || (url.protocol === "https:" ? 443 : 80);
}

/**
 * Carries the guest's requests to public servers by their names, and to the addresses that the gateway lets it reach.
 * Redirects are the guest's to follow.
 */
export function guestFetch(): FetchSurroundings["fetch"] {
  const policy = new RelayPolicy(["public"]);
  return async (text, { method = "GET", headers, body }, server) => {
    const url = new URL(text);
    try {
      const address = server ?? (await policy.address(url.hostname, portOf(url)));
      const sent = { ...Object.fromEntries(new Headers(headers)), "accept-encoding": "identity" };
      const bytes = body instanceof Uint8Array ? body : undefined;
      return responseOf(await ask(url, address, { method, headers: sent, body: bytes }));
    } catch (error) {
      if (error instanceof Refusal && error.kind === "blocked")
        throw new RefusedRequest(`The policy does not let the guest ask ${url.host}.`);
      throw error;
    }
  };
}
