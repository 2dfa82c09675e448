/** How the cache of images asks registries from node: from this computer, but not on behalf of others within it. */

import { lookup } from "node:dns/promises";

import { DinghyError } from "../options.js";
import { checkRegistry, type Fetch } from "../registry/upstream.js";
import { ask, portOf, responseOf } from "./outside-http.js";
import { RelayPolicy } from "./serve/policy.js";

/** Redirects that are followed, as browsers do. */
const MOST_REDIRECTS = 20;

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
    return policy.address(host, portOf(url));
  };
  return async (start, headers) => {
    let url = start;
    for (let redirects = 0; redirects <= MOST_REDIRECTS; redirects++) {
      const sent = { ...headers };
      if (url.origin !== start.origin) delete sent.authorization;
      const answer = await ask(url, await addressOf(url), { method: "GET", headers: sent, body: undefined });
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
