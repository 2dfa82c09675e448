/**
 * Shows web servers of the guest in frames.
 *
 * A preview has an origin of its own, by which the browser keeps it from this page's storage, documents and workers; its
 * frame is a sandbox besides, so that it cannot lead this page away. All that this page takes from it are requests to the one port.
 */

import type { GuestHttpError, Machine } from "dinghy";

/** What a preview may do. `allow-same-origin` leaves it its own origin, which is not this page's. */
const SANDBOX = "allow-scripts allow-same-origin allow-forms allow-modals allow-popups allow-downloads";

/** The frame's document at each preview's origin. */
const FRAME = "/dinghy-preview.html";

/** Headers that would keep an answer out of a frame of this page. */
const FRAME_HEADERS = ["x-frame-options", "cross-origin-opener-policy", "strict-transport-security"];

/** What a preview's frame asks for. */
interface FetchMessage {
  type: "dinghy-fetch";
  method: string;
  path: string;
  headers: [string, string][];
  body: ReadableStream<Uint8Array> | ArrayBuffer | null;
}

/** A WebSocket that it wants; what follows goes through the port that comes along. */
interface SocketMessage {
  type: "dinghy-socket";
  path: string;
  protocols: string[];
}

/** What goes through the port of a WebSocket, from the preview. */
interface SocketRequest {
  type: "message" | "close";
  data: string | ArrayBuffer;
  code: number;
  reason: string;
}

/** What it is answered. */
interface Reply {
  status: number;
  statusText: string;
  headers: [string, string][];
  body: ReadableStream<Uint8Array> | ArrayBuffer | null;
}

/** Which of the origins for a port is this tab's: two tabs of one page must not share them. Held while the tab lives. */
const slot: Promise<number> = (async () => {
  for (let number = 0; number < 64; number++) {
    const isOurs = await new Promise<boolean>((resolve) => {
      void navigator.locks.request(`dinghy-preview-${number}`, { ifAvailable: true }, (lock) => {
        resolve(lock !== null);
        return lock ? new Promise(() => undefined) : undefined;
      });
    });
    if (isOurs) return number;
  }
  throw new Error("there are too many tabs with previews; close some");
})();
slot.catch(() => undefined);

/**
 * The origin for a preview of a port, or nothing where this page has none. A host names them in the page's
 * `<meta name="dinghy-preview-origin" content="https://{preview}.example.org">`, below the page's own name, so that browsers take them
 * for one site and let them have service workers. On this computer, browsers know all names below `localhost`.
 */
async function previewOrigin(port: number): Promise<string | undefined> {
  const named = document.querySelector<HTMLMetaElement>('meta[name="dinghy-preview-origin"]')?.content;
  const localName =
    location.hostname === "127.0.0.1" ? "localhost" : /^(?:.+\.)?localhost$/.exec(location.hostname)?.[0];
  const pattern = named ?? (localName === undefined ? undefined : `http://{preview}.${localName}:${location.port}`);
  if (pattern === undefined) return undefined;
  const number = await slot;
  const { origin } = new URL(pattern.replace("{preview}", number === 0 ? `p${port}` : `p${port}-${number}`));
  if (origin === location.origin) throw new Error("the origin for previews must not be the page's own");
  return origin;
}

/** A preview that is open. */
export interface Preview {
  readonly frame: HTMLIFrameElement;
  /** Takes it away. */
  close(): void;
}

/**
 * Opens a preview of a port.
 *
 * @throws Error that says why there can be none
 */
export async function openPreview(machine: Machine, port: number, parent: HTMLElement): Promise<Preview> {
  const origin = await previewOrigin(port);
  if (origin === undefined) {
    throw new Error("this site names no origin for previews; run it by `dinghy serve`, or see the README");
  }
  const frame = document.createElement("iframe");
  frame.title = `Port ${port} of the guest`;
  frame.setAttribute("sandbox", SANDBOX);
  frame.src = origin + FRAME;
  let channel: MessageChannel | undefined;
  const listen = ({ source, origin: from, data }: MessageEvent<unknown>): void => {
    if (source !== frame.contentWindow || from !== origin || !isReady(data)) return;
    channel?.port1.close();
    channel = new MessageChannel();
    channel.port1.onmessage = ({ data, ports: [replyTo] }: MessageEvent<unknown>) => {
      if (!replyTo) return;
      if (isSocket(data)) joinSocket(machine, port, data, replyTo);
      else void reply(machine, port, data, replyTo);
    };
    frame.contentWindow?.postMessage({ type: "dinghy-preview-port" }, origin, [channel.port2]);
  };
  window.addEventListener("message", listen);
  parent.append(frame);
  return {
    frame,
    close: () => {
      window.removeEventListener("message", listen);
      channel?.port1.close();
      frame.remove();
    },
  };
}

