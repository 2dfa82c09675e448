/**
 * Packets between machines: over a `BroadcastChannel` to those of this origin (in node: of this process), and over links
 * that were made by hand to others. Every machine has an address in 10.87.0.0/16, chosen by itself.
 */

import type { EnginePort } from "../engine.js";

/** How long others may take to say that an address is theirs. */
const ANSWER_MS = 150;
/** How often a machine says that it is there, and after what time of silence it is not. */
const HERE_MS = 5000;
const SILENCE_MS = 16_000;
/** Machines that are known at a time. */
const MOST_OTHERS = 4096;
/** Bytes of the smallest IPv4 packet, and where its destination is in it. */
const LEAST_PACKET_BYTES = 20;
const DESTINATION_OFFSET = 16;
/** The network's first two bytes. */
const PREFIX = (10 << 8) | 87;

/** What machines say to each other. Addresses are numbers of 32 bits, the first byte highest. */
export type PeerMessage =
  /** Whoever has this address says so. */
  | { type: "who"; address: number }
  /** This address is taken, by a machine with this sign, which tells it from its namesakes. */
  | { type: "here"; address: number; sign: number }
  | { type: "gone"; address: number }
  | { type: "packet"; bytes: Uint8Array };

/** What carries messages to and from one machine, for example a `MessagePort`. */
export interface PeerChannel {
  postMessage(message: PeerMessage): void;
  onmessage: ((event: MessageEvent<PeerMessage>) => void) | null;
  close(): void;
}

/** Who is there. */
export interface PeersState {
  /** This machine's address; nothing before one is chosen, or when it has left. */
  own: string | undefined;
  /** The others', in order. */
  others: string[];
}

/** The address as text. */
function text(address: number): string {
  return [24, 16, 8, 0].map((bits) => (address >>> bits) & 255).join(".");
}

/** A machine's place among its peers. */
export class Peers {
  #own: number | undefined;
  /** The address that is asked about. */
  #wanted: number | undefined;
  /** Joined or being joined. */
  #isIn = false;
  #room: PeerChannel | undefined;
  readonly #links = new Set<PeerChannel>();
  /** Which channel leads to an address, and when it was heard of. */
  readonly #others = new Map<number, { channel: PeerChannel; heardAt: number }>();
  readonly #sign = random(0xffffffff);
  #timer: ReturnType<typeof setInterval> | undefined;
  #told = "";

  /**
   * @param wake called after something was given to the port
   * @param tell told who is there, when that has changed
   * @param openRoom opens the way to all machines of this origin that named the same room
   */
  constructor(
    private readonly port: Pick<EnginePort, "joinPeers" | "peerPacket">,
    private readonly wake: () => void,
    private readonly tell: (state: PeersState) => void,
    private readonly openRoom = (name: string): PeerChannel => new BroadcastChannel(name),
  ) {}

  /** Joins the machines of this origin that have joined a room of this name. */
  join(room: string): void {
    this.#closeRoom();
    this.#room = this.openRoom(`dinghy-peers-${room}`);
    this.#listen(this.#room);
    this.#enter();
  }

  /** Joins the machine behind a channel. */
  link(channel: PeerChannel): void {
    this.#links.add(channel);
    this.#listen(channel);
    if (this.#own === undefined) this.#enter();
    else channel.postMessage({ type: "here", address: this.#own, sign: this.#sign });
  }

  /** Leaves all of them. */
  leave(): void {
    this.#links.forEach((link) => link.postMessage({ type: "gone", address: this.#own ?? 0 }));
    this.#isIn = false;
    this.#closeRoom();
    this.#links.forEach((link) => link.close());
    this.#links.clear();
    this.#others.clear();
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#wanted = undefined;
    this.#settle(undefined);
  }

  /** Brings a packet of the guest to whoever has its destination; without one, it is lost. */
  send(packet: Uint8Array): void {
    this.#others.get(destination(packet) ?? 0)?.channel.postMessage({ type: "packet", bytes: packet });
  }

  #closeRoom(): void {
    const room = this.#room;
    if (!room) return;
    this.#room = undefined;
    if (this.#own !== undefined) room.postMessage({ type: "gone", address: this.#own });
    room.close();
    this.#others.forEach(({ channel }, address) => channel === room && this.#others.delete(address));
    this.#report();
  }

  #listen(channel: PeerChannel): void {
    channel.onmessage = ({ data }) => this.#receive(channel, data);
  }

  #enter(): void {
    this.#isIn = true;
    this.#timer ??= setInterval(() => this.#beat(), HERE_MS);
    this.#choose(this.#own ?? freeAddress());
  }

  /** Asks for an address, and takes it when nobody says that it is theirs. */
  #choose(address: number): void {
    this.#wanted = address;
    this.#say({ type: "who", address });
    setTimeout(() => {
      if (!this.#isIn || this.#wanted !== address) return;
      this.#wanted = undefined;
      this.#settle(address);
      this.#say({ type: "here", address, sign: this.#sign });
    }, ANSWER_MS);
  }

  #settle(address: number | undefined): void {
    if (this.#own !== address) {
      this.#own = address;
      this.port.joinPeers(address);
      this.wake();
    }
    this.#report();
  }

