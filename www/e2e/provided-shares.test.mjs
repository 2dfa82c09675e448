/** Shared directories that JavaScript serves: one of this computer, and objects. `DINGHY_FILES` sets how many files are made in one. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { FileError, Machine } from "../lib/node/index.js";
import { Terminal } from "./terminal.mjs";

const PATIENCE_MS = 300_000;
const FILES = Number(process.env.DINGHY_FILES ?? 1_000);
const MOUNT = "mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000";

const outside = mkdtempSync(join(tmpdir(), "dinghy-provided-"));
const work = join(outside, "work");
const disks = [
  { path: fileURLToPath(new URL("../../build/guest/guest.ext4", import.meta.url)), writes: "overlay", identity: "-" },
];

/** Generated files; what is written to "stuck" never ends, and "broken" has no plan for failing. */
const generated = {
  stat(path) {
    if (path === "") return { kind: "directory", size: 0 };
    if (path === "squares" || path === "stuck" || path === "broken") return { kind: "file", size: 100 };
    throw new FileError("ENOENT");
  },
  list: async () => ["squares", "stuck", "broken"].map((name) => ({ name, kind: "file" })),
  open: async (path) => ({
    read: (offset, length) => {
      if (path === "stuck") return new Promise(() => undefined);
      if (path === "broken") throw new Error("no plan");
      return Buffer.from(Array.from({ length: 50 }, (_, at) => at * at).join(" "))
        .subarray(0, 100)
        .subarray(offset, offset + length);
    },
  }),
};

const shares = [
  { tag: "work", folder: work },
  { tag: "fixed", folder: work, readOnly: true },
  { tag: "made", provider: generated },
  { tag: "later" },
];

/** All files below a directory of this computer, as sha256sum and readlink in the guest would tell them. */
function digests(folder, below = ".") {
  return readdirSync(join(folder, below)).flatMap((name) => {
    const path = `${below}/${name}`;
    const file = join(folder, path);
    const status = lstatSync(file);
    if (status.isDirectory()) return digests(folder, path);
    const what = status.isSymbolicLink()
      ? readlinkSync(file)
      : createHash("sha256").update(readFileSync(file)).digest("hex");
    return [`${what}  ${path}`];
  });
}

const GUEST_DIGESTS =
  'find . -type f -exec sha256sum {} +; find . -type l | while read l; do echo "$(readlink "$l")  $l"; done';

let machine;
let terminal;
const errors = [];

before(async () => {
  mkdirSync(work);
  writeFileSync(join(outside, "secret"), "not for the guest");
  symlinkSync("../secret", join(work, "up"));
  symlinkSync(outside, join(work, "out"));
  symlinkSync("/etc/hostname", join(work, "name"));
  writeFileSync(join(work, "note"), "from the host\n");
  machine = await Machine.boot({
    kernel: fileURLToPath(new URL("../../build/kernel/vmlinux", import.meta.url)),
    disks,
    shares,
    size: { columns: 400, rows: 50 },
  });
  machine.on("error", (error) => errors.push(error.message));
  terminal = new Terminal(machine, PATIENCE_MS);
  await terminal.ready();
  for (const { tag } of shares) {
    assert.equal((await terminal.run(`mkdir /mnt/${tag} && ${MOUNT} ${tag} /mnt/${tag}`)).status, 0);
  }
});
after(async () => {
  machine.stop();
  await machine.gone;
  rmSync(outside, { recursive: true });
});

test("copies and archives arrive in the host's directory byte for byte", async () => {
  const started = performance.now();
  for (const command of [
    "cp -a /etc /mnt/work/copied",
    "mkdir /mnt/work/unpacked && tar -C /usr/lib/dinghy -c . | tar -C /mnt/work/unpacked -x",
    `mkdir /mnt/work/many && cd /mnt/work/many && for i in $(seq ${FILES}); do echo "file $i" >$i; done; for i in $(seq 1 2 ${FILES}); do mv $i moved-$i; done; for i in $(seq 2 4 ${FILES}); do rm $i; done`,
    "dd if=/dev/urandom of=/mnt/work/blob bs=1M count=32 status=none; dd if=/dev/zero of=/mnt/work/blob bs=4k count=3 seek=100 conv=notrunc status=none; truncate -s 30000000 /mnt/work/blob",
    "cd /mnt/work && ln note linked && ln -s note pointer && chmod 640 linked && touch -d '2001-02-03 04:05:06' linked",
  ]) {
    assert.deepEqual(await terminal.run(command), { text: "", status: 0 });
  }
  const { text } = await terminal.run(
    `cd /mnt/work && (${GUEST_DIGESTS}) >/tmp/digests; sort /tmp/digests | sha256sum; wc -l </tmp/digests`,
  );
  const lines = digests(work).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  const expected = createHash("sha256")
    .update(lines.map((line) => `${line}\n`).join(""))
    .digest("hex");
  console.log(
    `figures: ${lines.length} files made and compared in ${((performance.now() - started) / 1000).toFixed(1)} s`,
  );
  assert.deepEqual(text.trim().split(/\s+/), [expected, "-", String(lines.length)]);
  const own = await terminal.run(
    "cd /etc && find . -type f | sort | xargs sha256sum | sha256sum; cd /mnt/work/copied && find . -type f | sort | xargs sha256sum | sha256sum",
  );
  const [original, copy] = own.text.trim().split("\n");
  assert.equal(copy, original);
  const linked = lstatSync(join(work, "note"));
  assert.equal(linked.nlink, 2);
  assert.equal(linked.mode & 0o777, 0o640);
  assert.equal(linked.mtimeMs, Date.UTC(2001, 1, 3, 4, 5, 6));
});

