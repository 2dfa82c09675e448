/** The server behind `dinghy serve`: the page's files, a relay and names beside them, and the places of previews. */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";

import sirv from "sirv";
import { WebSocketServer } from "ws";

import { SUBPROTOCOL } from "../../network/wisp.js";
import { DinghyError } from "../../options.js";
import { reason } from "../../worker/download.js";
import { answerQuestion, askOverUdp, MOST_QUESTION_BYTES } from "./names.js";
import { RelayPolicy, type Resolve } from "./policy.js";
import { LIMITS, serveClient } from "./relay.js";

/** What is served. */
export interface ServeOptions {
  /** The folder of the page's files. */
  folder: string;
  /** The address to listen on. */
  host: string;
  /** The port to listen on; 0 stands for one that is free. */
  port: number;
  /** Where the relay may connect to, as {@link RelayPolicy} reads it. */
  allow: string[];
  /** Further origins whose pages may use the relay. */
  origins: string[];
  /** The name server, `ADDRESS:PORT`; without it, names cannot be asked for. */
  nameServer: string | undefined;
  /** Resolves names for the relay; the computer's own way if not given. */
  resolve?: Resolve;
  /** Told what is refused. */
  log?: (text: string) => void;
}

/** A running server. */
export interface Serving {
  /** The page's address for programs. */
  address: string;
  /**
   * The page's address for browsers. Some keep service workers from frames of other sites; of what is below `localhost` they
   * take the first name and all names below that for one site.
   */
  pageAddress: string;
  /** Stops it and ends all connections. */
  close(): Promise<void>;
}

/** Where the relay is, and where it answers questions for names. */
export const RELAY_PATH = "/relay/";
export const NAMES_PATH = "/relay/dns-query";

/** Clients of the relay at once, of all and of one address. */
const MOST_CLIENTS = 256;
const MOST_CLIENTS_OF_ADDRESS = 16;

/** Names under which a server on a loopback address is reached. With any other, a foreign page may be behind it. */
const LOCAL_HOSTS = /^(?:127\.0\.0\.1|\[::1\]|(?:p\d{1,5}(?:-\d{1,2})?\.)?(?:dinghy\.)?localhost)$/;
/** The first label of a preview's origin: the guest's port. */
const PREVIEW_HOST = /^p\d{1,5}(?:-\d{1,2})?\./;

/** Sent with every file of the page. The first two isolate it, which shared memory needs. */
const PAGE_HEADERS = {
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
  "cross-origin-resource-policy": "same-origin",
  "x-content-type-options": "nosniff",
} as const;

/** Sent in place of some of these at the origins of previews, which stand in frames of the page. */
const PREVIEW_HEADERS = {
  "cross-origin-opener-policy": "unsafe-none",
  "cross-origin-embedder-policy": "credentialless",
  "cross-origin-resource-policy": "cross-origin",
} as const;

/**
 * Starts to serve.
 *
 * @throws DinghyError if the address is taken or a rule is none
 */
