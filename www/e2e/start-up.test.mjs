/** What differs from start to start: environment, files and a command, for a guest that goes on from the snapshot or boots. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { Machine } from "../lib/node/index.js";
import { Terminal } from "./terminal.mjs";

const PATIENCE_MS = 300_000;
const build = (path) => fileURLToPath(new URL(`../../build/${path}`, import.meta.url));
const { image } = JSON.parse(readFileSync(build("guest/chunks/manifest.json"), "utf8"));
const options = {
  snapshot: build("guest/docker.snapshot"),
  disks: [{ path: build("guest/guest.ext4"), writes: "overlay", identity: image }],
  network: { to: "nowhere" },
  size: { columns: 200, rows: 50 },
};

test("two starts from one snapshot get what each was given, once", async () => {
  for (const name of ["one", 'another\'s "$HOME"']) {
    const startUp = {
      environment: { NAME: name },
      files: {
        "/root/deep/note": `note of ${name}`,
        "/root/bin": { contents: "#!/bin/sh\necho ran", permissions: 0o755 },
      },
      command: 'echo "for $NAME" >>/root/log; exit 5',
    };
    let machine = await Machine.restore({ ...options, startUp });
    const ended = await new Promise((resolve) => machine.on("command", resolve));
    assert.deepEqual(ended, { status: 5 });
    let terminal = new Terminal(machine, PATIENCE_MS);
    await terminal.run("stty -echo; PS1=");
    const command = 'echo "$NAME"; cat /root/deep/note; echo; /root/bin; cat /root/log; stat -c %U /root/deep/note';
    const expected = { text: `${name}\nnote of ${name}\nran\nfor ${name}\nroot`, status: 0 };
    assert.deepEqual(await terminal.run(command), expected);
    if (name === "one") {
      // A machine that is saved later has it, and does not do it again.
      const snapshot = new Uint8Array(await (await machine.save()).arrayBuffer());
      machine.stop();
      await machine.gone;
      machine = await Machine.restore({ ...options, snapshot, startUp });
      terminal = new Terminal(machine, PATIENCE_MS);
      await terminal.run("sleep 3");
      assert.deepEqual(await terminal.run(command), expected);
    }
    machine.stop();
    await machine.gone;
  }
});

test("the command's run ends with the guest's command, and with its exit status", async () => {
  const folder = mkdtempSync(join(tmpdir(), "dinghy-start-up-"));
  writeFileSync(join(folder, "note"), "from a file\n");
  const words = [
    "run",
    "--env",
    "A=b c",
    "--file",
    `${join(folder, "note")}:/etc/note`,
    "--share",
    `${folder}:host:ro`,
  ];
  const command = 'cat /etc/note /mnt/host/note; echo "[$A]"; exit 9';
  const program = fileURLToPath(new URL("../bin/dinghy.mjs", import.meta.url));
  const [status, printed] = await new Promise((resolve) => {
    execFile(process.execPath, [program, ...words, "--command", command], (error, stdout) =>
      resolve([error?.code ?? 0, stdout]),
    );
  });
  rmSync(folder, { recursive: true });
  assert.equal(status, 9, printed);
  assert.match(printed, /from a file\r?\nfrom a file\r?\n\[b c\]\r?$/m);
});

test("what cannot be given is refused", async () => {
  for (const startUp of [{ environment: { "a b": "" } }, { files: { relative: "" } }, { files: { "/a/../b": "" } }]) {
    await assert.rejects(Machine.restore({ ...options, startUp }), /cannot be/);
  }
});