  #receive(channel: PeerChannel, message: PeerMessage): void {
    switch (message.type) {
      case "packet":
        if (this.#own === undefined || destination(message.bytes) !== this.#own) return;
        this.port.peerPacket(message.bytes);
        this.wake();
        break;
      case "who":
        // Who wants the same at the same time chooses anew, as the other one does.
        if (message.address === this.#wanted) this.#choose(freeAddress());
        else if (this.#own !== undefined) this.#answer(channel);
        break;
      case "here":
        this.#meet(channel, message);
        break;
      case "gone":
        // Behind a link is one machine: without it, or without its way, the link is over.
        if (this.#links.delete(channel)) {
          channel.close();
          this.#others.forEach((other, address) => other.channel === channel && this.#others.delete(address));
        } else if (this.#others.get(message.address)?.channel === channel) {
          this.#others.delete(message.address);
        }
        this.#report();
        break;
    }
  }

  #meet(channel: PeerChannel, { address, sign }: Extract<PeerMessage, { type: "here" }>): void {
    if (!isPeer(address) || sign === this.#sign) return;
    if (address === this.#wanted) {
      this.#choose(freeAddress());
    } else if (address === this.#own) {
      // Two that have met too late to ask: the one with the smaller sign moves.
      if (this.#sign < sign) this.#choose(freeAddress());
      else this.#answer(channel);
    } else {
      const isNew = !this.#others.has(address);
      if (isNew && this.#others.size >= MOST_OTHERS) return;
      this.#others.set(address, { channel, heardAt: Date.now() });
      if (isNew) this.#answer(channel);
      this.#report();
    }
  }

  #answer(channel: PeerChannel): void {
    if (this.#own !== undefined) channel.postMessage({ type: "here", address: this.#own, sign: this.#sign });
  }

  #beat(): void {
    const oldest = Date.now() - SILENCE_MS;
    this.#others.forEach(({ heardAt }, address) => heardAt < oldest && this.#others.delete(address));
    if (this.#own !== undefined) this.#say({ type: "here", address: this.#own, sign: this.#sign });
    this.#report();
  }

  #say(message: PeerMessage): void {
    this.#room?.postMessage(message);
    this.#links.forEach((link) => link.postMessage(message));
  }

  #report(): void {
    const state = {
      own: this.#own === undefined ? undefined : text(this.#own),
      others: [...this.#others.keys()].sort((a, b) => a - b).map(text),
    };
    const told = JSON.stringify(state);
    if (told !== this.#told) this.tell(state);
    this.#told = told;
  }
}

/** Where a packet goes; nothing if it is none. */
function destination(packet: Uint8Array): number | undefined {
  if (packet.byteLength < LEAST_PACKET_BYTES) return undefined;
  return new DataView(packet.buffer, packet.byteOffset).getUint32(DESTINATION_OFFSET);
}

/** Whether a machine may have this address: as `is_peer` in `src/net/subnet.rs`. */
function isPeer(address: number): boolean {
  return address >>> 16 === PREFIX && (address & 0xffff) !== 0 && (address & 0xffff) !== 0xffff;
}

function freeAddress(): number {
  return ((PREFIX << 16) | (1 + random(0xfffd))) >>> 0;
}

/** A random whole number from 0 to `most`. */
function random(most: number): number {
  const [number = 0] = crypto.getRandomValues(new Uint32Array(1));
  return number % (most + 1);
}
