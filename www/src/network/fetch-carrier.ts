/**
 * The guest's HTTP by the browser's own `fetch`, for where there is no relay, and HTTPS where the user lets the page stand
 * between the guest and its servers. It reaches servers that let pages read what they send (CORS), and nothing else: the
 * answers that the guest gets otherwise say so.
 */

import { collect } from "../bytes.js";
import { reason as reasonOf } from "../worker/download.js";
import type { Carrier, FlowEnd, FlowUser } from "./flows.js";
import { serveHttp, type ServedRequest } from "./http-server.js";
import { serveTls, type TlsAuthority } from "./tls.js";

/** The address that stands for every name; it belongs to networks that test (RFC 2544), and so to no server. */
export const ANY_ADDRESS = "198.18.0.1";
/** The ports of HTTP and of HTTPS. */
const HTTP_PORT = 80;
const HTTPS_PORT = 443;
/** The largest body of a request: browsers send streams only where it is encrypted. */
const MOST_BODY_BYTES = 16 * 1024 * 1024;
/** How long the answer to a question for a name may be remembered, in seconds. */
const NAME_SECONDS = 60;

/** What is about one connection, or made anew, and not passed on. */
const OWN_HEADERS = new Set([
  "accept-encoding",
  "connection",
  "content-length",
  "expect",
  "host",
  "keep-alive",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** What the carrier needs of its surroundings. */
export interface FetchSurroundings {
  /**
   * Makes a request.
   *
   * @param server the server's address, where the guest has one; nothing where it has {@link ANY_ADDRESS}
   * @throws RefusedRequest if the policy does not let the guest ask there
   */
  fetch(address: string, options: RequestInit, server: string | undefined): Promise<Response>;
  /**
   * The page's own host, which lets the page read everything: the guest is not to ask it in the page's name. Nothing outside
   * of browsers: the policy there is `fetch`'s.
   */
  ownHost: string | undefined;
  /** Whether the page came encrypted; then it may ask nobody otherwise. */
  isEncrypted: boolean;
  /** Whether answers keep the encodings in which servers send them; a browser's `fetch` takes them off. */
  keepsEncodings?: boolean;
  /** With it the guest's HTTPS is ended here; without, it is refused. */
  https?: Https;
}

/** What ends the guest's HTTPS. */
export interface Https {
  /** What makes the servers' certificates. */
  authority: TlsAuthority;
  /** The ports at which it is ended. */
  ports: readonly number[];
}

/** What the gateway has to let the guest reach for it, as `ADDRESS:PORT`. */
export function fetchedDestinations(https: readonly number[] = []): string[] {
  return [HTTP_PORT, ...https].map((port) => `${ANY_ADDRESS}:${port}`);
}

/** The policy does not let the guest ask a server. */
export class RefusedRequest extends Error {}

/** Where a connection of the guest's leads. */
interface Target {
  address: string;
  port: number;
  /** For HTTPS: the name that the client has told, and was given a certificate for. */
  tls: { name: string | undefined } | undefined;
}

/** A carrier by `fetch`. */
export function fetchCarrier(around: FetchSurroundings): Carrier {
  const { https } = around;
  return {
    open(flow: FlowUser, transport, address, port): FlowEnd {
      if (transport === "tcp" && port === HTTP_PORT) {
        return serveHttp(flow, (request) => answer(request, { address, port, tls: undefined }, around));
      }
      if (transport === "tcp" && https?.ports.includes(port)) {
        return serveTls(flow, https.authority.accept(address), (plain, name) =>
          serveHttp(plain, (request) => answer(request, { address, port, tls: { name } }, around)),
        );
      }
      queueMicrotask(() => flow.failed(transport === "tcp" ? "refused" : "unreachable"));
      return { send: () => undefined, finish: () => undefined, close: () => undefined, resume: () => undefined };
    },
    ask: (query) => Promise.resolve(answerName(query)),
    end: () => undefined,
  };
}

async function answer(request: ServedRequest, target: Target, around: FetchSurroundings): Promise<Response> {
  const host = (request.headers.get("host") ?? target.tls?.name ?? target.address).toLowerCase();
  const misdirected = target.tls && misdirectionOf(host, target);
  if (misdirected !== undefined) return failure(421, misdirected);
  // In node the gateway has decided about addresses of the guest's own.
  const isDecided = around.ownHost === undefined && target.address !== ANY_ADDRESS;
  const refused = isDecided ? undefined : refusalOf(host, around.ownHost);
  if (refused !== undefined) return failure(403, refused);
  const url = `${target.tls || around.isEncrypted ? "https" : "http"}://${host}${request.target}`;
  if (!URL.canParse(url) || !request.target.startsWith("/")) return failure(400, "The request names no address.");
  const headers = new Headers();
  request.headers.forEach((value, name) => {
    if (!OWN_HEADERS.has(name)) headers.append(name, value);
  });
  try {
    const body = await bodyOf(request);
    if (body === "too-large") return failure(413, "Only bodies up to 16 MiB can be sent without a relay.");
    const options: RequestInit = { method: request.method, headers, credentials: "omit", cache: "no-store" };
    const server = target.address === ANY_ADDRESS ? undefined : target.address;
    const response = await around.fetch(url, body ? { ...options, body } : options, server);
    return passedOn(response, around.keepsEncodings ?? false);
  } catch (error) {
    if (error instanceof RefusedRequest) return failure(403, error.message);
    const limit =
      around.ownHost === undefined
        ? ""
        : " This network is the browser's fetch: it reaches servers that send Access-Control-Allow-Origin, and no others. " +
          "With a relay (dinghy serve --allow ...), the guest reaches any.";
    return failure(502, `${url} cannot be had (${reasonOf(error)}).${limit}`);
  }
}

/**
 * Why a request does not belong into its connection; nothing if it does. The certificate was made for one name, so the
 * request goes there, and nowhere else.
 */
function misdirectionOf(host: string, { address, port, tls }: Target): string | undefined {
  const name = tls?.name ?? (address === ANY_ADDRESS ? undefined : address);
  if (name === undefined) return "The connection names no server (by SNI), so that nobody knows whom it is for.";
  const suffix = port === HTTPS_PORT ? /^(?::443)?$/ : new RegExp(`^:${port}$`);
  if (host.startsWith(name) && suffix.test(host.slice(name.length))) return undefined;
  return `The connection is for ${name} at port ${port}, and the request for ${host}.`;
}

/** Why a host is not asked; nothing if it may be. Names that lead to private addresses are kept from pages by browsers. */
function refusalOf(host: string, ownHost: string | undefined): string | undefined {
  const name = host.replace(/:\d+$/, "").replace(/\.$/, "");
  const isLocal = name === "localhost" || /\.(?:localhost|local|internal|home\.arpa)$/.test(name);
  // How URLs spell IPv4 addresses: also as one number, in octal and in hexadecimal.
  const plain = URL.canParse(`http://${host}/`) ? new URL(`http://${host}/`).hostname : name;
  const isPrivate =
    /^(?:0|10|127|169\.254|192\.168|192\.0\.0|100\.(?:6[4-9]|[79]\d|8\d|1[01]\d|12[0-7])|172\.(?:1[6-9]|2\d|3[01])|198\.1[89]|22[4-9]|2[3-5]\d)\./.test(
      plain,
    ) && /^[\d.]+$/.test(plain);
  if (isLocal || isPrivate || plain.startsWith("[") || host === ownHost) {
    return `The policy does not let the guest ask ${host}.`;
  }
  return undefined;
}

async function bodyOf({ method, body }: ServedRequest): Promise<Uint8Array<ArrayBuffer> | "too-large" | undefined> {
  try {
    const bytes = await collect(body, MOST_BODY_BYTES);
    return method === "GET" || method === "HEAD" || bytes.byteLength === 0 ? undefined : bytes;
  } catch (error) {
    if (error instanceof RangeError) return "too-large";
    throw error;
  }
}

/** A response as it can be sent on: without what was about its own connection, and with its encodings or without. */
function passedOn(response: Response, keepsEncodings: boolean): Response {
  const headers = new Headers(response.headers);
  for (const name of ["connection", "keep-alive", "trailer", "transfer-encoding", "upgrade"]) headers.delete(name);
  if (!keepsEncodings && (headers.get("content-encoding") ?? "identity") !== "identity") {
    headers.delete("content-encoding");
    headers.delete("content-length");
  }
  const { status, statusText } = response;
  return new Response(response.body, { status, statusText, headers });
}

function failure(status: number, sentence: string): Response {
  const headers = { "content-type": "text/plain; charset=utf-8" };
  return new Response(`dinghy: ${sentence}\n`, { status, headers });
}

/** The name that a DNS message asks for, in lower case, and where the question ends (RFC 1035 4.1). */
function questionIn(query: Uint8Array): { name: string; end: number } | undefined {
  const view = new DataView(query.buffer, query.byteOffset, query.byteLength);
  if (query.byteLength < 17 || view.getUint16(4) !== 1) return undefined;
  const labels: string[] = [];
  let at = 12;
  for (let length = query[at]; length !== 0; length = query[at]) {
    if (length === undefined || length > 63) return undefined;
    labels.push(String.fromCharCode(...query.subarray(at + 1, at + 1 + length)));
    at += length + 1;
  }
  const end = at + 5;
  return end > query.byteLength ? undefined : { name: labels.join(".").toLowerCase(), end };
}

/** Answers a question for a name's IPv4 address with {@link ANY_ADDRESS}, others with nothing. */
function answerName(query: Uint8Array): Uint8Array | undefined {
  const question = questionIn(query);
  if (!question) return undefined;
  const view = new DataView(query.buffer, query.byteOffset, query.byteLength);
  const isAddress = view.getUint16(question.end - 4) === 1 && view.getUint16(question.end - 2) === 1;
  const record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, NAME_SECONDS, 0, 4, ...ANY_ADDRESS.split(".").map(Number)];
  const reply = new Uint8Array([...query.subarray(0, question.end), ...(isAddress ? record : [])]);
  const header = new DataView(reply.buffer);
  // An answer, recursion was wanted and is there.
  header.setUint16(2, 0x8180);
  header.setUint16(6, isAddress ? 1 : 0);
  header.setUint32(8, 0);
  return reply;
}

/**
 * A carrier by `fetch` for servers with some names, and another one for all others.
 *
 * @param names `NAME`, or `*.NAME` for all names below it
 */
export function withFetchFor(names: readonly string[], byFetch: Carrier, others: Carrier): Carrier {
  const isNamed = (name: string): boolean =>
    names.some((rule) => (rule.startsWith("*.") ? name.endsWith(rule.slice(1)) : name === rule));
  return {
    open: (flow, transport, address, port) =>
      (address === ANY_ADDRESS ? byFetch : others).open(flow, transport, address, port),
    ask: (query) => (isNamed(questionIn(query)?.name ?? "") ? byFetch : others).ask(query),
    end() {
      byFetch.end();
      others.end();
    },
  };
}
