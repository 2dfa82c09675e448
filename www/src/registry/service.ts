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

/** The services with a registry whose cache is in `files`. */
export function registryServices(
  files: Promise<CacheFiles>,
  registries: readonly string[],
  fetch: Fetch,
  tell: (event: RegistryEvent) => void,
): Map<number, Service> {
  const routes = registries.map((text) => routeOf(text, fetch));
  const registry = files.then((files) => new Registry(files, routes, tell));
  // Whoever asks it is told what is wrong.
  registry.catch(() => undefined);
  return new Map([[REGISTRY_PORT, (flow) => serveHttp(flow, async (request) => (await registry).answer(request))]]);
}

/**
 * How a page asks registries: by `fetch`, where their servers let pages do so, and plain HTTP over `relay` where not.
 */
export function pageFetch(relay: Fetch | undefined): Fetch {
  return async (url, headers) => {
    try {
      return await fetch(url, { headers, credentials: "omit", cache: "no-store" });
    } catch (error) {
      if (relay && url.protocol === "http:") return relay(url, headers);
      throw new Error(
        `${url.origin} cannot be reached, or does not let pages ask it: it would have to send ` +
          `Access-Control-Allow-Origin (${error instanceof Error ? error.message : String(error)})`,
        { cause: error },
      );
    }
  };
}
