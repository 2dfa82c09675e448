/** The one worker of a machine where memory cannot be shared: it runs the vCPU in slices, and does the I/O between them. */

import { carrierFor } from "../network/carrier.js";
import { Network } from "../network/flows.js";
import { Peers } from "../network/peers.js";
import { takeRequest } from "../network/requests.js";
import { ChunkFetcher, withPacks } from "./chunk-fetcher.js";
import { engine, wasm } from "./engine-unshared.js";
import { deliver } from "./input.js";
import { Keeping } from "./keeping.js";
import { RestOfMemory } from "./memory-files.js";
import { openCacheFile, openChunkCache } from "./own-files.js";
import type { BootMessage, InputMessage } from "./protocol.js";
import { WhenQuiet } from "./quiet.js";
import { OutputBatch, type Post, SliceLoop } from "./run-loop.js";
import { browserScope } from "./scope.js";
import { compile, fatalError, start } from "./start.js";

const emulator = compile(wasm);
const post: Post = (message, transfer) => browserScope.postMessage(message, transfer);

/** What arrived before the machine was there. */
const early: InputMessage[] = [];
let take = (message: InputMessage): void => {
  early.push(message);
};

browserScope.onmessage = (event: MessageEvent<BootMessage | InputMessage>) => {
  if (event.data.type === "boot") {
    run(event.data).catch((error: unknown) => post(fatalError(error)));
  } else {
    take(event.data);
  }
};

async function run(boot: BootMessage): Promise<void> {
  const output = new OutputBatch(post);
  await openCacheFile();
  const { machine, disks, keeper, boots, restAt } = await start(
    engine,
    emulator,
    boot,
    output,
    post,
    (disk, index) => chunks.request(disk, index),
    // Called in the middle of a slice: the machine is in use until it is over.
    () => queueMicrotask(() => network.work()),
  );
  const port = new engine.MachinePort(machine.portHandle());
  const keeping = keeper && new Keeping(machine, keeper, post);
  const rest = restAt === undefined ? undefined : new RestOfMemory(port, restAt);
  const whenQuiet =
    rest &&
    new WhenQuiet(() => {
      rest.start();
      // For a visit without a network, and for what is read of the programs later.
      chunks.prefetch();
    });
  const loop = new SliceLoop(machine, boot.clock, output, post, keeping, whenQuiet, (error) => post(fatalError(error)));
  const wake = (): void => loop.wake();
  // The machine asks for chunks only while it runs, which starts after this.
  const failed = (message: string): void => post({ type: "error", message, fatal: false });
  const cache = openChunkCache(engine);
  const chunks = new ChunkFetcher(withPacks(disks, port), engine.chunkBytes(), port, wake, failed, { cache });
  // A restored machine has in its memory what a boot reads.
  if (boots) chunks.prefetch();
  const peers = new Peers(port, wake, (state) => post({ type: "peers", state }));
  const carrier = await carrierFor(boot.network, (event) => post({ type: "registry", event }), failed);
  const network = new Network(port, carrier, wake, peers);
  take = (message) => {
    if (takeRequest(message, network, peers)) return;
    deliver(port, message);
    loop.wake();
  };
  early.forEach(take);
  post({ type: "booting" });
  loop.wake();
}
