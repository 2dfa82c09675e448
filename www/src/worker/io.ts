/** The worker that does what must wait: it fetches disk chunks, and brings the user's input to the machine. */

import type { EnginePort } from "../engine.js";
import { carrierFor } from "../network/carrier.js";
import { Network } from "../network/flows.js";
import { Peers } from "../network/peers.js";
import { takeRequest } from "../network/requests.js";
import { callAttention } from "./attention.js";
import { ChunkFetcher, withPacks } from "./chunk-fetcher.js";
import { engine } from "./engine-shared.js";
import { deliver } from "./input.js";
import { RestOfMemory } from "./memory-files.js";
import { openCacheFile, openChunkCache } from "./own-files.js";
import type { ConnectMessage, InputMessage, IoMessage } from "./protocol.js";
import type { Post } from "./run-loop.js";
import { browserScope } from "./scope.js";
import { fatalError, THREAD_STACK_BYTES } from "./start.js";

const post: Post = (message, transfer) => browserScope.postMessage(message, transfer);

/** What arrived before the machine was there. */
const early: InputMessage[] = [];
let take = (message: InputMessage): void => {
  early.push(message);
};
let chunks: ChunkFetcher | undefined;
let network: Network | undefined;
let rest: RestOfMemory | undefined;
/** Whether the rest of the memory was asked for, perhaps before this worker was attached. */
let isRestWanted = false;
/** The chunks that were asked for before there was a fetcher. */
const earlyChunks: { disk: number; index: number }[] = [];
const cacheFile = openCacheFile();

browserScope.onmessage = (event: MessageEvent<ConnectMessage | InputMessage>) => {
  reportFailure(() => {
    if (event.data.type !== "connect") take(event.data);
    else event.data.vcpu.onmessage = (message: MessageEvent<IoMessage>) => reportFailure(() => serve(message.data));
  });
};

function serve(message: IoMessage): void {
  switch (message.type) {
    case "attach":
      attach(message).catch((error: unknown) => post(fatalError(error)));
      break;
    case "decode":
      decode(message.module, message.memory, message.decoderHandle);
      break;
    case "chunk":
      if (chunks) chunks.request(message.disk, message.index);
      else earlyChunks.push(message);
      break;
    case "network":
      network?.work();
      break;
    case "rest":
      isRestWanted = true;
      rest?.start();
      // For a visit without a network, and for what is read of the programs later.
      chunks?.prefetch();
      break;
  }
}

/** The emulator, once this worker has an instance on the vCPU's memory. */
let isInstantiated = false;

function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory): void {
  if (!isInstantiated) engine.initSync({ module, memory, thread_stack_size: THREAD_STACK_BYTES });
  isInstantiated = true;
}

/** Helps to decode a snapshot. Blocks until that is done: the machine does not run before. */
function decode(module: WebAssembly.Module, memory: WebAssembly.Memory, decoderHandle: number): void {
  instantiate(module, memory);
  const decoder = new engine.PageDecoder(decoderHandle);
  decoder.help();
  decoder.free();
}

async function attach({
  attachment: { module, memory, portHandle, attentionAddress },
  disks,
  boots,
  restAt,
  network: options,
}: Extract<IoMessage, { type: "attach" }>): Promise<void> {
  instantiate(module, memory);
  const port: EnginePort = new engine.MachinePort(portHandle);
  const wake = (): void => callAttention(memory, attentionAddress);
  const failed = (message: string): void => post({ type: "error", message, fatal: false });
  if (restAt !== undefined) {
    rest = new RestOfMemory(port, restAt);
    if (isRestWanted) rest.start();
  }
  const peers = new Peers(port, wake, (state) => post({ type: "peers", state }));
  const carrier = await carrierFor(options, (event) => post({ type: "registry", event }), failed);
  const attached = new Network(port, carrier, wake, peers);
  network = attached;
  take = (message) => {
    if (takeRequest(message, attached, peers)) return;
    deliver(port, message);
    wake();
  };
  early.forEach(take);
  attached.work();
  await cacheFile;
  const cache = openChunkCache(engine);
  const fetcher = new ChunkFetcher(withPacks(disks, port), engine.chunkBytes(), port, wake, failed, { cache });
  chunks = fetcher;
  earlyChunks.forEach(({ disk, index }) => fetcher.request(disk, index));
  // A restored machine has in its memory what a boot reads.
  if (boots) fetcher.prefetch();
}

function reportFailure(action: () => void): void {
  try {
    action();
  } catch (error) {
    post(fatalError(error));
  }
}
