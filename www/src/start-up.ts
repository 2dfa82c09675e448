/** What a guest takes over when it starts, as the files of a share that it looks for. */

import { sha256 } from "./hashes.js";
import { DinghyError, type SharedFiles, type StartUp } from "./options.js";

/** The share's tag. */
export const START_UP_TAG = "dinghy.start-up";

/** The most that the guest can be given. */
const CAPACITY_MIB = 1024;

/** A text as a word of the shell. */
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/**
 * The share, which has an id by which the guest knows what it has taken over.
 *
 * @throws DinghyError if a variable or a path is none
 */
export function startUpShare({ environment = {}, files = {}, command }: StartUp): SharedFiles {
  const variables = Object.entries(environment).map(([name, value]) => {
    if (!/^[A-Za-z_]\w*$/.test(name) || value.includes("\0")) {
      throw new DinghyError(`"${name}" cannot be a variable of the guest's environment; use letters, digits and _.`);
    }
    return `export ${name}=${quoted(value)}\n`;
  });
  const contents: Record<string, SharedFiles["files"][string]> = { environment: variables.join("") };
  if (command !== undefined) contents.command = `${command}\n`;
  for (const [path, file] of Object.entries(files)) {
    const names = path.split("/").slice(1);
    if (!path.startsWith("/") || names.some((name) => ["", ".", ".."].includes(name) || /[\0\n]/.test(name))) {
      throw new DinghyError(`"${path}" cannot be a file of the guest; use an absolute path, such as /root/note.`);
    }
    contents[`files${path}`] = file;
  }
  return {
    tag: START_UP_TAG,
    readOnly: true,
    capacityMiB: CAPACITY_MIB,
    files: { ...contents, id: `${idOf(contents)}\n` },
  };
}

/** A digest of all that is given. */
function idOf(contents: SharedFiles["files"]): string {
  const digest = sha256.create();
  const encoder = new TextEncoder();
  for (const [path, file] of Object.entries(contents)) {
    const { contents: given, permissions = 0 } =
      typeof file === "string" || file instanceof Uint8Array ? { contents: file } : file;
    const bytes = typeof given === "string" ? encoder.encode(given) : given;
    digest.update(encoder.encode(JSON.stringify([path, permissions, bytes.byteLength])));
    digest.update(bytes);
  }
  return Array.from(digest.digest(), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
