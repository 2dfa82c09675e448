/** The guest's flows as sockets of this computer, and its ports as ports of this computer. */

import { createSocket } from "node:dgram";
import { getServers } from "node:dns";
import { createServer, connect as connectSocket, isIPv4, type Server, type Socket } from "node:net";

import type { FlowFailure } from "../engine.js";
import type { Carrier, FlowUser, FlowEnd, Network } from "../network/flows.js";
import { DinghyError, type PublishedPort } from "../options.js";
import { reason } from "../worker/download.js";

/** How long a name server is waited for; the guest asks again. */
const ANSWER_MS = 5000;

/** The IPv4 name server that this computer is configured to ask, as `ADDRESS:PORT`. */
export function configuredNameServer(): string | undefined {
  const address = getServers().find((server) => isIPv4(server.replace(/:\d+$/, "")));
  return address === undefined || address.includes(":") ? address : `${address}:53`;
}

/** Opens the guest's flows as sockets; the gateway has asked its policy already. */
export class SocketCarrier implements Carrier {
  readonly #open = new Set<{ destroy(): void }>();

  /** @param nameServer the one to ask, as `ADDRESS:PORT` */
  constructor(private readonly nameServer: string | undefined) {}

  open(flow: FlowUser, transport: "tcp" | "udp", address: string, port: number): FlowEnd {
    if (transport === "udp") return this.#openDatagrams(flow, address, port);
    const socket = connectSocket({ host: address, port, allowHalfOpen: true, noDelay: true });
    this.#keep(socket);
    socket.once("connect", () => flow.opened());
    return joinSocket(flow, socket);
  }

  async ask(query: Uint8Array): Promise<Uint8Array | undefined> {
    const [address, port] = this.nameServer?.split(":") ?? [];
    if (address === undefined) return undefined;
    const socket = createSocket("udp4");
    const entry = { destroy: () => socket.close() };
    this.#open.add(entry);
    try {
      return await new Promise<Uint8Array>((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error("no answer in time")), ANSWER_MS);
        socket.once("message", (answer) => {
          clearTimeout(timer);
          resolve(new Uint8Array(answer));
        });
        socket.once("error", (error) => {
          clearTimeout(timer);
          reject(error);
        });
        // A connected socket hears this server only, at a port that nobody else knows.
        socket.connect(Number(port), address, () => socket.send(query));
      });
    } finally {
      if (this.#open.delete(entry)) socket.close();
    }
  }

  end(): void {
    this.#open.forEach((entry) => entry.destroy());
    this.#open.clear();
  }

  #keep(socket: Socket): void {
    this.#open.add(socket);
    socket.once("close", () => this.#open.delete(socket));
  }

  #openDatagrams(flow: FlowUser, address: string, port: number): FlowEnd {
    const socket = createSocket(isIPv4(address) ? "udp4" : "udp6");
    let isOpen = true;
    const close = (): void => {
      if (isOpen) socket.close();
      isOpen = false;
    };
    const entry = { destroy: close };
    this.#open.add(entry);
    socket.once("close", () => this.#open.delete(entry));
    socket.on("message", (datagram) => void flow.data(datagram));
    socket.on("error", (error) => {
      close();
      flow.failed(failure(error));
    });
    socket.connect(port, address, () => flow.opened());
    return {
      send: (bytes) => {
        if (!isOpen) return;
        // A datagram that is not sent is lost, as on any network.
        socket.send(bytes, () => flow.sent(bytes.byteLength));
      },
      finish: () => undefined,
      close,
      resume: () => undefined,
    };
  }
}

/** Joins an open or opening socket to a flow. */
function joinSocket(flow: FlowUser, socket: Socket): FlowEnd {
  socket.on("data", (bytes) => {
    if (!flow.data(bytes)) socket.pause();
  });
  socket.on("end", () => flow.ended());
  socket.on("error", (error) => flow.failed(failure(error)));
  return {
    send: (bytes) =>
      void socket.write(bytes, (error) => {
        if (!error) flow.sent(bytes.byteLength);
      }),
    finish: () => void socket.end(),
    close: (isReset) => {
      if (isReset) socket.resetAndDestroy();
      // What was sent last may still be on its way out.
      else socket.destroySoon();
    },
    resume: () => void socket.resume(),
  };
}

/** What a socket's error means to the guest. */
function failure(error: NodeJS.ErrnoException): FlowFailure {
  switch (error.code) {
    case "ECONNREFUSED":
      return "refused";
    case "ECONNRESET":
    case "ECONNABORTED":
    case "EPIPE":
      return "reset";
    case "EMFILE":
    case "ENFILE":
    case "ENOBUFS":
      return "too-many";
    default:
      return "unreachable";
  }
}

/** Ports of 127.0.0.1 behind which ports of the guest are found. */
export class PublishedPorts {
  #network: Network | undefined;
  readonly #waiting: { socket: Socket; guestPort: number }[] = [];
  readonly #servers: Server[] = [];

  /**
   * Listens on all ports; where 0 is asked for, on one that is free.
   *
   * @throws DinghyError if a port is taken
   */
  async listen(ports: readonly PublishedPort[]): Promise<PublishedPort[]> {
    const listening: PublishedPort[] = [];
    for (const { hostPort, guestPort } of ports) {
      const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket, guestPort));
      this.#servers.push(server);
      listening.push({ hostPort: await listenOn(server, hostPort), guestPort });
    }
    return listening;
  }

  /** The machine is there: connections reach it from now on. */
  connect(network: Network): void {
    this.#network = network;
    for (const { socket, guestPort } of this.#waiting.splice(0)) {
      if (!socket.destroyed) this.#accept(socket, guestPort);
    }
  }

  /** Listens no more. */
  end(): void {
    this.#servers.forEach((server) => server.close());
  }

  #accept(socket: Socket, guestPort: number): void {
    if (!this.#network) {
      // Its client may go before the guest is there; whoever joins the socket learns it.
      socket.on("error", () => undefined);
      this.#waiting.push({ socket, guestPort });
    } else if (!this.#network.connect(guestPort, (flow) => joinSocket(flow, socket))) socket.destroy();
  }
}

async function listenOn(server: Server, port: number): Promise<number> {
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(port, "127.0.0.1", resolve);
    });
  } catch (error) {
    throw new DinghyError(`Port ${port} of this computer cannot be published (${reason(error)}); choose another.`);
  }
  const address = server.address();
  return address !== null && typeof address === "object" ? address.port : port;
}
