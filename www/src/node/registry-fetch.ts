/** How the cache of images asks registries from node: from this computer, but not on behalf of others within it. */

import { request as requestHttp, type IncomingMessage } from "node:http";
import { request as requestHttps } from "node:https";
import { lookup } from "node:dns/promises";
import type { LookupFunction } from "node:net";
import { Readable } from "node:stream";

import { DinghyError } from "../options.js";
import { checkRegistry, type Fetch } from "../registry/upstream.js";
import { RelayPolicy } from "./serve/policy.js";

/** Redirects that are followed, as browsers do. */
const MOST_REDIRECTS = 20;
/** How long a registry may be silent. */
const SILENCE_MS = 60_000;

/**
 * A `fetch` that reaches the origins of `registries`, wherever these are, and public addresses: a registry may send its
 * clients elsewhere (for tokens, for blobs), but not to what only this computer can reach.
 */
export function registryFetch(registries: readonly string[]): Fetch {
  const origins = new Set(registries.map((text) => checkRegistry(text).url.origin));
  const policy = new RelayPolicy(["public"]);
  const addressOf = async (url: URL): Promise<string> => {
    const host = url.hostname.replace(/^\[|\]$/g, "");
    if (origins.has(url.origin)) return (await lookup(host, { family: 4 })).address;
    return policy.address(host, Number(url.port) || (url.protocol === "https:" ? 443 : 80));
  };
  return async (start, headers) => {
    let url = start;
    for (let redirects = 0; redirects <= MOST_REDIRECTS; redirects++) {
      const sent = { ...headers };
      if (url.origin !== start.origin) delete sent.authorization;
      const answer = await ask(url, await addressOf(url), sent);
      const { statusCode: status = 0 } = answer;
      const location = answer.headers.location;
      if (![301, 302, 303, 307, 308].includes(status) || location === undefined) return responseOf(answer);
      answer.resume();
      url = new URL(location, url);
      if (url.protocol !== "http:" && url.protocol !== "https:") break;
    }
    throw new DinghyError(`${start.origin} sends its clients from one address to another without an end.`);
  };
}

/** Asks at this very address, so that no second look-up leads elsewhere. */
function ask(url: URL, address: string, headers: Record<string, string>): Promise<IncomingMessage> {
  const pinned: LookupFunction = (_, options, settle) => {
    if (options.all === true) settle(null, [{ address, family: 4 }]);
    else settle(null, address, 4);
  };
  return new Promise((resolve, reject) => {
    const request = (url.protocol === "https:" ? requestHttps : requestHttp)(url, { headers, lookup: pinned });
    request.setTimeout(SILENCE_MS, () => request.destroy(new Error(`${url.host} does not answer`)));
    request.once("response", resolve);
    request.once("error", reject);
    request.end();
  });
}

function responseOf(answer: IncomingMessage): Response {
  const headers = new Headers();
  for (const [name, values] of Object.entries(answer.headersDistinct)) {
    values?.forEach((value) => headers.append(name, value));
  }
  const status = answer.statusCode ?? 502;
  if (status === 204 || status === 304) {
    answer.resume();
    return new Response(null, { status, headers });
  }
  return new Response(Readable.toWeb(answer) as ReadableStream<Uint8Array<ArrayBuffer>>, { status, headers });
}
