/** Chooses what carries a machine's flows in a browser. */

import type { NetworkOptions } from "../options.js";
import type { RegistryEvent } from "../registry/registry.js";
import { pageFetch, registryServices } from "../registry/service.js";
import { reason } from "../worker/download.js";
import { openImageCache } from "../worker/image-cache.js";
import { carrierFetch } from "./carrier-fetch.js";
import { fetchCarrier, type Https, withFetchFor } from "./fetch-carrier.js";
import type { Carrier } from "./flows.js";
import { nowhere } from "./nowhere.js";
import { RelayCarrier } from "./relay.js";
import { withServices } from "./services.js";
import { fetchModule, loadTls, type TlsClient } from "./tls.js";
import { httpsPorts, withCertificate } from "./trust.js";

/**
 * The carrier of a choice of network.
 *
 * @param tell told what the registry in the emulator does
 * @param failed told what the network has to do without
 */
export async function carrierFor(
  network: NetworkOptions,
  tell: (event: RegistryEvent) => void,
  failed: (sentence: string) => void,
): Promise<Carrier> {
  if (network.to === "none") return nowhere;
  const https = await httpsOf(network).catch((error: unknown) => {
    failed(`The guest has no HTTPS by fetch: ${reason(error)}.`);
    return undefined;
  });
  const outside = outsideOf(network, https);
  const { registries = [], mostBytes, roots = "" } = network.registry ?? {};
  const client = async (): Promise<TlsClient> => {
    const { Client } = await loadTls(fetchModule);
    return new Client(roots);
  };
  const fetch = pageFetch(network.to === "relay" ? carrierFetch(outside, client) : undefined);
  const services = registryServices(openImageCache(), registries, fetch, tell, mostBytes);
  return withServices(outside, withCertificate(services, https?.authority));
}

/** What ends the guest's HTTPS, where the user wants that: a certificate authority with a key that nobody has had before. */
async function httpsOf(network: NetworkOptions): Promise<Https | undefined> {
  const ports = httpsPorts(network);
  if (ports.length === 0) return undefined;
  const { Authority } = await loadTls(fetchModule);
  return { authority: new Authority(), ports };
}

function outsideOf(network: NetworkOptions, https: Https | undefined): Carrier {
  switch (network.to) {
    case "none":
    case "nowhere":
      return nowhere;
    case "fetch":
      return byFetch(https);
    case "relay": {
      const relay = new RelayCarrier(
        String(network.relay),
        network.dns === undefined ? undefined : String(network.dns),
      );
      return network.fetch === undefined ? relay : withFetchFor(network.fetch, byFetch(https), relay);
    }
  }
}

function byFetch(https: Https | undefined): Carrier {
  const { host, protocol } = self.location;
  return fetchCarrier({
    fetch: (address, options) => fetch(address, options),
    ownHost: host,
    isEncrypted: protocol === "https:",
    ...(https ? { https } : {}),
  });
}