test("nothing outside the directory is reached", async () => {
  const { text } = await terminal.run(
    "cat /mnt/work/up /mnt/work/out/secret /mnt/work/../secret /mnt/work/../../secret; cat /mnt/work/name; hostname",
  );
  assert.ok(!text.includes("not for the guest"), text);
  const [name, own] = text.trim().split("\n").slice(-2);
  // A link leads where it leads in the guest.
  assert.equal(name, own);
});

test("a file without a name is used on, and a read-only directory stays as it is", async () => {
  assert.deepEqual(
    await terminal.run(
      "cd /mnt/work; exec 3<>gone; exec 5<gone; rm gone; echo kept >&3; cat <&5; stat -L -c %s /proc/self/fd/3; ls gone 2>/dev/null; exec 3>&- 5>&-",
    ),
    { text: "kept\n5", status: 0 },
  );
  const { text } = await terminal.run("echo x >/mnt/fixed/note; rm /mnt/fixed/note; cat /mnt/fixed/note");
  assert.equal(text.match(/Read-only file system/g)?.length, 2, text);
  assert.match(text, /^from the host$/m);
});

test("an object serves files; what it does wrong is the program's matter only", async () => {
  const { text } = await terminal.run(
    "cd /mnt/made; ls; cut -d' ' -f1-5 squares; echo x >squares; mkdir new; cat broken",
  );
  assert.match(text, /^broken\s+squares\s+stuck$/m);
  assert.match(text, /^0 1 4 9 16$/m);
  assert.equal(text.match(/Operation not supported/g)?.length, 2, text);
  assert.match(text, /Input\/output error$/m);
  assert.deepEqual(errors, ["The share made has failed: no plan. The guest sees an I/O error."]);
  const stuck = await terminal.run(
    "cd /; cat /mnt/made/stuck & sleep 0.5; cat /mnt/made/squares | wc -c; kill -9 $!; wait $!",
  );
  assert.match(stuck.text, /^100$/m);
  assert.equal(stuck.status, 128 + 9);
});

test("a share is served by whom the page says, when it says it", async () => {
  assert.deepEqual(await terminal.run("ls /mnt/later | wc -l"), { text: "0", status: 0 });
  machine.share("later", generated);
  assert.deepEqual(await terminal.run("ls /mnt/later | wc -l; head -c 7 /mnt/later/squares; echo"), {
    text: "3\n0 1 4 9",
    status: 0,
  });
  assert.throws(() => machine.share("nobody", generated), /no share "nobody"/);
  assert.throws(() => machine.share("work", generated), /no share "work"/);
});

test("a saved machine goes on with the files that it had open", async () => {
  await terminal.run("cd /mnt/work/many; exec 4>>log; echo before >&4");
  const snapshot = new Uint8Array(await (await machine.save()).arrayBuffer());
  machine.stop();
  await machine.gone;
  machine = await Machine.restore({ snapshot, disks, shares, size: { columns: 400, rows: 50 } });
  terminal = new Terminal(machine, PATIENCE_MS);
  // What was on the terminal is shown again first.
  await terminal.run("true");
  assert.deepEqual(await terminal.run("echo after >&4; cat log; pwd; cat moved-1; head -c 3 /mnt/made/squares; echo"), {
    text: "before\nafter\n/mnt/work/many\nfile 1\n0 1",
    status: 0,
  });
  assert.equal(readFileSync(join(work, "many/log"), "utf8"), "before\nafter\n");
});
