/** The relay's policy: nothing but what its rules name, by whatever way it is asked for. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { isPublic, RelayPolicy } from "../lib/node/serve/policy.js";

const NAMES = {
  "public.example": ["93.184.216.34"],
  "inside.example": ["10.1.2.3"],
  "loop.example": ["127.0.0.1"],
  "mixed.example": ["192.168.0.1", "93.184.216.34"],
  localhost: ["127.0.0.1"],
};
const policy = (...rules) => new RelayPolicy(rules, (name) => Promise.resolve(NAMES[name] ?? []));
const refused = (promise, pattern = /the policy does not allow/) => assert.rejects(promise, pattern);

test("without rules nothing is allowed", async () => {
  for (const host of ["93.184.216.34", "public.example", "127.0.0.1"]) await refused(policy().address(host, 80));
});

test("public means public addresses, however they are named", async () => {
  const open = policy("public");
  assert.equal(await open.address("93.184.216.34", 443), "93.184.216.34");
  assert.equal(await open.address("public.example", 443), "93.184.216.34");
  assert.equal(await open.address("PUBLIC.example.", 443), "93.184.216.34");
  for (const host of [
    "127.0.0.1",
    "10.1.2.3",
    "169.254.169.254",
    "192.168.1.1",
    "0.0.0.0",
    "100.64.1.1",
    "224.0.0.1",
  ]) {
    await refused(open.address(host, 80));
  }
  for (const host of ["localhost", "loop.example", "inside.example"]) await refused(open.address(host, 80), /which is/);
});

test("other spellings of loopback are no way around", async () => {
  const open = policy("public");
  for (const host of ["::1", "::ffff:127.0.0.1", "fe80::1", "::", "64:ff9b::7f00:1", "2002:7f00:1::", "2001::1"])
    await refused(open.address(host, 80));
  await refused(open.address("fe80::1%lo", 80), /names an interface/);
  // What no dotted address is must be a name, and these resolve to nothing here.
  for (const host of ["2130706433", "0x7f.1", "127.1", "0177.0.0.1"]) {
    await assert.rejects(open.address(host, 80), /has no IPv4 address/);
  }
  for (const host of ["", "a b", "127.0.0.1\0.example", "http://x", "[::1]"]) {
    await refused(open.address(host, 80), /no name/);
  }
});

test("IPv6 is reached by address: what is public, and what a rule names", async () => {
  assert.equal(await policy("public").address("2600::1", 443), "2600::1");
  await refused(policy().address("2600::1", 443));
  const inside = policy("[fd00:1::]/32:80", "[::1]");
  assert.equal(await inside.address("fd00:1:2::3", 80), "fd00:1:2::3");
  assert.equal(await inside.address("::1", 9), "::1");
  await refused(inside.address("fd00:1:2::3", 81));
  await refused(inside.address("fd00:2::3", 80));
  await refused(inside.address("127.0.0.1", 80));
  for (const rule of ["::1", "[::1", "[::1]/129", "[1.2.3.4]", "[fe80::1%lo]", "[::1]80"])
    assert.throws(() => policy(rule), /names no destinations/);
});

test("the system's resolver reading numbers as loopback does not help either", async () => {
  const open = new RelayPolicy(["public"]);
  for (const host of ["2130706433", "0x7f000001", "127.1", "localhost"]) await assert.rejects(open.address(host, 80));
});

test("a port holds for its rule only", async () => {
  const secure = policy("public:443", "10.1.0.0/16:80");
  assert.equal(await secure.address("93.184.216.34", 443), "93.184.216.34");
  await refused(secure.address("93.184.216.34", 80));
  assert.equal(await secure.address("10.1.2.3", 80), "10.1.2.3");
  await refused(secure.address("10.1.2.3", 443));
  await refused(secure.address("10.2.0.1", 80));
});

test("a name that is allowed leads to public addresses only", async () => {
  const named = policy("*.example", "exact.org:443");
  assert.equal(await named.address("public.example", 80), "93.184.216.34");
  assert.equal(await named.address("mixed.example", 80), "93.184.216.34");
  await refused(named.address("inside.example", 80));
  await refused(named.address("loop.example", 80));
  // The address by itself is none of the names.
  await refused(named.address("93.184.216.34", 80));
  await refused(named.address("public.example.org", 80));
  await refused(named.address("example", 80));
});

test("names that no rule allows are not even resolved", async () => {
  let asked = 0;
  const named = new RelayPolicy(["a.example"], () => Promise.resolve((asked++, ["93.184.216.34"])));
  await refused(named.address("b.example", 80));
  assert.equal(asked, 0);
});

test("a name is resolved once, and what was found is what is connected to", async () => {
  // Rebinding: the second look-up would lead inside.
  const answers = [["93.184.216.34"], ["127.0.0.1"]];
  const rebound = new RelayPolicy(["public"], () => Promise.resolve(answers.shift()));
  assert.equal(await rebound.address("evil.example", 80), "93.184.216.34");
  assert.equal(answers.length, 1);
  await refused(rebound.address("evil.example", 80), /which is 127\.0\.0\.1/);
});

test("an answer for an allowed name allows its address, for a while and for its port", async () => {
  let now = 0;
  const named = new RelayPolicy(["a.example:443"], undefined, () => now);
  named.rememberAnswer("a.example", "93.184.216.34", 60);
  assert.equal(await named.address("93.184.216.34", 443), "93.184.216.34");
  await refused(named.address("93.184.216.34", 80));
  named.rememberAnswer("b.example", "93.184.216.35", 60);
  await refused(named.address("93.184.216.35", 443));
  // A name server that answers with what is inside does not open it.
  named.rememberAnswer("a.example", "127.0.0.1", 60);
  await refused(named.address("127.0.0.1", 443));
  now = 2 * 3_600_000;
  await refused(named.address("93.184.216.34", 443));
});

test("answers do not pile up", () => {
  const named = policy("*.example");
  for (let n = 0; n < 10_000; n++) named.rememberAnswer("a.example", `93.184.${n >> 8}.${n & 255}`, 60);
  return refused(named.address("93.184.0.0", 80));
});

test("what is no rule is refused", () => {
  for (const rule of [
    "",
    ":80",
    "10.0.0.0/33",
    "10.0.0.0/8/8",
    "a b",
    "public:0",
    "public:70000",
    "*",
    "1.2.3",
    "a:b:c",
  ]) {
    assert.throws(() => policy(rule), /names no destinations/, rule);
  }
});

test("public addresses are those of no special network", () => {
  for (const address of ["8.8.8.8", "172.32.0.1", "100.128.0.1", "223.255.255.1"])
    assert.ok(isPublic(address), address);
  for (const address of ["172.31.9.9", "198.19.0.1", "240.0.0.1", "255.255.255.255", "192.88.99.1", "::1", "x"]) {
    assert.ok(!isPublic(address), address);
  }
});
