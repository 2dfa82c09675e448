/** Where the guest's connections go: over a relay, if the address or the server of this page names one. */

import type { NetworkOptions } from "dinghy";

/**
 * The network of the page's machine: `?relay=ADDRESS` names a relay, `?relay=none` none, `?dns=ADDRESS` where it asks for
 * names; `?net=fetch` stands for the browser's own fetch; `?registry=[PREFIX=]URL`, which may be given again, names what
 * the cache of images asks.
 */
export function network(): NetworkOptions {
  const parameters = new URL(location.href).searchParams;
  const relay = parameters.get("relay") ?? announcedRelay();
  const dns = parameters.get("dns");
  const registry = { registries: parameters.getAll("registry") };
  if (parameters.get("net") === "fetch") return { to: "fetch", registry };
  if (relay === undefined || relay === "none" || relay === "") return { to: "nowhere", registry };
  return { to: "relay", relay, registry, ...(dns === null ? {} : { dns }) };
}

/** The relay that `dinghy serve` announces with the page itself, so that nobody has to look whether there is one. */
function announcedRelay(): string | undefined {
  const [navigation] = performance.getEntriesByType("navigation") as PerformanceNavigationTiming[];
  return navigation?.serverTiming.find(({ name }) => name === "relay")?.description;
}
