/** The guest's side of a network for tests: says what it wants as the emulator does, and keeps what it is told. */

import { EventEmitter, once } from "node:events";

const KINDS = { open: 0, send: 1, finish: 2, close: 3, resume: 4, ask: 5 };

/** The bytes of an IPv4 address, or of an IPv6 address with all its groups. */
function addressBytes(address) {
  if (address.includes(".")) return address.split(".").map(Number);
  return address.split(":").flatMap((group) => [parseInt(group, 16) >> 8, parseInt(group, 16) & 255]);
}

function encode([name, number, ...rest]) {
  let payload = Buffer.alloc(0);
  if (name === "open") {
    const [transport, address, port] = rest;
    payload = Buffer.from([transport === "tcp" ? 1 : 2, port & 255, port >> 8, ...addressBytes(address)]);
  } else if (name === "close") {
    payload = Buffer.from([rest[0] ? 1 : 0]);
  } else if (rest.length > 0) {
    payload = Buffer.from(rest[0]);
  }
  const head = Buffer.alloc(13);
  head.writeUInt8(KINDS[name], 0);
  head.writeDoubleLE(number, 1);
  head.writeUInt32LE(payload.length, 9);
  return Buffer.concat([head, payload]);
}

/** An `EnginePort` whose guest is the test. */
export class TestPort extends EventEmitter {
  #commands = [];
  #nextIncoming = -1;
  /** By flow: what has come, and how it stands. */
  flows = new Map();
  answers = new Map();
  hasRoom = true;

  /** Gives a command; `network.work()` takes it. */
  command(...command) {
    this.#commands.push(encode(command));
    if (command[0] === "open") this.flow(command[1]);
  }

  flow(number) {
    if (!this.flows.has(number)) {
      this.flows.set(number, { isOpen: false, data: [], bytes: 0, hasEnded: false, failure: undefined, sent: 0 });
    }
    return this.flows.get(number);
  }

  /** Waits until `condition` holds of a flow. */
  async until(number, condition) {
    while (!condition(this.flow(number))) await once(this, "change", { signal: AbortSignal.timeout(10_000) });
    return this.flow(number);
  }

  text(number) {
    return Buffer.concat(this.flow(number).data).toString();
  }

  #change(number, change) {
    change(this.flow(number));
    this.emit("change");
  }

  takeNetworkCommands() {
    return new Uint8Array(Buffer.concat(this.#commands.splice(0)));
  }
  flowOpened(number) {
    this.#change(number, (flow) => (flow.isOpen = true));
  }
  flowFailed(number, reason) {
    this.#change(number, (flow) => (flow.failure = reason));
  }
  flowData(number, bytes) {
    this.#change(number, (flow) => {
      flow.data.push(Buffer.from(bytes));
      flow.bytes += bytes.byteLength;
    });
    return this.hasRoom;
  }
  flowEnded(number) {
    this.#change(number, (flow) => (flow.hasEnded = true));
  }
  flowSent(number, count) {
    this.#change(number, (flow) => (flow.sent += count));
  }
  connectGuest(port) {
    const number = this.#nextIncoming--;
    this.flow(number).port = port;
    this.emit("connect", number, port);
    return number;
  }
  answerName(question, answer) {
    this.answers.set(question, answer);
    this.emit("change");
  }
}
