/** The `dinghy` command. `dinghy run`: a machine on this terminal. */

import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { DinghyError, type Exit, type SharedFile, type Status } from "../options.js";
import { parseCommand, type RunArguments, USAGE } from "./arguments.js";
import { reason } from "../worker/download.js";
import { type DiskFile, Machine, type NodeBootOptions, type NodeNetwork, type NodeRestoreOptions } from "./index.js";
import { serveFolder } from "./serve/command.js";
import { Totals } from "./statistics.js";
import { attachTerminal } from "./terminal.js";

/** The command's exit codes. */
export const EXIT_CODES = {
  poweredOff: 0,
  emulatorFailed: 1,
  badInput: 2,
  guestFailed: 3,
  timeout: 124,
} as const;

/**
 * The command line where none is named. `earlyprintk` shows what happens before hvc0 is there;
 * `panic=-1` makes a panic end the run at once.
 */
const COMMAND_LINE = "earlyprintk=ttyS0 console=hvc0 quiet panic=-1";

/** Added where the root file system is not an initial RAM file system. */
const ROOT_ON_DISK = " root=/dev/vda rw";

/** Runs the command. Returns its exit code; what is wrong is said on stderr in one sentence. */
export async function main(words: readonly string[]): Promise<number> {
  try {
    const parsed = parseCommand(words);
    if (parsed === "help") {
      process.stdout.write(USAGE);
      return EXIT_CODES.poweredOff;
    }
    return parsed.command === "serve" ? await serveFolder(parsed) : await run(parsed);
  } catch (error) {
    if (!(error instanceof DinghyError)) throw error;
    process.stderr.write(`dinghy: ${error.message}\n`);
    return EXIT_CODES.badInput;
  }
}

async function run(parsed: RunArguments): Promise<number> {
  // A machine from a snapshot needs a kernel only when its guest restarts.
  const options = (): NodeBootOptions => bootOptions(parsed);
  const startedAt = performance.now();
  const total = new Totals();
  const deadline = parsed.timeoutSeconds === undefined ? undefined : startedAt + parsed.timeoutSeconds * 1000;
  const first = (): Promise<Machine> =>
    parsed.restore === undefined ? Machine.boot(options()) : Machine.restore(restoreOptions(parsed, parsed.restore));
  let exitCode = await runOnce(first, parsed, deadline, total);
  // A reset boots the same machine anew, with nothing left of the old one.
  while (exitCode === "restarted") {
    exitCode = await runOnce(() => Machine.boot(options()), parsed, deadline, total);
  }
  if (parsed.stats) {
    const { user, system } = process.cpuUsage();
    const seconds = { wall: (performance.now() - startedAt) / 1000, cpu: (user + system) / 1e6 };
    process.stderr.write(`${total.line(seconds)}\n`);
  }
  return exitCode;
}

/** Boots once. Returns the exit code, or that the guest wants to be booted again. */
async function runOnce(
  start: () => Promise<Machine>,
  parsed: RunArguments,
  deadline: number | undefined,
  total: Totals,
): Promise<number | "restarted"> {
  const machine = await start();
  const { network } = parsed;
  machine.published.forEach(({ hostPort, guestPort }, place) => {
    // Where no port was chosen, nobody knows which one it is.
    const chosen = network.to !== "none" && network.publish?.[place]?.hostPort !== 0;
    if (!chosen) process.stderr.write(`dinghy: 127.0.0.1:${hostPort} leads to the guest's port ${guestPort}\n`);
  });
  // Saves the machine first, where that is wanted; a machine that cannot be saved ends as well.
  const end = async (): Promise<void> => {
    if (parsed.save !== undefined) {
      const snapshot = await machine.save();
      writeFileSync(parsed.save, Buffer.from(await snapshot.arrayBuffer()));
    }
  };
  const quit = (): void => {
    end()
      .catch((error: unknown) => {
        hasFailed = true;
        process.stderr.write(`dinghy: The machine was not saved: ${reason(error)}\n`);
      })
      .finally(() => machine.stop());
  };
  const terminal = attachTerminal(machine, inputDevice(parsed.append ?? COMMAND_LINE), quit);
  let last: Status | undefined;
  let hasTimedOut = false as boolean;
  let hasFailed = false as boolean;
  machine.on("status", (status) => (last = status));
  machine.on("error", (error) => {
    hasFailed = true;
    process.stderr.write(`dinghy: ${error.message}\n`);
  });
  machine.on("registry", (event) => {
    if (event.kind === "failed") process.stderr.write(`dinghy: ${event.message}\n`);
  });
  machine.on("phase", (phase) => {
    if (phase.name === "mark" && phase.mark === parsed.until) quit();
  });
  let commandStatus = undefined as number | undefined;
  machine.on("command", ({ status }) => {
    commandStatus = status;
    quit();
  });
  const timer =
    deadline === undefined
      ? undefined
      : setTimeout(() => {
          hasTimedOut = true;
          quit();
        }, deadline - performance.now());
  const exit = await new Promise<Exit>((resolve) => {
    if (machine.exit) resolve(machine.exit);
    else machine.on("exit", resolve);
  });
  clearTimeout(timer);
  terminal.detach();
  // A guest that is booted again listens on the same ports.
  await machine.gone;
  if (last) total.add(last.statistics);
  switch (exit.reason) {
    case "powered-off":
      return EXIT_CODES.poweredOff;
    case "exited":
      // Like an exit status, the port's value has eight bits that count.
      return (exit.code ?? 0) & 0xff;
    case "restarted":
      return "restarted";
    case "panicked":
    case "triple-fault":
      explain(exit);
      return EXIT_CODES.guestFailed;
    case "stopped":
      if (commandStatus !== undefined && !hasFailed) return commandStatus;
      if (hasTimedOut && !hasFailed) return EXIT_CODES.timeout;
      return hasFailed ? EXIT_CODES.emulatorFailed : EXIT_CODES.poweredOff;
  }
}

