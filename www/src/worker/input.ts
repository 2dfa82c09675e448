/** Brings what the user does to a machine's port. */

import type { EnginePort } from "../engine.js";
import type { InputMessage } from "./protocol.js";

/** Gives one message of the user to the machine. */
export function deliver(
  port: Pick<
    EnginePort,
    "consoleInput" | "serialInput" | "resize" | "pressPowerButton" | "requestSave" | "requestKeep" | "completeOperation"
  >,
  message: Exclude<InputMessage, { type: "connect-guest" }>,
): void {
  switch (message.type) {
    case "input":
      if (message.device === "console") port.consoleInput(message.bytes);
      else port.serialInput(message.bytes);
      break;
    case "resize":
      port.resize(message.size.columns, message.size.rows);
      break;
    case "power":
      port.pressPowerButton();
      break;
    case "save":
      port.requestSave();
      break;
    case "keep":
      port.requestKeep();
      break;
    case "answer":
      port.completeOperation(message.share, message.id, message.errno, message.json, message.data);
      break;
  }
}
