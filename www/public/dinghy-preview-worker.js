/**
 * The service worker of a preview's origin: answers all requests there by asking the frame (dinghy-preview.js), which asks the
 * machine's page, which asks the guest.
 */

/** What is at this origin beside the guest's pages. */
const OWN = new Set([
  "/dinghy-preview.html",
  "/dinghy-preview.js",
  "/dinghy-preview-socket.js",
  "/dinghy-preview-worker.js",
]);
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
  const isPage = request.mode === "navigate" && status !== 204 && status !== 304;
  if (!isPage || !content) return new Response(content, { status, statusText, headers });
  return withSockets(new Response(content, { status, statusText, headers }));
}

/** What makes WebSockets of a page go to the guest, which no service worker is asked for. */
const SCRIPT = new TextEncoder().encode('<script src="/dinghy-preview-socket.js"></script>');
/** Where the script stands: within the head, before all others. Pages without one have it behind what comes before the text. */
const BEGINNING = /^\s*(?:<!doctype[^>]*>|<!--[^]*?-->|<html[^>]*>|<head[^>]*>|\s)*/i;
/** How far the beginning of a page is looked for. */
const MOST_BEGINNING_BYTES = 4096;

/** @param {Response} response */
function withSockets(response) {
  const type = response.headers.get("content-type") ?? "";
  // In these, what has to be found is spelled otherwise.
  if (!/^text\/html\b/i.test(type) || /utf-?16/i.test(type)) return response;
  const headers = new Headers(response.headers);
  headers.delete("content-length");
  let start = new Uint8Array(0);
  let isPlaced = false;
  const place = (controller) => {
    isPlaced = true;
    // One character for each byte, so that places in the text are places in the bytes.
    const [beginning] = BEGINNING.exec(new TextDecoder("latin1").decode(start));
    controller.enqueue(start.slice(0, beginning.length));
    controller.enqueue(SCRIPT);
    controller.enqueue(start.slice(beginning.length));
  };
  const body = response.body.pipeThrough(
    new TransformStream({
      transform(bytes, controller) {
        if (isPlaced) {
          controller.enqueue(bytes);
          return;
        }
        const longer = new Uint8Array(start.byteLength + bytes.byteLength);
        longer.set(start);
        longer.set(bytes, start.byteLength);
        start = longer;
        const text = new TextDecoder("latin1").decode(start);
        // Whole once something follows it.
        const isWhole = BEGINNING.exec(text)[0].length < text.length && /<(?!!|html|head)[a-z/]/i.test(text);
        if (isWhole || start.byteLength > MOST_BEGINNING_BYTES) place(controller);
      },
      flush(controller) {
        if (!isPlaced) place(controller);
      },
    }),
  );
  return new Response(body, { status: response.status, statusText: response.statusText, headers });
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
