/** Directories in memory that are shared with the guest. */

import type { EngineShare } from "./engine.js";
import type { SharedFile, SharedFiles } from "./options.js";

const CAPACITY_MIB = 256;
const PERMISSIONS = 0o644;

/** The shares as the emulator takes them. */
export function engineShares(shares: readonly SharedFiles[] | undefined): EngineShare[] {
  return (shares ?? []).map(({ tag, files, readOnly, capacityMiB }) => ({
    tag,
    isReadOnly: readOnly ?? false,
    capacityBytes: (capacityMiB ?? CAPACITY_MIB) * 1024 * 1024,
    files: Object.entries(files).map(([path, file]) => {
      const { contents, permissions }: SharedFile =
        typeof file === "string" || file instanceof Uint8Array ? { contents: file } : file;
      const bytes = typeof contents === "string" ? new TextEncoder().encode(contents) : contents;
      return { path, bytes, permissions: permissions ?? PERMISSIONS };
    }),
  }));
}
