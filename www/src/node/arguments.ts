/** The arguments of the `dinghy` command. */

import { isIPv4 } from "node:net";
import { parseArgs } from "node:util";

import {
  checkMemory,
  type ClockSource,
  type CpuChoice,
  CPUS,
  DEFAULT_MEMORY_MIB,
  DinghyError,
  type EngineChoice,
  ENGINES,
  MEMORY_LIMITS_MIB,
  type PublishedPort,
} from "../options.js";
import { httpsPorts } from "../network/trust.js";
import { checkRegistry } from "../registry/upstream.js";
import { reason } from "../worker/download.js";
import type { DiskFile, NodeNetwork, NodeRegistry, SharedFolder } from "./protocol.js";

/** What `dinghy run` is to do. */
export interface RunArguments {
  /** `undefined`: the kernel that comes with dinghy. */
  kernel: string | undefined;
  initrd: string | undefined;
  /** The whole command line; `undefined`: the default for the other options. */
  append: string | undefined;
  disks: DiskFile[];
  shares: SharedFolder[];
  /** The files' contents are not read yet: their paths in the guest, with those on this computer. */
  startUp: { environment: Record<string, string>; files: Record<string, string>; command: string | undefined };
  memoryMiB: number;
  clock: ClockSource;
  engine: EngineChoice;
  /** `undefined`: the default, or the snapshot's. */
  cpu: CpuChoice | undefined;
  network: NodeNetwork;
  /** Where the writes to the first disk are kept. */
  overlay: string | undefined;
  /** The mark at which the run ends. */
  until: string | undefined;
  recordPrefetch: string | undefined;
  profile: string | undefined;
  /** A snapshot to go on from. */
  restore: string | undefined;
  /** Where to save the machine at the end, if the guest still runs. */
  save: string | undefined;
  timeoutSeconds: number | undefined;
  stats: boolean;
}

/** What `dinghy serve` is to do. */
export interface ServeArguments {
  folder: string;
  host: string;
  port: number;
  allow: string[];
  origins: string[];
  nameServer: string | undefined;
}

/** A command with its arguments. */
export type Command = ({ command: "run" } & RunArguments) | ({ command: "serve" } & ServeArguments);

