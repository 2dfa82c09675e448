/**
 * The worker thread that brings input to a machine in node. It is not the main thread, because the
 * emulator's JavaScript side holds one memory for as long as its thread lives.
 */

import { parentPort } from "node:worker_threads";

import { callAttention } from "../worker/attention.js";
import { engine } from "../worker/engine-shared.js";
import { deliver } from "../worker/input.js";
import type { Attachment, InputMessage } from "../worker/protocol.js";
import { THREAD_STACK_BYTES } from "../worker/start.js";
import type { AttachMessage } from "./protocol.js";

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
  take = (message) => {
    deliver(port, message);
    callAttention(memory, attentionAddress);
  };
  early.forEach(take);
}
