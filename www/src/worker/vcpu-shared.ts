/** The worker that runs the vCPU on shared memory. It blocks; the I/O worker does all that must wait. */

import { engine, wasm } from "./engine-shared.js";
import { Keeping } from "./keeping.js";
import type { BootMessage, IoMessage } from "./protocol.js";
import { WhenQuiet } from "./quiet.js";
import { OutputBatch, type Post, runBlocking } from "./run-loop.js";
import { browserScope } from "./scope.js";
import { compile, fatalError, start } from "./start.js";

const emulator = compile(wasm);
const post: Post = (message, transfer) => browserScope.postMessage(message, transfer);

browserScope.onmessage = (event: MessageEvent<BootMessage>) => {
  run(event.data).catch((error: unknown) => post(fatalError(error)));
};

async function run(boot: BootMessage): Promise<void> {
  const io = boot.io;
  if (!io) throw new Error("the worker for shared memory was started without a way to the I/O worker");
  const toIo = (message: IoMessage): void => io.postMessage(message);
  const output = new OutputBatch(post);
  const { module, machine, disks, keeper, boots, restAt } = await start(
    engine,
    emulator,
    boot,
    output,
    post,
    (disk, index) => toIo({ type: "chunk", disk, index }),
    () => toIo({ type: "network" }),
    (shared, decoderHandle) => toIo({ type: "decode", module: shared, memory: engine.wasmMemory(), decoderHandle }),
  );
  const memory = engine.wasmMemory();
  toIo({
    type: "attach",
    attachment: {
      module,
      memory,
      portHandle: machine.portHandle(),
      attentionAddress: machine.attentionAddress(),
    },
    disks,
    boots,
    restAt,
    network: boot.network,
  });
  post({ type: "attention", memory, address: machine.attentionAddress() });
  post({ type: "booting" });
  const keeping = keeper && new Keeping(machine, keeper, post);
  const whenQuiet = restAt === undefined ? undefined : new WhenQuiet(() => toIo({ type: "rest" }));
  runBlocking(machine, boot.clock, memory, output, post, { keeping, closing: boot.closing, whenQuiet });
}
