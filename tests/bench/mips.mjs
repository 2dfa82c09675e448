// Guest instructions that the interpreter runs per second of CPU time, program by program of the yardstick, in node.
//
//   node tests/bench/mips.mjs [KERNEL [INITRAMFS [PASS]]]
//
// Time is the instruction count, so that a program's own clock counts its instructions; what this process
// used of the processor meanwhile is its cost. PASS is `cold` (default), the first pass, or `warm`.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = new URL("../../", import.meta.url);
const file = (path) => fileURLToPath(new URL(path, root));
const [kernel, initrd, pass] = [
  process.argv[2] ?? file("build/kernel/vmlinux"),
  process.argv[3] ?? file("build/bench/bench.cpio"),
  process.argv[4] ?? "cold",
];

const engine = await import(new URL("www/pkg/unshared/dinghy.js", root).href);
engine.initSync({ module: new WebAssembly.Module(readFileSync(file("www/pkg/unshared/dinghy_bg.wasm"))) });

let text = "";
const decoder = new TextDecoder();
const machine = new engine.Machine({
  memoryBytes: 1 << 30,
  kernel: readFileSync(kernel),
  initrd: readFileSync(initrd),
  commandLine: "console=ttyS0 quiet panic=-1",
  clock: "icount",
  engine: "interp",
  columns: 80,
  rows: 25,
  disks: [],
  onConsoleOutput() {},
  onSerialOutput: (bytes) => (text += decoder.decode(bytes, { stream: true })),
});

const cpuSeconds = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};
/** Programs of the shell, which are not the C programs that the average is of. */
const SHELL = /^(sh_|cat_|dd_|sha256sum_|gzip_|gunzip_|awk_|sort_)/;

let inPass = false;
let last = { instructions: 0, cpu: cpuSeconds() };
const rows = [];
let outcome;
do {
  outcome = machine.run(1_000_000);
  let end;
  while ((end = text.indexOf("\n")) >= 0) {
    const line = text.slice(0, end).trim();
    text = text.slice(end + 1);
    if (line.startsWith("WRONG")) throw new Error(line);
    if (line.startsWith("RUN ")) inPass = line === `RUN ${pass}`;
    const now = { instructions: machine.statistics().instructions, cpu: cpuSeconds() };
    const [kind, name] = line.split(" ");
    if (kind === "BENCH" && inPass) {
      rows.push({ name, instructions: now.instructions - last.instructions, cpu: now.cpu - last.cpu });
    }
    if (kind === "BENCH" || kind === "RUN") last = now;
  }
  // The other pass is not waited for.
  if (rows.length > 0 && !inPass) break;
} while (outcome === "limit" || outcome === "idle");

const mips = ({ instructions, cpu }) => instructions / cpu / 1e6;
for (const row of rows) {
  const million = (row.instructions / 1e6).toFixed(1).padStart(9);
  console.log(`${row.name.padEnd(16)}${million} M ${row.cpu.toFixed(2).padStart(7)} s ${mips(row).toFixed(0).padStart(6)} MIPS`);
}
const sum = (list) =>
  list.reduce((a, b) => ({ instructions: a.instructions + b.instructions, cpu: a.cpu + b.cpu }), {
    instructions: 0,
    cpu: 0,
  });
const programs = rows.filter(({ name }) => !SHELL.test(name));
const mean = programs.reduce((total, row) => total + mips(row), 0) / programs.length;
console.log(`C programs: ${mips(sum(programs)).toFixed(0)} MIPS over all, ${mean.toFixed(0)} MIPS mean of ${programs.length}`);
console.log(`all: ${mips(sum(rows)).toFixed(0)} MIPS over all ${rows.length}`);