/** The help text. */
export const USAGE = `Usage: dinghy run [options]
       dinghy serve DIR [options]

dinghy run

Boots Linux on an emulated x86_64 machine, with the guest's console on this terminal.

Options:
  --kernel FILE        vmlinux or bzImage (default: the kernel that comes with dinghy)
  --initrd FILE        initial RAM file system
  --append TEXT        the kernel's command line, in place of the default
  --disk FILE[:ro]     disk image, vda first; writes go to the file, unless :ro
                       (default, without --initrd: the Docker guest, its writes kept in memory)
  --overlay FILE       keep what the guest writes to its first disk in FILE, and leave the image as it is
  --share DIR:TAG[:ro] a directory for the guest to mount (mount -t 9p -o trans=virtio,version=9p2000.L TAG /mnt),
                       written to unless :ro follows; may be given again
  --env NAME=VALUE     a variable for the guest's shell and --command; may be given again
  --file FILE:PATH     a file for the guest, at this absolute path there; may be given again
  --command TEXT       what the guest's bash is to run once Docker is ready; the run ends with it, and with its exit
                       status
  --memory MIB         guest memory, ${MEMORY_LIMITS_MIB.least} to ${MEMORY_LIMITS_MIB.most} (default ${DEFAULT_MEMORY_MIB})
  --engine NAME        what executes guest code: interp, the interpreter; auto, compiled code for what is
                       hot (default); jit, compiled code at first sight, for small programs
  --cpu NAME           the processor: v1 (SSE2), v2 (SSE4.2, default), v3 (AVX2, FMA, BMI2), or max, all there is
  --net none|host|fetch|URL
                       the guest's network: none, connections from this computer, HTTP requests of this computer,
                       or over the relay at this address (ws: or wss:), such as that of dinghy serve (default none)
  --https PORT         with --net fetch: HTTPS at this port too, which is ended here with certificates of an
                       authority that is made for this machine, and that its guest trusts; may be given again
  --publish HOST:GUEST let 127.0.0.1:HOST reach the guest's TCP port GUEST; may be given again
  --net-allow ADDRESS[/BITS][:PORT]
                       let the guest reach these addresses, which are not public; 127.0.0.1 is
                       host.dinghy.internal there; may be given again
  --registry-cache DIR keep what the guest's Docker pulls in DIR, and serve it from there, as registry.dinghy.internal,
                       to which it can push as well
  --registry [PREFIX=]URL
                       what that registry asks for images that it does not have: a registry, or with oci+ before
                       the URL an OCI layout on a web server; PREFIX is the first part of the images' names;
                       may be given again (default, with a network: https://registry-1.docker.io)
  --registry-most MIB  forget images that were used least recently when the cache takes more than this
  --clock real|icount  guest time from the host's clock, or from the count of instructions,
                       which makes runs repeatable (default real)
  --restore FILE       go on with the machine in this snapshot; kernel, memory and command line are its own
  --save FILE          save the machine in this file when the run ends and the guest still runs: at Ctrl-A X,
                       at the mark of --until, or when the time is over
  --timeout SECONDS    give up after this time, with exit code 124
  --until MARK         end when the guest's serial port carries the line dinghy:MARK, for example docker-ready
  --record-prefetch FILE
                       list in FILE the 256 KiB chunks of the first disk that the guest reads, as it reads them
  --profile FILE       tell in FILE where the time went, by functions of compiled code with the kernel's symbols
                       (from a System.map beside it) and of the emulator; written when the run ends
  --stats              print one line of JSON on stderr at the end
  --help               print this text

Where port 2375 of the guest is published and --append is not given, the guest's Docker is told to
serve its API there.

On a terminal, Ctrl-A X ends the machine, Ctrl-A Ctrl-A types Ctrl-A.

Exit code: 0 power-off, 3 guest panic or triple fault, 2 bad arguments or files, 124 timeout.

dinghy serve DIR

Serves a folder of files, such as the built page, isolated so that its memory can be shared; beside it
a relay for the guest's connections (Wisp, at /relay/) and DNS over HTTPS (at /relay/dns-query).
Previews of the guest's web servers get origins of their own, http://pPORT.dinghy.localhost.

Options:
  --port NUMBER        the port to listen on (default 8080; 0 takes one that is free)
  --host ADDRESS       the address to listen on (default 127.0.0.1)
  --allow DESTINATION  let the relay connect there: public for all public addresses, ADDRESS[/BITS],
                       NAME or *.NAME, each with or without :PORT; may be given again (default: nowhere)
  --origin ORIGIN      let pages of this origin use the relay, besides this server's own on a loopback
                       address; may be given again
  --name-server ADDRESS[:PORT]
                       whom to ask for names (default: as this computer is configured)
`;

/**
 * Parses what follows `dinghy`.
 *
 * @returns `"help"` when the help text is asked for
 * @throws DinghyError that says which argument is wrong and what would be right
 */
export function parseCommand(words: readonly string[]): Command | "help" {
  const [command, ...rest] = words;
  if (command === undefined || command === "--help" || command === "help") return "help";
  if (command === "serve") return parseServe(rest);
  if (command !== "run") {
    throw new DinghyError(
      `There is no command "${command}"; use \`dinghy run\` or \`dinghy serve\` (see \`dinghy --help\`).`,
    );
  }
  const values = optionValues(rest);
  if (values.help) return "help";
  if (values.restore !== undefined && (values.kernel ?? values.initrd ?? values.append) !== undefined) {
    throw new DinghyError("--restore takes kernel, initrd and command line from the snapshot; leave out the others.");
  }
  if (values.restore !== undefined && values.cpu !== undefined) {
    throw new DinghyError("--restore takes the processor from the snapshot; leave out --cpu.");
  }
  return {
    command,
    kernel: values.kernel,
    initrd: values.initrd,
    append: values.append,
    disks: (values.disk ?? []).map(diskFile),
    shares: shares(values.share ?? []),
    startUp: {
      environment: Object.fromEntries((values.env ?? []).map(variable)),
      files: Object.fromEntries((values.file ?? []).map(guestFile)),
      command: values.command,
    },
    memoryMiB: memory(values.memory),
    network: network(values),
    clock: choice("--clock", values.clock ?? "real", ["real", "icount"]),
    engine: choice("--engine", values.engine ?? "auto", ENGINES),
    cpu: values.cpu === undefined ? undefined : choice("--cpu", values.cpu, CPUS),
    overlay: values.overlay,
    until: values.until,
    recordPrefetch: values["record-prefetch"],
    profile: values.profile,
    restore: values.restore,
    save: values.save,
    timeoutSeconds: values.timeout === undefined ? undefined : seconds(values.timeout),
    stats: values.stats ?? false,
  };
}

