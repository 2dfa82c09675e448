/**
 * The frame of a preview, at an origin of its own. It holds the guest's page in a frame of its own and brings what that asks for
 * to the page with the machine, which asks the guest.
 *
 * The guest's page may do here what it likes, for it has the same origin. All that can be had from here are answers of
 * the one port that the machine's page has chosen.
 */

/** The way to the machine's page; undefined until that has answered. */
let machine;
/** Requests that came before it. */
const early = [];

window.addEventListener("message", ({ source, origin, data, ports }) => {
  // A page of the guest wants a WebSocket (dinghy-preview-socket.js).
  if (origin === location.origin && data?.type === "dinghy-socket") forward({ data, ports });
  if (source !== window.parent || data?.type !== "dinghy-preview-port" || machine) return;
  [machine] = ports;
  early.splice(0).forEach(forward);
});

try {
  // In a tab of its own, nobody is there to ask.
  if (window.parent === window) throw new Error("A preview can only be shown by the page with its machine.");
  const worker = await registration();
  navigator.serviceWorker.addEventListener("message", ({ data, ports }) => {
    if (data?.type === "dinghy-fetch") forward({ data, ports });
  });
  navigator.serviceWorker.startMessages();
  worker.postMessage({ type: "dinghy-frame" });
  window.parent.postMessage({ type: "dinghy-preview-ready" }, "*");
  const frame = document.createElement("iframe");
  // The machine's page names where to begin.
  frame.src = decodeURIComponent(location.hash.slice(1)) || "/";
  document.body.append(frame);
} catch (error) {
  const text = document.createElement("p");
  text.textContent =
    `This preview does not work here: ${error.message}. Some browsers keep service workers from frames of other sites: ` +
    "open the page at a name that its previews are below, on this computer http://dinghy.localhost and the port.";
  document.body.append(text);
}

function forward(request) {
  if (!machine) {
    early.push(request);
    return;
  }
  const { data, ports } = request;
  machine.postMessage(data, [...ports, ...(data.body ? [data.body] : [])]);
}

/** The service worker that answers for this origin, once it does. */
async function registration() {
  if (!("serviceWorker" in navigator)) throw new Error("the browser has no service workers for it");
  const { active, waiting, installing } = await navigator.serviceWorker.register("dinghy-preview-worker.js");
  const worker = installing ?? waiting ?? active;
  while (worker.state !== "activated") {
    if (worker.state === "redundant") throw new Error("its service worker was replaced; open it again");
    await new Promise((resolve) => worker.addEventListener("statechange", resolve, { once: true }));
  }
  return worker;
}
