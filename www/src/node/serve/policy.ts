/** Where a relay may connect to: nothing but what its rules name. */

import { lookup } from "node:dns/promises";
import { BlockList, isIP, isIPv4, isIPv6 } from "node:net";

import { DinghyError } from "../../options.js";

/** Addresses that belong to no single host of the public internet (RFC 6890 and its registry). */
const SPECIAL: readonly (readonly [network: string, bits: number])[] = [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.88.99.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 3],
];

/** Of IPv6, what is given to hosts at all, and within it what is not, or has an IPv4 address in it. */
const GLOBAL_V6 = ["2000::", 3] as const;
const SPECIAL_V6: readonly (readonly [network: string, bits: number])[] = [
  ["2001::", 23],
  ["2001:db8::", 32],
  ["2002::", 16],
  ["3fff::", 20],
];

const special = new BlockList();
for (const [network, bits] of SPECIAL) special.addSubnet(network, bits, "ipv4");
for (const [network, bits] of SPECIAL_V6) special.addSubnet(network, bits, "ipv6");
const global = new BlockList();
global.addSubnet(...GLOBAL_V6, "ipv6");

/** Whether an address belongs to one host of the public internet. */
export function isPublic(address: string): boolean {
  if (isIPv4(address)) return !special.check(address, "ipv4");
  return isIPv6(address) && global.check(address, "ipv6") && !special.check(address, "ipv6");
}

/** Why a destination is refused. */
export class Refusal extends Error {
  constructor(
    message: string,
    readonly kind: "blocked" | "unresolved",
  ) {
    super(message);
  }
}

type Rule =
  | { kind: "public"; port: number | undefined }
  | { kind: "block"; block: BlockList; port: number | undefined }
  /** `isWhole`: the name itself; else all names below it. */
  | { kind: "name"; name: string; isWhole: boolean; port: number | undefined };

/** Answers that are remembered at most, and for how long after their time has run out. */
const MOST_ANSWERS = 4096;
const ANSWER_GRACE_MS = 3_600_000;

/** The IPv4 addresses of a name. */
export type Resolve = (name: string) => Promise<string[]>;

async function systemResolve(name: string): Promise<string[]> {
  const found = await lookup(name, { family: 4, all: true });
  return found.map(({ address }) => address);
}

/** Rules for destinations. Names stand for their IPv4 addresses; IPv6 is reached by address. */
export class RelayPolicy {
  readonly #rules: Rule[];
  /** Until when addresses are permitted that were given as answers for permitted names, and for which of the rules. */
  readonly #answers = new Map<string, { until: number; rules: Set<Rule> }>();

  /**
   * @param rules `public`, `ADDRESS[/BITS]`, `NAME` or `*.NAME`, each with `:PORT` or for all ports; an IPv6 address stands
   *   in brackets
   * @throws DinghyError if one is none of these
   */
  constructor(
    rules: readonly string[],
    private readonly resolve: Resolve = systemResolve,
    private readonly now: () => number = Date.now,
  ) {
    this.#rules = rules.map(parseRule);
  }

  /** Whether nothing at all is permitted. */
  get isEmpty(): boolean {
    return this.#rules.length === 0;
  }

