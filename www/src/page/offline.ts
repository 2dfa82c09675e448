/** Lets the page start without its server: its service worker keeps what it is made of. */

/** The service worker, which also isolates the page where the server does not. */
export const PAGE_WORKER = "page-worker.js";

/** What the service worker says when it has kept the page, or could not. */
interface KeepAnswer {
  isKept: boolean;
  reason?: string;
}

/**
 * Registers the service worker, unless it is there. To be called when the machine needs the network no more: all that
 * the page is made of is fetched once more for it.
 */
export async function keepForOffline(): Promise<void> {
  if (!import.meta.env.PROD || !globalThis.isSecureContext || !("serviceWorker" in navigator)) return;
  try {
    const workers = navigator.serviceWorker;
    // Where it isolates the page it is there already, and keeps the page as well.
    if (!(await workers.getRegistration())) await workers.register(new URL(PAGE_WORKER, document.baseURI));
    const { active } = await workers.ready;
    const answer = new Promise<KeepAnswer>((resolve) => {
      workers.onmessage = ({ data }: MessageEvent<KeepAnswer>) => resolve(data);
    });
    active?.postMessage("keep");
    const { isKept, reason } = await answer;
    if (!isKept) throw new Error(reason);
    performance.mark("dinghy:offline-ready");
  } catch (error) {
    console.info("dinghy: this page cannot be opened offline:", error);
  }
}
