/**
 * The page's service worker. It keeps what the page is made of, so that it starts without its server; and, registered with
 * `?isolate`, it adds the headers of cross-origin isolation, for static hosts that cannot send them. With them the page may
 * share memory between workers.
 *
 * `self.DINGHY_FILES`, which the build writes in front, has the digests of all files of the page by their paths: another
 * build has another worker. Without it, nothing is kept.
 */

const FILES = self.DINGHY_FILES ?? {};
const CACHE = "dinghy-page";
const isolates = new URL(self.location.href).searchParams.has("isolate");
const scope = new URL("./", self.location.href);

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

// The page says when it needs the network no more.
self.addEventListener("message", (event) => {
  if (event.data !== "keep") return;
  const kept = keepFiles().then(
    () => event.source.postMessage({ isKept: true }),
    (error) => event.source.postMessage({ isKept: false, reason: String(error) }),
  );
  event.waitUntil(kept);
});

/** Files are kept under their digests: what a new build has in common with the last one is not fetched again. */
const keyOf = (digest) => new URL(`?kept=${digest}`, scope).href;

async function keepFiles() {
  const cache = await self.caches.open(CACHE);
  const kept = new Set((await cache.keys()).map(({ url }) => url));
  const wanted = new Set(Object.values(FILES).map(keyOf));
  await Promise.all(
    Object.entries(FILES).map(async ([path, digest]) => {
      if (kept.has(keyOf(digest))) return;
      const response = await fetch(new URL(path, scope));
      const bytes = await response.clone().arrayBuffer();
      if (!response.ok || (await digestOf(bytes)) !== digest) throw new Error(`${path} is not the file of this build`);
      await cache.put(keyOf(digest), response);
    }),
  );
  await Promise.all([...kept].filter((url) => !wanted.has(url)).map((url) => cache.delete(url)));
}

async function digestOf(bytes) {
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

self.addEventListener("fetch", (event) => {
  const { request } = event;
  // A request that may only be answered from the cache cannot be made again from here.
  if (request.cache === "only-if-cached" && request.mode !== "same-origin") return;
  const url = new URL(request.url);
  const isOwn = url.origin === scope.origin && url.pathname.startsWith(scope.pathname);
  const path = url.pathname.slice(scope.pathname.length) || "index.html";
  const digest = isOwn && request.method === "GET" && !request.headers.has("range") ? FILES[path] : undefined;
  if (digest === undefined) {
    // Chunks of the guest's disk, above all: they are kept elsewhere.
    if (isolates) event.respondWith(fetch(request).then(isolated));
    return;
  }
  // Whatever has a digest in its name is what it was. All else may be newer on the server.
  const isFixed = path.startsWith("assets/");
  const answer = isFixed ? fromCache(digest).then((kept) => kept ?? fetch(request)) : newest(request, digest);
  event.respondWith(isolates ? answer.then(isolated) : answer);
});

async function fromCache(digest) {
  const cache = await self.caches.open(CACHE);
  return cache.match(keyOf(digest));
}

async function newest(request, digest) {
  try {
    return await fetch(request);
  } catch (error) {
    const kept = await fromCache(digest);
    if (!kept) throw error;
    return kept;
  }
}

/** @param {Response} response */
function isolated(response) {
  // Opaque answers cannot be opened, and pass as they are.
  if (response.status === 0) return response;
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  headers.set("Cross-Origin-Resource-Policy", "same-origin");
  const { status, statusText } = response;
  const hasNoBody = status === 204 || status === 205 || status === 304;
  return new Response(hasNoBody ? null : response.body, { status, statusText, headers });
}
