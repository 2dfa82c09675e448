/** Directories that are shared with the guest. */

import type { EngineFiles, EngineShare } from "./engine.js";
import { FileError, type FileProvider } from "./files/provider.js";
import type { OperationMessage } from "./files/operations.js";
import type { BootOptions, SharedFile, SharedFiles, SharedProvider } from "./options.js";
import { startUpShare } from "./start-up.js";

const CAPACITY_MIB = 256;
const PERMISSIONS = 0o644;

/** A share on its way to the worker that runs the machine. */
export type BootShare = EngineFiles | { kind: "provided"; tag: string; isReadOnly: boolean };

/** What serves a share that nobody serves yet: nothing is in it. */
export const nobody: FileProvider = {
  stat: (path) => {
    if (path !== "") throw new FileError("ENOENT");
    return { kind: "directory", size: 0, permissions: 0o555 };
  },
  list: () => [],
  open: () => {
    throw new FileError("ENOENT");
  },
};

/** A directory in memory as the emulator takes it. */
export function bootFiles({ tag, files, readOnly, capacityMiB }: SharedFiles): EngineFiles {
  return {
    kind: "files",
    tag,
    isReadOnly: readOnly ?? false,
    capacityBytes: (capacityMiB ?? CAPACITY_MIB) * 1024 * 1024,
    files: Object.entries(files).map(([path, file]) => {
      const { contents, permissions }: SharedFile =
        typeof file === "string" || file instanceof Uint8Array ? { contents: file } : file;
      const bytes = typeof contents === "string" ? new TextEncoder().encode(contents) : contents;
      return { path, bytes, permissions: permissions ?? PERMISSIONS };
    }),
  };
}

/** A share as it goes to the worker that runs the machine. */
export function bootShare(share: SharedFiles | SharedProvider): BootShare {
  if ("files" in share) return bootFiles(share);
  return { kind: "provided", tag: share.tag, isReadOnly: share.readOnly ?? false };
}

/** The shares as they go there, with what the guest takes over when it starts. */
export function bootShares({ shares = [], startUp }: Pick<BootOptions, "shares" | "startUp">): BootShare[] {
  return [...shares, ...(startUp === undefined ? [] : [startUpShare(startUp)])].map(bootShare);
}

/** The shares as the emulator takes them; operations go where `ask` takes them. */
export function engineShares(shares: readonly BootShare[], ask: (operation: OperationMessage) => void): EngineShare[] {
  return shares.map((share, place) =>
    share.kind === "files"
      ? share
      : { ...share, ask: (id, operation, data) => ask({ type: "operation", share: place, id, operation, data }) },
  );
}
