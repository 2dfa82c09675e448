/** Where the time of a run goes: V8's sampling profiler, whose samples in compiled code are told by guest code. */

import { Session } from "node:inspector";

/** Time between two samples, in microseconds. */
const INTERVAL_US = 500;

/** Functions that the report lists, of each kind. */
const MOST_LINES = 60;

/** What compiled code is called: see `name` in the engine's `engine.rs`. */
const GUEST_CODE = /^guest (linear|physical) (0x[0-9a-f]+) (\d+) (\d+)/;

/** What the time goes to, by the functions that it is spent in: the first that fits. */
const KINDS: readonly (readonly [kind: string, functions: RegExp])[] = [
  // Without names where nobody has asked for a profile.
  ["compiled guest code", /^(guest |wasm-function)/],
  ["waiting: the guest is idle", /^(waitForAttention|\(idle\))$/],
  ["translating for the interpreter", /^(<?dinghy::cpu::(code|lift)|iced_x86)/],
  [
    "emitting and compiling modules",
    /^(<?dinghy::jit::(?!abi|installed)|wasm_encoder|<.* as wasm_encoder|(Module|Instance)$)/,
  ],
  ["interpreting, and what compiled code calls", /^(<?dinghy::(cpu|mem|jit)|__multi3|__ashlti3|__lshrti3)/],
  ["disks, network, other devices", /^(<?dinghy::|read$|write$|postMessage$)/],
  ["all else", /^/],
];

/** What is read of V8's profile. */
interface CpuProfile {
  nodes: { id: number; callFrame: { functionName: string } }[];
  samples?: number[] | undefined;
  timeDeltas?: number[] | undefined;
}

/** The kernel's symbols. */
export class Symbols {
  readonly #addresses: bigint[] = [];
  readonly #names: string[] = [];

  /** @param map the text of a `System.map`: address, type and name a line, in the order of addresses */
  constructor(map: string) {
    for (const line of map.split("\n")) {
      const [address, , name] = line.split(" ");
      if (address === undefined || name === undefined) continue;
      this.#addresses.push(BigInt(`0x${address}`));
      this.#names.push(name);
    }
  }

  /** The symbol that an address of the kernel belongs to, with the distance; the address itself if there is none. */
  of(address: bigint): string {
    // Per-CPU symbols stand at low addresses, where programs are.
    const isKernel = address >> 63n !== 0n;
    let [low, high] = [0, isKernel ? this.#addresses.length : 0];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#addresses[middle] ?? 0n) <= address) low = middle + 1;
      else high = middle;
    }
    const start = this.#addresses[low - 1];
    if (start === undefined) return `0x${address.toString(16)}`;
    const distance = address - start;
    return `${this.#names[low - 1] ?? ""}${distance === 0n ? "" : `+0x${distance.toString(16)}`}`;
  }
}

/** Samples this thread from its making on. */
export class Profiler {
  readonly #session = new Session();

  constructor() {
    this.#session.connect();
    this.#session.post("Profiler.enable");
    this.#session.post("Profiler.setSamplingInterval", { interval: INTERVAL_US });
    this.#session.post("Profiler.start");
  }

  /** Ends sampling. Gives the report as text. */
  stop(symbols: Symbols): string {
    let text = "";
    // In the same thread, answers come at once.
    this.#session.post("Profiler.stop", (error, result) => {
      if (error !== null) throw error;
      text = report(result.profile, symbols);
    });
    this.#session.disconnect();
    return text;
  }
}

/** The report of a profile. */
export function report({ nodes, samples = [], timeDeltas = [] }: CpuProfile, symbols: Symbols): string {
  const names = new Map(nodes.map(({ id, callFrame }) => [id, callFrame.functionName]));
  const times = new Map<string, number>();
  let total = 0;
  samples.forEach((id, place) => {
    const name = names.get(id) ?? "";
    const time = timeDeltas[place] ?? 0;
    times.set(name, (times.get(name) ?? 0) + time);
    total += time;
  });
  const sorted = [...times].sort(([, a], [, b]) => b - a);
  const guest = sorted.filter(([name]) => GUEST_CODE.test(name));
  const others = sorted.filter(([name]) => !GUEST_CODE.test(name));
  const share = (time: number): string => `${((time / (total || 1)) * 100).toFixed(2).padStart(6)} %`;
  const sum = (rows: [string, number][]): number => rows.reduce((all, [, time]) => all + time, 0);
  const kinds = new Map(KINDS.map(([kind]) => [kind, 0]));
  for (const [name, time] of times) {
    const kind = KINDS.find(([, functions]) => functions.test(name))?.[0] ?? "";
    kinds.set(kind, (kinds.get(kind) ?? 0) + time);
  }
  const lines = [`${(total / 1e6).toFixed(2)} s`, ""];
  for (const [kind, time] of kinds) lines.push(`${share(time)}  ${kind}`);
  lines.push("", `${share(sum(guest))} in compiled guest code`);
  lines.push("   share  instructions  wasm bytes an instruction  guest code");
  for (const [name, time] of guest.slice(0, MOST_LINES)) {
    const [, space, address = "0", instructions = "0", bytes = "0"] = GUEST_CODE.exec(name) ?? [];
    const density = (Number(bytes) / Number(instructions)).toFixed(1);
    const place = space === "linear" ? symbols.of(BigInt(address)) : `physical ${address}`;
    lines.push(`${share(time)}  ${instructions.padStart(12)}  ${density.padStart(25)}  ${place}`);
  }
  lines.push("", `${share(sum(others))} in the emulator and its host`);
  for (const [name, time] of others.slice(0, MOST_LINES)) lines.push(`${share(time)}  ${name || "(anonymous)"}`);
  return `${lines.join("\n")}\n`;
}
