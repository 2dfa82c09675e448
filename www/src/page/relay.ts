/** Where the guest's connections go: over a relay, if the address or the server of this page names one. */

import type { NetworkOptions } from "dinghy";

const DEFAULT_IMAGES_MIB = 4096;

/**
 * The network of the page's machine: `?relay=ADDRESS` names a relay, `?relay=none` none, `?dns=ADDRESS` where it asks for
 * names; `?net=fetch` stands for the browser's own fetch, and with a relay `?fetch=NAME`, which may be given again, for it where
 * servers have this name; `?https=PORT`, which may be given again, for HTTPS by fetch at this port, 443 if it is left out;
 * `?registry=[PREFIX=]URL`, which may be given again, names what the cache of images asks.
 */
export function network(): NetworkOptions {
  const parameters = new URL(location.href).searchParams;
  const relay = parameters.get("relay") ?? announcedRelay();
  const dns = parameters.get("dns");
  const registry = { registries: registries(), mostBytes: imageCacheBytes() };
  const https = parameters.getAll("https").map((port) => Number(port === "" ? 443 : port));
  if (parameters.get("net") === "fetch") return { to: "fetch", https, registry };
  if (relay === undefined || relay === "none" || relay === "") return { to: "nowhere", registry };
  const fetch = parameters.getAll("fetch");
  return {
    to: "relay",
    relay,
    registry,
    ...(dns === null ? {} : { dns }),
    ...(fetch.length === 0 ? {} : { fetch, https }),
  };
}

/** The registries that the page's registry may ask. */
export function registries(): string[] {
  return new URL(location.href).searchParams.getAll("registry");
}

/** Bytes that the images in this browser may take: `?images=MIB`, or what lets a few large ones stay. */
export function imageCacheBytes(): number {
  const mebibytes = Number(new URL(location.href).searchParams.get("images") ?? DEFAULT_IMAGES_MIB);
  return (mebibytes > 0 ? mebibytes : DEFAULT_IMAGES_MIB) * 1024 * 1024;
}

/** The relay that `dinghy serve` announces with the page itself, so that nobody has to look whether there is one. */
function announcedRelay(): string | undefined {
  const [navigation] = performance.getEntriesByType("navigation") as PerformanceNavigationTiming[];
  return navigation?.serverTiming.find(({ name }) => name === "relay")?.description;
}