function parseServe(words: string[]): Command | "help" {
  const { values, positionals } = parsed(() =>
    parseArgs({
      args: words,
      options: {
        port: { type: "string" },
        host: { type: "string" },
        allow: { type: "string", multiple: true },
        origin: { type: "string", multiple: true },
        "name-server": { type: "string" },
        help: { type: "boolean" },
      },
      strict: true,
      allowPositionals: true,
    }),
  );
  if (values.help) return "help";
  const [folder, ...others] = positionals;
  if (folder === undefined || others.length > 0) {
    throw new DinghyError("dinghy serve takes one folder; use for example dinghy serve www/dist.");
  }
  const port = /^\d+$/.test(values.port ?? "8080") ? Number(values.port ?? "8080") : NaN;
  if (!(port <= 0xffff)) throw new DinghyError(`--port takes a number to 65535, not "${values.port}".`);
  return {
    command: "serve",
    folder,
    host: values.host ?? "127.0.0.1",
    port,
    allow: values.allow ?? [],
    origins: values.origin ?? [],
    nameServer: values["name-server"] === undefined ? undefined : nameServer(values["name-server"]),
  };
}

function nameServer(text: string): string {
  const [address = "", port = "53", ...others] = text.split(":");
  if (!isIPv4(address) || !/^\d+$/.test(port) || others.length > 0) {
    throw new DinghyError(`--name-server takes ADDRESS[:PORT], not "${text}"; use for example --name-server 9.9.9.9.`);
  }
  return `${address}:${port}`;
}

/** What a parser of arguments gives; what it finds wrong is said in one sentence. */
function parsed<Values>(parse: () => Values): Values {
  try {
    return parse();
  } catch (error) {
    const [sentence = ""] = reason(error).split(/\.\s|\n/);
    throw new DinghyError(`${sentence.replace(/\.$/, "")}; see \`dinghy --help\`.`);
  }
}

function optionValues(words: string[]) {
  return parsed(() =>
    parseArgs({
      args: words,
      options: {
        kernel: { type: "string" },
        initrd: { type: "string" },
        append: { type: "string" },
        disk: { type: "string", multiple: true },
        share: { type: "string", multiple: true },
        env: { type: "string", multiple: true },
        file: { type: "string", multiple: true },
        command: { type: "string" },
        memory: { type: "string" },
        engine: { type: "string" },
        cpu: { type: "string" },
        net: { type: "string" },
        publish: { type: "string", multiple: true },
        "net-allow": { type: "string", multiple: true },
        https: { type: "string", multiple: true },
        "registry-cache": { type: "string" },
        registry: { type: "string", multiple: true },
        "registry-most": { type: "string" },
        clock: { type: "string" },
        overlay: { type: "string" },
        until: { type: "string" },
        "record-prefetch": { type: "string" },
        profile: { type: "string" },
        restore: { type: "string" },
        save: { type: "string" },
        timeout: { type: "string" },
        stats: { type: "boolean" },
        help: { type: "boolean" },
      },
      strict: true,
      allowPositionals: false,
    }),
  ).values;
}

function diskFile(text: string): DiskFile {
  const isReadOnly = text.endsWith(":ro");
  const path = isReadOnly ? text.slice(0, -":ro".length) : text;
  if (path === "") throw new DinghyError("--disk needs the name of a disk image; use --disk FILE or --disk FILE:ro.");
  return { path, writes: isReadOnly ? "refused" : "through" };
}

function shares(texts: string[]): SharedFolder[] {
  const tags = new Set<string>();
  return texts.map((text) => {
    const isReadOnly = /:[^:]+:ro$/.test(text);
    const named = isReadOnly ? text.slice(0, -":ro".length) : text;
    const end = named.lastIndexOf(":");
    const [folder, tag] = [named.slice(0, Math.max(end, 0)), named.slice(end + 1)];
    if (folder === "" || !/^[\w.-]{1,31}$/.test(tag)) {
      throw new DinghyError(
        `--share takes DIR:TAG or DIR:TAG:ro, not "${text}"; use for example --share /home/me/work:work.`,
      );
    }
    if (tags.has(tag)) throw new DinghyError(`Two shares have the tag ${tag}; the guest could mount only one of them.`);
    tags.add(tag);
    return { folder, tag, ...(isReadOnly ? { readOnly: true } : {}) };
  });
}

