/** The arguments of the `dinghy` command. */

import { parseArgs } from "node:util";

import {
  checkMemory,
  type ClockSource,
  DEFAULT_MEMORY_MIB,
  DinghyError,
  type EngineChoice,
  ENGINES,
  MEMORY_LIMITS_MIB,
} from "../options.js";
import { reason } from "../worker/download.js";
import type { DiskFile } from "./protocol.js";

/** What `dinghy run` is to do. */
export interface RunArguments {
  /** `undefined`: the kernel that comes with dinghy. */
  kernel: string | undefined;
  initrd: string | undefined;
  /** The whole command line; `undefined`: the default for the other options. */
  append: string | undefined;
  disks: DiskFile[];
  memoryMiB: number;
  clock: ClockSource;
  engine: EngineChoice;
  /** A snapshot to go on from. */
  restore: string | undefined;
  /** Where to save the machine at the end, if the guest still runs. */
  save: string | undefined;
  timeoutSeconds: number | undefined;
  stats: boolean;
}

/** The help text. */
export const USAGE = `Usage: dinghy run [options]

Boots Linux on an emulated x86_64 machine, with the guest's console on this terminal.

Options:
  --kernel FILE        vmlinux or bzImage (default: the kernel that comes with dinghy)
  --initrd FILE        initial RAM file system
  --append TEXT        the kernel's command line, in place of the default
  --disk FILE[:ro]     disk image, vda first; writes go to the file, unless :ro
                       (default, without --initrd: the Docker guest, its writes kept in memory)
  --memory MIB         guest memory, ${MEMORY_LIMITS_MIB.least} to ${MEMORY_LIMITS_MIB.most} (default ${DEFAULT_MEMORY_MIB})
  --engine NAME        what executes guest code: interp, the interpreter; auto, compiled code for what is
                       hot (default); jit, compiled code at first sight, for small programs
  --clock real|icount  guest time from the host's clock, or from the count of instructions,
                       which makes runs repeatable (default real)
  --restore FILE       go on with the machine in this snapshot; kernel, memory and command line are its own
  --save FILE          save the machine in this file when the run ends and the guest still runs: at Ctrl-A X,
                       or when the time is over
  --timeout SECONDS    give up after this time, with exit code 124
  --stats              print one line of JSON on stderr at the end
  --help               print this text

On a terminal, Ctrl-A X ends the machine, Ctrl-A Ctrl-A types Ctrl-A.

Exit code: 0 power-off, 3 guest panic or triple fault, 2 bad arguments or files, 124 timeout.
`;

/**
 * Parses what follows `dinghy`.
 *
 * @returns `"help"` when the help text is asked for
 * @throws DinghyError that says which argument is wrong and what would be right
 */
export function parseCommand(words: readonly string[]): RunArguments | "help" {
  const [command, ...rest] = words;
  if (command === undefined || command === "--help" || command === "help") return "help";
  if (command !== "run") {
    throw new DinghyError(`There is no command "${command}"; use \`dinghy run\` (see \`dinghy --help\`).`);
  }
  const values = optionValues(rest);
  if (values.help) return "help";
  if (values.restore !== undefined && (values.kernel ?? values.initrd ?? values.append) !== undefined) {
    throw new DinghyError("--restore takes kernel, initrd and command line from the snapshot; leave out the others.");
  }
  return {
    kernel: values.kernel,
    initrd: values.initrd,
    append: values.append,
    disks: (values.disk ?? []).map(diskFile),
    memoryMiB: memory(values.memory),
    clock: choice("--clock", values.clock ?? "real", ["real", "icount"]),
    engine: choice("--engine", values.engine ?? "auto", ENGINES),
    restore: values.restore,
    save: values.save,
    timeoutSeconds: values.timeout === undefined ? undefined : seconds(values.timeout),
    stats: values.stats ?? false,
  };
}

function optionValues(words: string[]) {
  try {
    return parseArgs({
      args: words,
      options: {
        kernel: { type: "string" },
        initrd: { type: "string" },
        append: { type: "string" },
        disk: { type: "string", multiple: true },
        memory: { type: "string" },
        engine: { type: "string" },
        clock: { type: "string" },
        restore: { type: "string" },
        save: { type: "string" },
        timeout: { type: "string" },
        stats: { type: "boolean" },
        help: { type: "boolean" },
      },
      strict: true,
      allowPositionals: false,
    }).values;
  } catch (error) {
    const [sentence = ""] = reason(error).split(/\.\s|\n/);
    throw new DinghyError(`${sentence.replace(/\.$/, "")}; see \`dinghy --help\`.`);
  }
}

function diskFile(text: string): DiskFile {
  const isReadOnly = text.endsWith(":ro");
  const path = isReadOnly ? text.slice(0, -":ro".length) : text;
  if (path === "") throw new DinghyError("--disk needs the name of a disk image; use --disk FILE or --disk FILE:ro.");
  return { path, writes: isReadOnly ? "refused" : "through" };
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
