/**
 * Reads what the page has kept of a guest's disk, by the layout alone (`src/storage/overlay/format.rs`), and asks
 * e2fsprogs about the result.
 */

import { execFileSync, spawnSync } from "node:child_process";
import { closeSync, openSync, writeSync } from "node:fs";
import { crc32 } from "node:zlib";

const BLOCK = 4096;
const ENTRY = 12;

/** The grains of an overlay as pairs of a grain's number and its bytes. */
function grains(/** @type {Buffer} */ overlay) {
  const block = (number) => overlay.subarray(number * BLOCK, (number + 1) * BLOCK);
  const superblocks = [block(0), block(1)].filter(
    (bytes) => bytes.toString("latin1", 0, 8) === "dinghyOv" && bytes.readUInt32LE(12) === crc32(bytes.subarray(16)),
  );
  superblocks.sort((a, b) => Number(b.readBigUInt64LE(16) - a.readBigUInt64LE(16)));
  const [newest] = superblocks;
  if (!newest) throw new Error("there is no superblock");
  let next = newest.readUInt32LE(40);
  let sequence = newest.readBigUInt64LE(32);
  let previous = crc32(newest.subarray(16, 24));
  const batches = [];
  let entries = [];
  for (;;) {
    const bytes = block(next);
    if (bytes.length < BLOCK || bytes.toString("latin1", 0, 4) !== "dgOL") break;
    const checksum = bytes.readUInt32LE(4);
    if (checksum !== crc32(bytes.subarray(8)) || bytes.readUInt32LE(8) !== previous) break;
    if (bytes.readBigUInt64LE(12) !== sequence) break;
    for (let entry = 0; entry < bytes.readUInt16LE(24); entry += 1) {
      const at = 28 + entry * ENTRY;
      entries.push([bytes.readUInt32LE(at), bytes.readUInt32LE(at + 4), bytes.readUInt32LE(at + 8)]);
    }
    if (bytes[26] & 1) {
      batches.push({ entries, isSettled: (bytes[26] & 2) !== 0 });
      entries = [];
    }
    [next, previous, sequence] = [bytes.readUInt32LE(20), checksum, sequence + 1n];
  }
  const isWhole = ([, number, checksum]) => number === 0 || crc32(block(number)) === checksum;
  const last = batches.at(-1);
  if (last && !last.isSettled && !last.entries.every(isWhole)) batches.pop();
  const found = new Map();
  for (const batch of batches) for (const entry of batch.entries) found.set(entry[0], entry);
  return [...found.values()].map((entry) => {
    if (!isWhole(entry)) throw new Error(`grain ${entry[0]} is damaged`);
    return [entry[0], entry[1] === 0 ? Buffer.alloc(BLOCK) : block(entry[1])];
  });
}

/** Writes the disk that `overlay` makes of `image` to the new file `target`. */
export function flatten(overlay, image, target) {
  execFileSync("cp", ["--sparse=always", "--dereference", image, target]);
  const file = openSync(target, "r+");
  try {
    for (const [grain, bytes] of grains(overlay)) writeSync(file, bytes, 0, BLOCK, grain * BLOCK);
  } finally {
    closeSync(file);
  }
}

/** Replays the journal of the ext4 file system in `image`, then checks it. Returns what is wrong, or "". */
export function checkExt4(image) {
  const replay = spawnSync("e2fsck", ["-y", "-E", "journal_only", image], { encoding: "utf8" });
  if (replay.status === null || replay.status > 1)
    return `the journal cannot be replayed:\n${replay.stdout}${replay.stderr}`;
  const check = spawnSync("e2fsck", ["-f", "-n", image], { encoding: "utf8" });
  return check.status === 0 ? "" : `${check.stdout}${check.stderr}`;
}

/** The contents of a file in the ext4 file system in `image`. */
export function readFile(image, path) {
  return execFileSync("debugfs", ["-R", `cat ${path}`, image], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
}