function variable(text: string): [string, string] {
  const [, name, value] = /^([A-Za-z_]\w*)=(.*)$/s.exec(text) ?? [];
  if (name === undefined || value === undefined) {
    throw new DinghyError(`--env takes NAME=VALUE, not "${text}"; use for example --env MODE=demo.`);
  }
  return [name, value];
}

/** A path in the guest, and the file on this computer. */
function guestFile(text: string): [string, string] {
  const [, file, path] = /^(.+):(\/[^:]+)$/s.exec(text) ?? [];
  if (file === undefined || path === undefined) {
    throw new DinghyError(`--file takes FILE:PATH, not "${text}"; use for example --file ./note:/root/note.`);
  }
  return [path, file];
}

function network(values: ReturnType<typeof optionValues>): NodeNetwork {
  const relay = /^wss?:/.test(values.net ?? "") ? values.net : undefined;
  const to =
    relay === undefined ? choice("--net", values.net ?? "none", ["none", "host", "fetch", "ws://HOST/"]) : "relay";
  const publish = (values.publish ?? []).map(publishedPort);
  const allow = values["net-allow"] ?? [];
  if (to !== "none" && values.clock === "icount") {
    throw new DinghyError(
      `--net ${values.net} needs --clock real: the network does not keep to a time that is counted.`,
    );
  }
  const https = (values.https ?? []).map(httpsPort);
  if (to === "fetch") return { to, https, allow, publish, ...registry(values) };
  if (https.length > 0) throw new DinghyError("--https needs --net fetch: the other networks carry HTTPS as it is.");
  if (relay !== undefined) return { to: "relay", relay, allow, publish, ...registry(values) };
  if (to === "host") return { to, allow, publish, ...registry(values) };
  if ((values["registry-cache"] ?? values.registry) !== undefined) {
    throw new DinghyError("--registry-cache and --registry need --net host, fetch or a relay.");
  }
  if (publish.length > 0 || allow.length > 0)
    throw new DinghyError("--publish and --net-allow need --net host, fetch or a relay.");
  return { to: "none" };
}

function registry(values: ReturnType<typeof optionValues>): { registry?: NodeRegistry } {
  const { "registry-cache": cache, registry: registries, "registry-most": most } = values;
  if (cache === undefined) {
    if ((registries ?? most) !== undefined)
      throw new DinghyError("--registry and --registry-most need a cache; name its folder with --registry-cache DIR.");
    return {};
  }
  registries?.forEach(checkRegistry);
  if (most !== undefined && !/^[1-9]\d*$/.test(most)) {
    throw new DinghyError(`--registry-most takes a whole number of MiB, not "${most}"; use for example 4096.`);
  }
  const mostBytes = most === undefined ? {} : { mostBytes: Number(most) * 1024 * 1024 };
  return { registry: { cache, ...(registries ? { registries } : {}), ...mostBytes } };
}

function httpsPort(text: string): number {
  if (!/^\d+$/.test(text)) throw new DinghyError(`--https takes a port, not "${text}"; use for example --https 443.`);
  const [port = 0] = httpsPorts({ to: "fetch", https: [Number(text)] });
  return port;
}

function publishedPort(text: string): PublishedPort {
  const [hostPort, guestPort] = /^\d+:\d+$/.test(text) ? text.split(":").map(Number) : [];
  if (hostPort === undefined || guestPort === undefined || hostPort > 0xffff || guestPort > 0xffff || guestPort === 0) {
    throw new DinghyError(`--publish takes two ports, not "${text}"; use for example --publish 2375:2375.`);
  }
  return { hostPort, guestPort };
}

function memory(text: string | undefined): number {
  if (text === undefined) return DEFAULT_MEMORY_MIB;
  const memoryMiB = /^\d+$/.test(text) ? Number(text) : NaN;
  if (Number.isNaN(memoryMiB)) {
    throw new DinghyError(`--memory takes a whole number of MiB, not "${text}"; use for example --memory 1024.`);
  }
  checkMemory(memoryMiB);
  return memoryMiB;
}

function seconds(text: string): number {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : NaN;
  if (!(value > 0)) {
    throw new DinghyError(`--timeout takes a positive number of seconds, not "${text}"; use for example --timeout 60.`);
  }
  return value;
}

function choice<Choice extends string>(option: string, text: string, choices: readonly Choice[]): Choice {
  const found = choices.find((candidate) => candidate === text);
  if (found === undefined) {
    throw new DinghyError(`${option} cannot be "${text}"; use ${choices.join(" or ")}.`);
  }
  return found;
}
