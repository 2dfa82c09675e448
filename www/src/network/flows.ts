/** Carries the guest's flows: brings what the emulator wants to whoever has the connections, and back. */

import { readCommands } from "./commands.js";
import type { EnginePort, FlowFailure, Transport } from "../engine.js";

/** The outside's end of a flow, as the guest's side uses it. */
export interface FlowEnd {
  /** Sends a piece of a stream, or a datagram; the flow's `sent` tells when it has left. */
  send(bytes: Uint8Array): void;
  /** The guest's stream has ended; the other direction goes on. */
  finish(): void;
  /** The flow is over; with `isReset`, the other end should learn that it did not end well. */
  close(isReset: boolean): void;
  /** There is room again after the flow's `data` had returned false. */
  resume(): void;
}

/** Whoever wants a flow: is told what becomes of it. */
export interface FlowUser {
  /** The flow is open. */
  opened(): void;
  /** The flow cannot be opened, or has ended badly; the carrier forgets it. */
  failed(reason: FlowFailure): void;
  /** Bytes of the stream, or a datagram. Returns whether there is room for more. */
  data(bytes: Uint8Array): boolean;
  /** The stream has ended. */
  ended(): void;
  /** So many bytes have left. */
  sent(count: number): void;
}

/** What opens connections for the guest. */
export interface Carrier {
  /** Opens a flow. `flow.opened` or `flow.failed` follows, not before this has returned. */
  open(flow: FlowUser, transport: Transport, address: string, port: number): FlowEnd;
  /** Asks a name server; resolves to its answer, or to nothing if there is none. */
  ask(query: Uint8Array): Promise<Uint8Array | undefined>;
  /** Ends all connections. */
  end(): void;
}

/** The guest's side of a flow. */
export class Flow implements FlowUser {
  constructor(
    private readonly network: Network,
    private readonly port: NetworkPort,
    readonly number: number,
  ) {}

  opened(): void {
    this.network.change(() => this.port.flowOpened(this.number));
  }

  failed(reason: FlowFailure): void {
    this.network.forget(this.number);
    this.network.change(() => this.port.flowFailed(this.number, reason));
  }

  data(bytes: Uint8Array): boolean {
    return this.network.change(() => this.port.flowData(this.number, bytes));
  }

  ended(): void {
    this.network.change(() => this.port.flowEnded(this.number));
  }

  sent(count: number): void {
    this.network.change(() => this.port.flowSent(this.number, count));
  }
}

/** What of a machine's port the network needs. */
export type NetworkPort = Pick<
  EnginePort,
  | "takeNetworkCommands"
  | "flowOpened"
  | "flowFailed"
  | "flowData"
  | "flowEnded"
  | "flowSent"
  | "connectGuest"
  | "answerName"
>;

/** The network of one machine. */
export class Network {
  readonly #ends = new Map<number, FlowEnd>();

  /**
   * @param wake called after something was given to the port
   * @param peers what brings packets to other machines
   */
  constructor(
    private readonly port: NetworkPort,
    private readonly carrier: Carrier,
    private readonly wake: () => void,
    private readonly peers: { send(packet: Uint8Array): void } = { send: () => undefined },
  ) {}

  /** Does what the emulator wants; to be called when it says that there is something. */
  work(): void {
    for (const command of readCommands(this.port.takeNetworkCommands())) {
      const [name, number] = command;
      switch (name) {
        case "open": {
          const [, , transport, address, port] = command;
          this.#ends.set(number, this.carrier.open(new Flow(this, this.port, number), transport, address, port));
          break;
        }
        case "send":
          this.#ends.get(number)?.send(command[2]);
          break;
        case "finish":
          this.#ends.get(number)?.finish();
          break;
        case "close":
          this.#ends.get(number)?.close(command[2]);
          this.#ends.delete(number);
          break;
        case "resume":
          this.#ends.get(number)?.resume();
          break;
        case "ask":
          void this.#ask(number, command[2]);
          break;
        case "packet":
          this.peers.send(command[2]);
          break;
      }
    }
  }

  /** Connects to a port of the guest; `makeEnd` is given the guest's side. Returns false without a network. */
  connect(port: number, makeEnd: (flow: Flow) => FlowEnd): boolean {
    const number = this.port.connectGuest(port);
    if (number === undefined) return false;
    this.#ends.set(number, makeEnd(new Flow(this, this.port, number)));
    this.wake();
    return true;
  }

  /** The other end of a flow has gone by itself. */
  forget(number: number): void {
    this.#ends.delete(number);
  }

  /** Does something to the port, and wakes the machine. */
  change<Outcome>(action: () => Outcome): Outcome {
    const outcome = action();
    this.wake();
    return outcome;
  }

  async #ask(question: number, query: Uint8Array): Promise<void> {
    const answer = await this.carrier.ask(query).catch(() => undefined);
    this.change(() => this.port.answerName(question, answer));
  }
}