/** Says why the guest is gone. Its last lines are repeated, for they may be far up or in a pipe. */
function explain({ reason, lastLines }: Exit): void {
  const what = reason === "panicked" ? "The guest's kernel panicked" : "The guest's CPU shut down on a triple fault";
  process.stderr.write(`dinghy: ${what}; its last lines:\n`);
  process.stderr.write(lastLines.map((line) => `  ${line}\n`).join(""));
}

/** The disks that were named, or the guest's. */
function disksOf(parsed: RunArguments): DiskFile[] {
  const usesGuest = parsed.disks.length === 0 && parsed.initrd === undefined;
  const disks: DiskFile[] = usesGuest
    ? [{ path: defaultFile("guest image", "guest/guest.ext4", "--disk or --initrd"), writes: "overlay" }]
    : [...parsed.disks];
  const [first] = disks;
  if (first) {
    disks[0] = {
      ...first,
      ...(parsed.recordPrefetch === undefined ? {} : { recordReads: parsed.recordPrefetch }),
      ...(parsed.overlay === undefined ? {} : { writes: "overlay", overlay: parsed.overlay }),
      ...guestIdentity(usesGuest),
    };
  } else if (parsed.overlay !== undefined || parsed.recordPrefetch !== undefined) {
    throw new DinghyError("--overlay and --record-prefetch need a disk; name one with --disk FILE.");
  }
  return disks;
}

/** What the guest is given for its start, if anything. */
function startUpOf({ startUp: { environment, files, command } }: RunArguments): Pick<NodeBootOptions, "startUp"> {
  const paths = Object.entries(files);
  if (command === undefined && paths.length === 0 && Object.keys(environment).length === 0) return {};
  const read = ([path, file]: [string, string]): [string, SharedFile] => {
    try {
      return [path, { contents: readFileSync(file), permissions: statSync(file).mode & 0o777 }];
    } catch (error) {
      throw new DinghyError(`The file ${file} cannot be read (${reason(error)}); name one that you may read.`);
    }
  };
  return {
    startUp: {
      environment,
      files: Object.fromEntries(paths.map(read)),
      ...(command === undefined ? {} : { command }),
    },
  };
}

/** What both ways of starting state. */
function common(
  parsed: RunArguments,
): Pick<NodeBootOptions, "disks" | "shares" | "startUp" | "clock" | "engine" | "network" | "profile" | "size"> {
  const { columns, rows } = process.stdout;
  return {
    disks: disksOf(parsed),
    shares: parsed.shares,
    ...startUpOf(parsed),
    clock: parsed.clock,
    engine: parsed.engine,
    network: parsed.network,
    ...(parsed.profile === undefined ? {} : { profile: parsed.profile }),
    ...(process.stdout.isTTY ? { size: { columns, rows } } : {}),
  };
}

function restoreOptions(parsed: RunArguments, snapshot: string): NodeRestoreOptions {
  return { ...common(parsed), snapshot };
}

/** Completes the arguments with the kernel and the guest that come with dinghy. */
export function bootOptions(parsed: RunArguments): NodeBootOptions {
  const root = parsed.initrd === undefined ? ROOT_ON_DISK : "";
  return {
    ...common(parsed),
    kernel: parsed.kernel ?? defaultFile("kernel", "kernel/vmlinux", "--kernel"),
    ...(parsed.initrd === undefined ? {} : { initrd: parsed.initrd }),
    commandLine: parsed.append ?? COMMAND_LINE + root + dockerPort(parsed.network),
    memoryMiB: parsed.memoryMiB,
    ...(parsed.cpu === undefined ? {} : { cpu: parsed.cpu }),
  };
}

/** Docker's port by convention, for an API without encryption. */
const DOCKER_PORT = 2375;

/** What tells the guest to serve Docker's API where its port is published. */
function dockerPort(network: NodeNetwork): string {
  const ports = network.to === "none" ? [] : (network.publish ?? []);
  return ports.some(({ guestPort }) => guestPort === DOCKER_PORT) ? ` dinghy.docker-port=${DOCKER_PORT}` : "";
}

/** The digest of the guest that comes with dinghy: overlays and snapshots from the page fit here too. */
function guestIdentity(usesGuest: boolean): { identity?: string } {
  const manifest = fileURLToPath(new URL("../../../build/guest/chunks/manifest.json", import.meta.url));
  if (!usesGuest || !existsSync(manifest)) return {};
  const { image } = JSON.parse(readFileSync(manifest, "utf8")) as { image: string };
  return { identity: image };
}

/** A file of the project's own build. */
function defaultFile(what: string, path: string, option: string): string {
  const file = fileURLToPath(new URL(`../../../build/${path}`, import.meta.url));
  if (!existsSync(file)) {
    throw new DinghyError(
      `There is no default ${what} at ${file}; build it with \`make build\`, or name one with ${option}.`,
    );
  }
  return file;
}

/** The device that input goes to, which is behind the guest's /dev/console: the one that the command line names last. */
export function inputDevice(commandLine: string): "console" | "serial" {
  const last = [...commandLine.matchAll(/(?:^|\s)console=(\S+)/g)].at(-1)?.[1];
  return last?.startsWith("ttyS") ? "serial" : "console";
}
