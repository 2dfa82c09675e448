/**
 * The worker thread that brings input to a machine in node. It is not the main thread, because the
 * emulator's JavaScript side holds one memory for as long as its thread lives.
 */

import { readFile } from "node:fs/promises";
import { parentPort, workerData } from "node:worker_threads";

import { WebSocket } from "ws";

import type { AnswerMessage } from "../files/operations.js";
import { FileService } from "../files/service.js";
import { fetchCarrier, type Https } from "../network/fetch-carrier.js";
import { type Carrier, Network } from "../network/flows.js";
import { nowhere } from "../network/nowhere.js";
import { Peers } from "../network/peers.js";
import { type OpenSocket, RelayCarrier } from "../network/relay.js";
import { takeRequest } from "../network/requests.js";
import { type Service, withServices } from "../network/services.js";
import { loadTls } from "../network/tls.js";
import { httpsPorts, withCertificate } from "../network/trust.js";
import type { RegistryEvent } from "../registry/registry.js";
import { DEFAULT_REGISTRIES, registryServices } from "../registry/service.js";
import { callAttention } from "../worker/attention.js";
import { engine } from "../worker/engine-shared.js";
import { deliver } from "../worker/input.js";
import type { Attachment, InputMessage } from "../worker/protocol.js";
import { fatalError, THREAD_STACK_BYTES } from "../worker/start.js";
import { HostDirectory } from "./directory.js";
import { openCacheFolder } from "./cache-files.js";
import type { AttachMessage, NodeIo, NodeIoMessage, NodeMessage } from "./protocol.js";
import { guestFetch } from "./outside-http.js";
import { registryFetch } from "./registry-fetch.js";
import { PublishedPorts, SocketCarrier } from "./sockets.js";

const io = workerData as NodeIo;
const published = new PublishedPorts();
const send = (message: NodeMessage): void => parentPort?.postMessage(message);

/** What arrived before the machine was there. */
const early: InputMessage[] = [];
let take = (message: InputMessage): void => {
  early.push(message);
};

parentPort?.on("message", (message: AttachMessage | InputMessage) => {
  if (message.type === "attach") attach(message.attachment);
  else take(message);
});

function attach({ module, memory, portHandle, attentionAddress }: Attachment): void {
  engine.initSync({ module, memory, thread_stack_size: THREAD_STACK_BYTES });
  const port = new engine.MachinePort(portHandle);
  const wake = (): void => callAttention(memory, attentionAddress);
  const peers = new Peers(port, wake, (state) => send({ type: "peers", state }));
  const network = new Network(port, withServices(outside(), services), wake, peers);
  take = (message) => {
    if (takeRequest(message, network, peers)) return;
    deliver(port, message);
    wake();
  };
  early.forEach(take);
  published.connect(network);
  const answer = (message: AnswerMessage): void => take(message);
  const failed = (message: string): void => send({ type: "error", message, fatal: false });
  const files = io.shares.map(({ tag, folder }) =>
    folder === undefined ? undefined : new FileService(new HostDirectory(folder), tag, answer, failed),
  );
  io.vcpu.onmessage = ({ data }: MessageEvent<NodeIoMessage>) => {
    if (data.type === "network") network.work();
    else files[data.share]?.take(data);
  };
  network.work();
}

/** node has WebSockets of its own from version 22 on. */
const openSocket: OpenSocket = (address, protocols) =>
  new WebSocket(address, protocols) as unknown as ReturnType<OpenSocket>;

/** Who carries the guest's flows. */
function outside(): Carrier {
  const { network } = io;
  switch (network.to) {
    case "host":
      return new SocketCarrier(io.nameServer);
    case "relay":
      return new RelayCarrier(network.relay, network.dns, openSocket);
    case "fetch":
      return fetchCarrier({
        fetch: guestFetch(),
        ownHost: undefined,
        isEncrypted: false,
        keepsEncodings: true,
        ...(https ? { https } : {}),
      });
    case "nowhere":
    case "none":
      return nowhere;
  }
}

/** What ends the guest's HTTPS, where the user wants that: a certificate authority with a key that nobody has had before. */
async function openHttps(): Promise<Https | undefined> {
  const ports = httpsPorts(io.network);
  if (ports.length === 0) return undefined;
  const { Authority } = await loadTls(readFile);
  return { authority: new Authority(), ports };
}

/** What the emulator serves to the guest by itself. */
async function openServices(): Promise<ReadonlyMap<number, Service>> {
  if (io.network.to === "none" || !io.network.registry) return new Map();
  const { cache, mostBytes, registries = io.network.to === "nowhere" ? [] : DEFAULT_REGISTRIES } = io.network.registry;
  const files = await openCacheFolder(cache);
  const tell = (event: RegistryEvent): void => send({ type: "registry", event });
  return registryServices(Promise.resolve(files), registries, registryFetch(registries), tell, mostBytes);
}

let https: Https | undefined;
let services: ReadonlyMap<number, Service> = new Map();
try {
  https = await openHttps();
  services = withCertificate(await openServices(), https?.authority);
  const ports = io.network.to === "none" ? [] : (io.network.publish ?? []);
  send({ type: "published", ports: await published.listen(ports) });
  send({ type: "ready" });
} catch (error) {
  send(fatalError(error));
}
