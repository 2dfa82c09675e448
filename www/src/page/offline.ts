/** Lets the page start without its server: its service worker keeps what it is made of. */

/** The service worker, which also isolates the page where the server does not. */
export const PAGE_WORKER = "page-worker.js";

/**
 * Registers the service worker, unless it is there. To be called when the machine needs the network no more: all that
 * the page is made of is fetched once more for it.
 */
export async function keepForOffline(): Promise<void> {
  if (!import.meta.env.PROD || !globalThis.isSecureContext || !("serviceWorker" in navigator)) return;
  try {
    // Where it isolates the page it was registered under that name, and keeps the page as well.
    if (await navigator.serviceWorker.getRegistration()) return;
    await navigator.serviceWorker.register(new URL(PAGE_WORKER, document.baseURI));
    await navigator.serviceWorker.ready;
    performance.mark("dinghy:offline-ready");
  } catch (error) {
    console.info("dinghy: this page cannot be opened offline:", error);
  }
}
