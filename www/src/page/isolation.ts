/** Gets the page isolated on hosts that do not send the headers for it, where the browser allows. */

import { PAGE_WORKER } from "./offline.js";

/** Set while the page reloads for isolation, so that a browser that never isolates does not loop. */
const TRIED_KEY = "dinghy-isolation-tried";

/**
 * Registers the service worker that adds the headers, and reloads the page under it.
 *
 * Resolves when the page should go on: isolated, or not to be isolated (then memory is not shared).
 */
export async function isolate(): Promise<void> {
  if (globalThis.crossOriginIsolated) {
    sessionStorage.removeItem(TRIED_KEY);
    return;
  }
  if (!globalThis.isSecureContext || !("serviceWorker" in navigator)) return;
  if (sessionStorage.getItem(TRIED_KEY) !== null) return;
  try {
    const address = new URL(`${PAGE_WORKER}?isolate`, document.baseURI);
    await navigator.serviceWorker.register(address);
    await withinSeconds(3, navigator.serviceWorker.ready);
  } catch (error) {
    console.warn("dinghy: no service worker for isolation, so it runs in one worker:", error);
    return;
  }
  sessionStorage.setItem(TRIED_KEY, "yes");
  location.reload();
  // The reload ends this page; nothing of it should start meanwhile.
  await new Promise(() => undefined);
}

function withinSeconds<Value>(seconds: number, promise: Promise<Value>): Promise<Value> {
  const late = new Promise<never>((_, reject) => {
    setTimeout(() => reject(new Error(`not ready within ${seconds} s`)), seconds * 1000);
  });
  return Promise.race([promise, late]);
}
