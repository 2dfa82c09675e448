/** Machines that find each other, with a room of the test's own making between them. */

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import { Peers } from "../lib/network/peers.js";
import { decode, encode } from "../lib/network/web-rtc.js";

/** What a `BroadcastChannel` is, without its threads. */
class Room {
  members = new Set();
  join() {
    const member = {
      onmessage: null,
      postMessage: (message) => {
        for (const other of this.members)
          if (other !== member)
            void Promise.resolve().then(() => other.onmessage?.({ data: structuredClone(message) }));
      },
      close: () => this.members.delete(member),
    };
    this.members.add(member);
    return member;
  }
}

let machines = [];
afterEach(() => {
  machines.forEach(({ peers }) => peers.leave());
  machines = [];
});

function machine(room) {
  const found = { address: undefined, packets: [], state: { own: undefined, others: [] }, wakes: 0 };
  const port = {
    joinPeers: (address) => (found.address = address),
    peerPacket: (packet) => found.packets.push(Buffer.from(packet)),
  };
  found.peers = new Peers(
    port,
    () => (found.wakes += 1),
    (state) => (found.state = state),
    () => room.join(),
  );
  machines.push(found);
  return found;
}

async function until(condition) {
  for (const deadline = Date.now() + 10_000; !condition();) {
    assert.ok(Date.now() < deadline, "it takes too long");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function packetTo(address, size = 20) {
  const packet = Buffer.alloc(size, 1);
  packet.set(address.split(".").map(Number), 16);
  return packet;
}

test("machines in a room find each other, and packets find their machine", async () => {
  const room = new Room();
  const [a, b, c] = [machine(room), machine(room), machine(room)];
  for (const { peers } of machines) peers.join("home");
  await until(() => machines.every(({ state }) => state.own && state.others.length === 2));
  assert.equal(new Set(machines.map(({ state }) => state.own)).size, 3);
  for (const { state, address } of machines) {
    assert.match(state.own, /^10\.87\.\d+\.\d+$/);
    assert.equal(state.own, [24, 16, 8, 0].map((bits) => (address >>> bits) & 255).join("."));
  }
  a.peers.send(packetTo(b.state.own));
  a.peers.send(packetTo("10.87.255.254"));
  a.peers.send(Buffer.alloc(3));
  await until(() => b.packets.length === 1);
  assert.deepEqual(b.packets[0], packetTo(b.state.own));
  assert.deepEqual([a.packets.length, c.packets.length], [0, 0]);
  c.peers.leave();
  await until(() => a.state.others.length === 1);
  assert.deepEqual([c.state.own, c.address], [undefined, undefined]);
});

test("an address that is taken is not taken again", async () => {
  const room = new Room();
  const first = machine(room);
  first.peers.join("home");
  await until(() => first.state.own);
  // Whoever asks for it hears that it is taken.
  const member = room.join();
  const heard = [];
  member.onmessage = ({ data }) => heard.push(data);
  member.postMessage({ type: "who", address: first.address });
  await until(() => heard.some(({ type, address }) => type === "here" && address === first.address));
  // Whoever insists, with the larger sign, keeps it; this one moves.
  const before = first.address;
  member.postMessage({ type: "here", address: before, sign: 0xffffffff });
  await until(() => first.address !== before);
});

test("a link joins two machines that share no room, and packets cross it as bytes", async () => {
  const [a, b] = [machine(new Room()), machine(new Room())];
  const ends = [{}, {}].map(() => ({ onmessage: null, isClosed: false }));
  ends.forEach((end, index) => {
    end.close = () => (end.isClosed = true);
    end.postMessage = (message) => {
      const data = decode(encode(message));
      void Promise.resolve().then(() => ends[1 - index].onmessage?.({ data }));
    };
  });
  a.peers.link(ends[0]);
  b.peers.link(ends[1]);
  await until(() => a.state.others[0] === b.state.own && b.state.others[0] === a.state.own && a.state.own);
  a.peers.send(packetTo(b.state.own, 1500));
  await until(() => b.packets.length === 1);
  assert.deepEqual(b.packets[0], packetTo(b.state.own, 1500));
  a.peers.leave();
  await until(() => b.state.others.length === 0);
  assert.deepEqual(
    ends.map(({ isClosed }) => isClosed),
    [true, true],
  );
});

test("what the other end of a link sends is read with care", () => {
  for (const bytes of [[], [9], [1], [2, 0, 0], [255, 1, 2], new Array(10).fill(1)])
    assert.equal(decode(Uint8Array.from(bytes)), undefined);
  assert.equal(decode(new Uint8Array(70_000)), undefined);
  assert.deepEqual(decode(encode({ type: "here", address: 0x0a570102, sign: 7 })), {
    type: "here",
    address: 0x0a570102,
    sign: 7,
  });
});
