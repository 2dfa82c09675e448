/** Chooses what carries a machine's flows in a browser. */

import type { NetworkOptions } from "../options.js";
import type { Carrier } from "./flows.js";
import { nowhere } from "./nowhere.js";
import { RelayCarrier } from "./relay.js";

/** The carrier of a choice of network. */
export function carrierFor(network: NetworkOptions): Carrier {
  if (network.to !== "relay") return nowhere;
  return new RelayCarrier(String(network.relay), network.dns === undefined ? undefined : String(network.dns));
}
