/** Chooses what carries a machine's flows in a browser. */

import type { NetworkOptions } from "../options.js";
import type { RegistryEvent } from "../registry/registry.js";
import { pageFetch, registryServices } from "../registry/service.js";
import { openImageCache } from "../worker/image-cache.js";
import { carrierFetch } from "./carrier-fetch.js";
import { fetchCarrier, withFetchFor } from "./fetch-carrier.js";
import type { Carrier } from "./flows.js";
import { nowhere } from "./nowhere.js";
import { RelayCarrier } from "./relay.js";
import { withServices } from "./services.js";

/**
 * The carrier of a choice of network.
 *
 * @param tell told what the registry in the emulator does
 */
export function carrierFor(network: NetworkOptions, tell: (event: RegistryEvent) => void): Carrier {
  if (network.to === "none") return nowhere;
  const outside = outsideOf(network);
  const fetch = pageFetch(network.to === "relay" ? carrierFetch(outside) : undefined);
  const { registries = [], mostBytes } = network.registry ?? {};
  return withServices(outside, registryServices(openImageCache(), registries, fetch, tell, mostBytes));
}

function outsideOf(network: NetworkOptions): Carrier {
  switch (network.to) {
    case "none":
    case "nowhere":
      return nowhere;
    case "fetch":
      return byFetch();
    case "relay": {
      const relay = new RelayCarrier(
        String(network.relay),
        network.dns === undefined ? undefined : String(network.dns),
      );
      return network.fetch === undefined ? relay : withFetchFor(network.fetch, byFetch(), relay);
    }
  }
}

function byFetch(): Carrier {
  const { host, protocol } = self.location;
  const fetchFor = (address: string, options: RequestInit): Promise<Response> => fetch(address, options);
  return fetchCarrier({ fetch: fetchFor, ownHost: host, isEncrypted: protocol === "https:" });
}
