/**
 * The service worker of a preview's origin: answers all requests there by asking the frame (dinghy-preview.js), which asks the
 * machine's page, which asks the guest.
 */

/** What is at this origin beside the guest's pages. */
const OWN = new Set(["/dinghy-preview.html", "/dinghy-preview.js", "/dinghy-preview-worker.js"]);
/** A little longer than the machine's page waits for the guest. */
const ANSWER_MS = 130_000;

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (url.origin !== self.location.origin || OWN.has(url.pathname)) return;
  event.respondWith(answer(event.request, url));
});

/** @param {Request} request @param {URL} url */
async function answer(request, url) {
  const windows = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  const frame = windows.find((client) => new URL(client.url).pathname === "/dinghy-preview.html");
  if (!frame) return failure(502, "The page with the machine is closed.");
  const { port1, port2 } = new MessageChannel();
  // Not every browser gives the body as a stream.
  const body =
    request.method === "GET" || request.method === "HEAD" ? null : (request.body ?? (await request.arrayBuffer()));
  const message = {
    type: "dinghy-fetch",
    method: request.method,
    path: url.pathname + url.search,
    headers: [...request.headers],
    body,
  };
  frame.postMessage(message, [port2, ...(body ? [body] : [])]);
  const reply = await new Promise((resolve) => {
    port1.onmessage = ({ data }) => resolve(data);
    setTimeout(() => resolve(undefined), ANSWER_MS);
    request.signal.addEventListener("abort", () => port1.postMessage("abort"));
  });
  if (!reply) return failure(504, "The page with the machine does not answer.");
  const { status, statusText, headers, body: content } = reply;
  return new Response(content, { status, statusText, headers });
}

/** @param {number} status @param {string} text */
function failure(status, text) {
  const headers = {
    "content-type": "text/plain; charset=utf-8",
    // The frame stands in a page that is isolated.
    "cross-origin-embedder-policy": "credentialless",
    "cross-origin-resource-policy": "cross-origin",
  };
  return new Response(`${text}\n`, { status, headers });
}