function isReady(data: unknown): boolean {
  return typeof data === "object" && data !== null && "type" in data && data.type === "dinghy-preview-ready";
}

/** Checks what came from a preview, which may be anything. */
function isFetch(data: unknown): data is FetchMessage {
  if (typeof data !== "object" || data === null) return false;
  const { type, method, path, headers, body } = data as Partial<FetchMessage>;
  return (
    type === "dinghy-fetch" &&
    typeof method === "string" &&
    typeof path === "string" &&
    path.startsWith("/") &&
    Array.isArray(headers) &&
    (body === null || body instanceof ArrayBuffer || body instanceof ReadableStream)
  );
}

function isSocket(data: unknown): data is SocketMessage {
  if (typeof data !== "object" || data === null) return false;
  const { type, path, protocols } = data as Partial<SocketMessage>;
  return (
    type === "dinghy-socket" &&
    typeof path === "string" &&
    path.startsWith("/") &&
    Array.isArray(protocols) &&
    protocols.every((protocol) => typeof protocol === "string")
  );
}

/** Joins a preview's port to a WebSocket in the guest. */
function joinSocket(machine: Machine, port: number, { path, protocols }: SocketMessage, channel: MessagePort): void {
  try {
    // Whatever the path says, the address stays that of the port.
    const socket = machine.webSocket(port, path.replace(/^\/+/, "/"), protocols);
    socket.on("open", ({ protocol }) => channel.postMessage({ type: "open", protocol }));
    socket.on("message", (data) => {
      if (typeof data === "string") channel.postMessage({ type: "message", data });
      else channel.postMessage({ type: "message", data: data.buffer }, [data.buffer]);
    });
    socket.on("close", (how) => channel.postMessage({ type: "close", ...how }));
    channel.onmessage = ({ data: request }: MessageEvent<unknown>) => {
      if (typeof request !== "object" || request === null) return;
      const { type, data, code, reason } = request as Partial<SocketRequest>;
      try {
        if (type === "close") socket.close(code, reason);
        else if (typeof data === "string") socket.send(data);
        else if (data instanceof ArrayBuffer) socket.send(new Uint8Array(data));
      } catch {
        // It has closed meanwhile, which the preview is told.
      }
    };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    channel.postMessage({ type: "close", code: 1006, reason, wasClean: false });
  }
}

async function reply(machine: Machine, port: number, message: unknown, replyTo: MessagePort): Promise<void> {
  const aborter = new AbortController();
  replyTo.onmessage = () => aborter.abort();
  const answer = await ask(machine, port, message, aborter.signal);
  const { body } = answer;
  try {
    replyTo.postMessage(answer, body ? [body] : []);
  } catch {
    // A browser that cannot hand a stream over gets the whole.
    const whole = body instanceof ReadableStream ? await new Response(body).arrayBuffer() : body;
    replyTo.postMessage({ ...answer, body: whole }, whole ? [whole] : []);
  }
}

async function ask(machine: Machine, port: number, message: unknown, signal: AbortSignal): Promise<Reply> {
  if (!isFetch(message)) return failure(400, "This is no request.");
  try {
    const { method, headers, body } = message;
    // Whatever the path says, the address stays that of the port.
    const address = new URL(`http://localhost:${port}`);
    const [path, query] = split(message.path, "?");
    address.pathname = path;
    address.search = query;
    const response = await machine.fetch(port, address, { method, headers, body, signal });
    const { status, statusText } = response;
    return { status, statusText, headers: framed(response.headers, port), body: response.body };
  } catch (error) {
    const status = (error as Partial<GuestHttpError>).status ?? 400;
    return failure(status, error instanceof Error ? error.message : String(error));
  }
}

function split(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at)];
}

/** The headers with which an answer of the guest may stand in a frame of an isolated page. */
function framed(headers: Headers, port: number): [string, string][] {
  FRAME_HEADERS.forEach((name) => headers.delete(name));
  const policy = headers.get("content-security-policy");
  if (policy !== null) {
    const kept = policy.split(";").filter((directive) => !/^\s*frame-ancestors\b/i.test(directive));
    headers.set("content-security-policy", kept.join(";"));
  }
  headers.set("cross-origin-embedder-policy", "credentialless");
  headers.set("cross-origin-resource-policy", "cross-origin");
  // The server takes itself for localhost; to the preview, it is at the preview's origin.
  const location = headers.get("location");
  const own = new RegExp(`^https?://(?:localhost|127\\.0\\.0\\.1):${port}(?=/|$)`, "i");
  if (location !== null && own.test(location)) headers.set("location", location.replace(own, "") || "/");
  return [...headers];
}

function failure(status: number, text: string): Reply {
  const headers = new Headers({ "content-type": "text/plain; charset=utf-8" });
  const body = new TextEncoder().encode(`${text}\n`).buffer;
  return { status, statusText: "", headers: framed(headers, 0), body };
}
