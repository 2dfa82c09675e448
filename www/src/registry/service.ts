/** The registry as a service for the guest. */

import { serveHttp } from "../network/http-server.js";
import type { Service } from "../network/services.js";
import type { CacheFiles } from "./files.js";
import { Registry, type RegistryEvent } from "./registry.js";
import { type Fetch, routeOf } from "./upstream.js";

/** The port of the services' address at which Docker finds the registry: that of plain HTTP. */
export const REGISTRY_PORT = 80;

/** The registries that may be asked where none are named. */
export const DEFAULT_REGISTRIES: readonly string[] = ["https://registry-1.docker.io"];

/** The services with a registry whose cache is in `files`, and keeps below `mostBytes` by forgetting images. */
export function registryServices(
  files: Promise<CacheFiles>,
  registries: readonly string[],
  fetch: Fetch,
  tell: (event: RegistryEvent) => void,
  mostBytes?: number,
): Map<number, Service> {
  const routes = registries.map((text) => routeOf(text, fetch));
  const registry = files.then((files) => new Registry(files, routes, tell, mostBytes));
  // Whoever asks it is told what is wrong.
  registry.catch(() => undefined);
  return new Map([[REGISTRY_PORT, (flow) => serveHttp(flow, async (request) => (await registry).answer(request))]]);
}

/**
 * How a page asks registries: by `fetch`, where their servers let pages do so, and over `relay` where not.
 */
export function pageFetch(relay: Fetch | undefined): Fetch {
  return async (url, headers) => {
    try {
      return await fetchPlainly(url, headers);
    } catch (error) {
      if (relay) return relay(url, headers);
      throw new Error(
        `${url.origin} cannot be reached, or does not let pages ask it: it would have to send ` +
          `Access-Control-Allow-Origin (${error instanceof Error ? error.message : String(error)})`,
        { cause: error },
      );
    }
  };
}

/** Longest header of a kind that needs no leave of the server (Fetch standard, "CORS-safelisted request-header"). */
const MOST_PLAIN_BYTES = 128;
/** Manifests in the form before the last, which a registry makes where it takes its client for an old one. */
const OLD_MANIFEST = /manifest\.v1\b/;

/**
 * Asks so that the browser does not ask the server for its leave first, as few registries give that: a long list of
 * manifests' types is asked for in parts.
 */
async function fetchPlainly(url: URL, headers: Record<string, string>): Promise<Response> {
  const { accept, ...others } = headers;
  const ask = (part: string | undefined): Promise<Response> =>
    fetch(url, {
      headers: part === undefined ? others : { ...others, accept: part },
      credentials: "omit",
      cache: "no-store",
    });
  if (accept === undefined || accept.length <= MOST_PLAIN_BYTES) return ask(accept);
  const parts: string[] = [];
  for (const type of accept.split(",").map((type) => type.trim())) {
    const longer = [...parts.slice(-1), type].join(", ");
    if (parts.length > 0 && longer.length <= MOST_PLAIN_BYTES) parts[parts.length - 1] = longer;
    else parts.push(type);
  }
  let answer = await ask(parts[0]);
  for (const part of parts.slice(1)) {
    if (answer.ok && !OLD_MANIFEST.test(answer.headers.get("content-type") ?? "")) break;
    if (!answer.ok && ![400, 404, 406].includes(answer.status)) break;
    await answer.body?.cancel();
    answer = await ask(part);
  }
  return answer;
}