  /**
   * Finds the address to connect to. It is looked up here, once, and whoever connects uses the result, so that no second
   * look-up can lead elsewhere.
   *
   * @throws Refusal that says why there is none
   */
  async address(host: string, port: number): Promise<string> {
    const name = host.toLowerCase().replace(/\.$/, "");
    if (isIP(name) !== 0) {
      // With a zone, it would be an address of this computer's own network.
      if (name.includes("%")) throw new Refusal(`${host} names an interface`, "blocked");
      if (this.#permitsAddress(name, port)) return name;
      throw new Refusal(`the policy does not allow ${host}:${port}`, "blocked");
    }
    if (!isName(name)) throw new Refusal("the destination is no name", "blocked");
    const isNamed = this.#rules.some((rule) => matchesName(rule, name, port));
    // Names that no rule could allow are not even asked for.
    if (!isNamed && !this.#hasAddressRules(port))
      throw new Refusal(`the policy does not allow ${host}:${port}`, "blocked");
    const addresses = await this.resolve(name).catch(() => []);
    if (addresses.length === 0) throw new Refusal(`${host} has no IPv4 address`, "unresolved");
    const permitted = addresses.find((address) =>
      isNamed && isPublic(address) ? true : this.#permitsAddress(address, port),
    );
    if (permitted !== undefined) return permitted;
    throw new Refusal(`the policy does not allow ${host}:${port}, which is ${addresses.join(", ")}`, "blocked");
  }

  /** Whether a name server may be asked for a name. */
  permitsQuestion(name: string): boolean {
    const plain = name.toLowerCase().replace(/\.$/, "");
    return this.#rules.some((rule) => rule.kind !== "name" || matchesName(rule, plain, undefined));
  }

  /** Permits an address that a name server has given for a name, where a rule names that. */
  rememberAnswer(name: string, address: string, seconds: number): void {
    const plain = name.toLowerCase().replace(/\.$/, "");
    const rules = this.#rules.filter((rule) => matchesName(rule, plain, undefined));
    if (rules.length === 0 || !isPublic(address)) return;
    const known = this.#answers.get(address);
    const until = this.now() + seconds * 1000 + ANSWER_GRACE_MS;
    this.#answers.delete(address);
    const [oldest] = this.#answers.size >= MOST_ANSWERS ? this.#answers.keys() : [];
    if (oldest !== undefined) this.#answers.delete(oldest);
    this.#answers.set(address, { until, rules: new Set([...(known?.rules ?? []), ...rules]) });
  }

  #hasAddressRules(port: number): boolean {
    return this.#rules.some((rule) => rule.kind !== "name" && isPort(rule, port));
  }

  #permitsAddress(address: string, port: number): boolean {
    const isAnswer = (rule: Rule): boolean => {
      const answer = this.#answers.get(address);
      return answer !== undefined && answer.until >= this.now() && answer.rules.has(rule);
    };
    return this.#rules.some((rule) => {
      if (!isPort(rule, port)) return false;
      switch (rule.kind) {
        case "public":
          return isPublic(address);
        case "block":
          return rule.block.check(address, isIPv4(address) ? "ipv4" : "ipv6");
        case "name":
          return isAnswer(rule);
      }
    });
  }
}

function isPort(rule: Rule, port: number): boolean {
  return rule.port === undefined || rule.port === port;
}

function isName(text: string): boolean {
  return text.length <= 253 && /^[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*$/.test(text);
}

function matchesName(rule: Rule, name: string, port: number | undefined): boolean {
  if (rule.kind !== "name" || (port !== undefined && !isPort(rule, port))) return false;
  return rule.isWhole ? name === rule.name : name.endsWith(`.${rule.name}`);
}

function parseRule(text: string): Rule {
  const [, destination = "", portText] = /^((?:\[[^\]]*\])?[^:]*)(?::(\d+))?$/.exec(text) ?? [];
  const port = portText === undefined ? undefined : Number(portText);
  const wrong = (): DinghyError =>
    new DinghyError(
      `"${text}" names no destinations; use public, ADDRESS[/BITS], NAME or *.NAME, each with or without :PORT.`,
    );
  if (port !== undefined && (port < 1 || port > 0xffff)) throw wrong();
  if (destination === "public") return { kind: "public", port };
  const [address = "", bits = destination.startsWith("[") ? "128" : "32", ...others] = destination.split("/");
  const inBrackets = /^\[([^%]*)\]$/.exec(address)?.[1];
  if (isIPv4(address) || (inBrackets !== undefined && isIPv6(inBrackets))) {
    const most = inBrackets === undefined ? 32 : 128;
    if (!/^\d{1,3}$/.test(bits) || Number(bits) > most || others.length > 0) throw wrong();
    const block = new BlockList();
    block.addSubnet(inBrackets ?? address, Number(bits), inBrackets === undefined ? "ipv4" : "ipv6");
    return { kind: "block", block, port };
  }
  const isWhole = !destination.startsWith("*.");
  const name = (isWhole ? destination : destination.slice(2)).toLowerCase();
  if (!isName(name) || /^[\d.]+$/.test(name)) throw wrong();
  return { kind: "name", name, isWhole, port };
}