export async function serve(options: ServeOptions): Promise<Serving> {
  const policy = new RelayPolicy(options.allow, options.resolve);
  const log = options.log ?? (() => undefined);
  const isLocal = /^(?:127\.|localhost$|::1$)/.test(options.host);
  const isKnownHost = (request: IncomingMessage): boolean => !isLocal || LOCAL_HOSTS.test(hostName(request));
  const files = sirv(options.folder, {
    dev: true,
    etag: true,
    gzip: true,
    brotli: true,
    setHeaders(response, path) {
      // Names with a digest in them never mean anything else.
      response.setHeader(
        "cache-control",
        path.startsWith("/assets/") ? "public, max-age=31536000, immutable" : "no-cache",
      );
      // A file that is asked for by its compressed name is wanted as it is.
      if (/\.(?:gz|br)$/.test(path)) response.setHeader("content-encoding", "identity");
    },
  });
  const ask = options.nameServer === undefined ? undefined : askOverUdp(options.nameServer);
  const server = createServer((request, response) => {
    if (!isKnownHost(request)) {
      refuse(response, 421, "This server does not go by that name.");
      return;
    }
    const isPreview = PREVIEW_HOST.test(hostName(request));
    for (const [name, value] of Object.entries(isPreview ? { ...PAGE_HEADERS, ...PREVIEW_HEADERS } : PAGE_HEADERS)) {
      response.setHeader(name, value);
    }
    // The page reads this of its own answer, and has a relay without looking for one.
    if (!policy.isEmpty && !isPreview) response.setHeader("server-timing", `relay;desc="${RELAY_PATH}"`);
    const path = request.url?.split("?")[0] ?? "/";
    if (path === NAMES_PATH) {
      void names(request, response);
    } else if (request.method !== "GET" && request.method !== "HEAD") {
      response.setHeader("allow", "GET, HEAD");
      refuse(response, 405, "There are only files here.");
    } else if (path.startsWith(RELAY_PATH)) {
      refuse(response, 426, "The relay speaks Wisp over a WebSocket.");
    } else {
      files(request, response, () => refuse(response, 404, "Not found."));
    }
  });

  const mayUseRelay = (request: IncomingMessage): boolean => {
    const { origin } = request.headers;
    // Programs send none; they are bound by the policy only.
    if (origin === undefined || options.origins.includes(origin)) return true;
    // A server that the network reaches cannot tell its own name from one that another page made up for it.
    const own = (request.headers.host ?? "").toLowerCase();
    return isLocal && isKnownHost(request) && !PREVIEW_HOST.test(own) && origin === `http://${own}`;
  };
  const names = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    if (!mayUseRelay(request)) {
      refuse(response, 403, "The relay does not serve pages of this origin.");
      return;
    }
    const isQuestion = request.method === "POST" && request.headers["content-type"] === "application/dns-message";
    const query = isQuestion ? await bodyOf(request, MOST_QUESTION_BYTES) : undefined;
    const answer = query && (await answerQuestion(query, policy, ask));
    if (!answer) {
      refuse(response, 400, "Questions are DNS messages in POST requests (RFC 8484).");
      return;
    }
    response.writeHead(200, { "content-type": "application/dns-message", "cache-control": "no-store" }).end(answer);
  };

  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: LIMITS.packetBytes,
    perMessageDeflate: false,
    handleProtocols: (offered) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
  });
  const clients = new Map<string, number>();
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const path = request.url?.split("?")[0];
    if (path !== RELAY_PATH) {
      refuseUpgrade(socket, "404 Not Found");
      return;
    }
    if (!isKnownHost(request) || !mayUseRelay(request)) {
      refuseUpgrade(socket, "403 Forbidden");
      return;
    }
    const address = request.socket.remoteAddress ?? "";
    const count = clients.get(address) ?? 0;
    if (count >= MOST_CLIENTS_OF_ADDRESS || sockets.clients.size >= MOST_CLIENTS) {
      refuseUpgrade(socket, "503 Service Unavailable");
      return;
    }
    clients.set(address, count + 1);
    socket.once("close", () => {
      const left = (clients.get(address) ?? 1) - 1;
      if (left > 0) clients.set(address, left);
      else clients.delete(address);
    });
    sockets.handleUpgrade(request, socket, head, (client) => serveClient(client, policy, log));
  });

  const port = await listen(server, options);
  const address = (host: string): string => `http://${host}:${port}/`;
  return {
    address: address(options.host),
    pageAddress: address(isLocal ? "dinghy.localhost" : options.host),
    close: async () => {
      sockets.clients.forEach((client) => client.terminate());
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function listen(server: Server, { host, port }: ServeOptions): Promise<number> {
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(port, host, resolve);
    });
  } catch (error) {
    throw new DinghyError(`Cannot serve on ${host}:${port} (${reason(error)}); choose another with --port.`);
  }
  return (server.address() as AddressInfo).port;
}

/** The name under which a server was asked, without the port. */
function hostName(request: IncomingMessage): string {
  return (request.headers.host ?? "").toLowerCase().replace(/:\d+$/, "");
}

function refuse(response: ServerResponse, status: number, text: string): void {
  response
    .writeHead(status, { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store" })
    .end(`${text}\n`);
}

function refuseUpgrade(socket: Duplex, status: string): void {
  socket.end(`HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
}

async function bodyOf(request: IncomingMessage, most: number): Promise<Buffer | undefined> {
  const parts: Buffer[] = [];
  let size = 0;
  try {
    for await (const part of request as AsyncIterable<Buffer>) {
      size += part.byteLength;
      if (size > most) return undefined;
      parts.push(part);
    }
  } catch {
    return undefined;
  }
  return Buffer.concat(parts);
}
