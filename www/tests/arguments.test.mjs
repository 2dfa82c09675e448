/** The arguments of the `dinghy` command. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { parseCommand } from "../lib/node/arguments.js";
import { inputDevice } from "../lib/node/run.js";

test("every option reaches its place", () => {
  const words =
    "run --kernel k --initrd i --append a=b --disk d.img --disk e.img:ro --share /a:b:work:ro --share .:ro --env A=b=c --file ./n:/root/n --command ls --memory 512 --engine jit --cpu v3 " +
    "--clock icount --overlay o --until ready --record-prefetch r --profile p --save s --timeout 1.5 --stats";
  assert.deepEqual(parseCommand(words.split(" ")), {
    command: "run",
    kernel: "k",
    initrd: "i",
    append: "a=b",
    disks: [
      { path: "d.img", writes: "through" },
      { path: "e.img", writes: "refused" },
    ],
    shares: [
      { folder: "/a:b", tag: "work", readOnly: true },
      { folder: ".", tag: "ro" },
    ],
    startUp: { environment: { A: "b=c" }, files: { "/root/n": "./n" }, command: "ls" },
    memoryMiB: 512,
    clock: "icount",
    engine: "jit",
    cpu: "v3",
    network: { to: "none" },
    overlay: "o",
    until: "ready",
    recordPrefetch: "r",
    profile: "p",
    restore: undefined,
    save: "s",
    timeoutSeconds: 1.5,
    stats: true,
  });
});

test("a network has its policy and its ports", () => {
  const words = "run --net host --publish 2375:2375 --publish 0:80 --net-allow 10.0.0.0/8:80";
  assert.deepEqual(parseCommand(words.split(" ")).network, {
    to: "host",
    allow: ["10.0.0.0/8:80"],
    publish: [
      { hostPort: 2375, guestPort: 2375 },
      { hostPort: 0, guestPort: 80 },
    ],
  });
});

test("HTTP requests are a network too, with HTTPS at the ports that are named", () => {
  const words = "run --net fetch --https 443 --https 8443 --net-allow 127.0.0.1:8443";
  assert.deepEqual(parseCommand(words.split(" ")).network, {
    to: "fetch",
    https: [443, 8443],
    allow: ["127.0.0.1:8443"],
    publish: [],
  });
});

test("a relay is a network too, and the cache of images has a limit", () => {
  const words = "run --net ws://127.0.0.1:8080/relay/ --net-allow 10.0.0.1 --registry-cache c --registry-most 5";
  assert.deepEqual(parseCommand(words.split(" ")).network, {
    to: "relay",
    relay: "ws://127.0.0.1:8080/relay/",
    allow: ["10.0.0.1"],
    publish: [],
    registry: { cache: "c", mostBytes: 5 * 1024 * 1024 },
  });
});

test("a server has its folder, its address and its policy", () => {
  const words =
    "serve dist --port 0 --host 0.0.0.0 --allow public:443 --allow *.example --origin https://a.example --name-server 9.9.9.9";
  assert.deepEqual(parseCommand(words.split(" ")), {
    command: "serve",
    folder: "dist",
    host: "0.0.0.0",
    port: 0,
    allow: ["public:443", "*.example"],
    origins: ["https://a.example"],
    nameServer: "9.9.9.9:53",
  });
  assert.deepEqual(parseCommand(["serve", "dist"]).allow, []);
});

test("what is not named has a default", () => {
  const parsed = parseCommand(["run"]);
  assert.equal(parsed.memoryMiB, 1024);
  assert.equal(parsed.clock, "real");
  assert.equal(parsed.engine, "auto");
  assert.equal(parsed.timeoutSeconds, undefined);
});

for (const [words, sentence] of [
  [["launch"], /no command "launch"; use `dinghy run`/],
  [["run", "--kernal", "k"], /Unknown option '--kernal'; see `dinghy --help`/],
  [["run", "vmlinux"], /Unexpected argument 'vmlinux'/],
  [["run", "--memory", "lots"], /whole number of MiB, not "lots"/],
  [["run", "--memory", "16"], /16 MiB of memory; give it a whole number from 64 to 3072/],
  [["run", "--memory", "9999"], /9999 MiB/],
  [["run", "--cpu", "v4"], /--cpu cannot be "v4"; use v1 or v2 or v3 or max/],
  [["run", "--restore", "s", "--cpu", "v3"], /--restore takes the processor from the snapshot/],
  [["run", "--engine", "jet"], /--engine cannot be "jet"; use auto or interp or jit/],
  [["run", "--clock", "sun"], /--clock cannot be "sun"; use real or icount/],
  [["run", "--timeout", "0"], /positive number of seconds, not "0"/],
  [["run", "--timeout", "-1"], /--help/],
  [["run", "--disk", ":ro"], /--disk needs the name of a disk image/],
  [["run", "--kernel"], /--kernel/],
  [["run", "--net", "relay"], /--net cannot be "relay"; use none or host/],
  [["run", "--net", "host", "--https", "443"], /--https needs --net fetch/],
  [["run", "--net", "fetch", "--https", "http"], /--https takes a port, not "http"/],
  [["run", "--net", "fetch", "--https", "80"], /HTTPS cannot be at port 80/],
  [["run", "--publish", "80:80"], /--publish and --net-allow need --net host/],
  [["run", "--net", "host", "--publish", "80"], /--publish takes two ports, not "80"/],
  [["run", "--net", "host", "--publish", "80:0"], /--publish takes two ports/],
  [["run", "--net", "host", "--clock", "icount"], /--net host needs --clock real/],
  [["serve"], /takes one folder/],
  [["serve", "a", "b"], /takes one folder/],
  [["serve", "a", "--port", "99999"], /--port takes a number/],
  [["serve", "a", "--name-server", "example"], /--name-server takes ADDRESS/],
  [["run", "--restore", "s", "--kernel", "k"], /--restore takes kernel, initrd and command line from the snapshot/],
]) {
  test(`"${words.join(" ")}" is refused in one sentence`, () => {
    assert.throws(
      () => parseCommand(words),
      (error) => {
        assert.equal(error.name, "DinghyError");
        assert.match(error.message, sentence);
        assert.doesNotMatch(error.message, /\n/);
        return true;
      },
    );
  });
}

test("input goes to the console that the command line names last", () => {
  assert.equal(inputDevice("console=ttyS0 console=hvc0"), "console");
  assert.equal(inputDevice("console=hvc0 console=ttyS0,115200"), "serial");
  assert.equal(inputDevice("root=/dev/vda"), "console");
  assert.equal(inputDevice("netconsole=ttyS0"), "console");
});
