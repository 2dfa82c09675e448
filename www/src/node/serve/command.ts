/** `dinghy serve`: a folder of files and a relay, until the process is stopped. */

import { statSync } from "node:fs";

import { DinghyError } from "../../options.js";
import type { ServeArguments } from "../arguments.js";
import { configuredNameServer } from "../sockets.js";
import { serve } from "./server.js";

/** Serves until SIGINT or SIGTERM. Returns the exit code.
 * @throws DinghyError if there is nothing to serve, or no port */
export async function serveFolder(options: ServeArguments): Promise<number> {
  if (!statSync(options.folder, { throwIfNoEntry: false })?.isDirectory()) {
    throw new DinghyError(`${options.folder} is no folder; name the one with the built page, for example www/dist.`);
  }
  const serving = await serve({
    ...options,
    nameServer: options.nameServer ?? configuredNameServer(),
    log: (text) => process.stderr.write(`dinghy: ${text}\n`),
  });
  process.stdout.write(`dinghy is at ${serving.pageAddress} (Ctrl-C stops the server)\n`);
  await new Promise<void>((resolve) => {
    process.once("SIGINT", resolve);
    process.once("SIGTERM", resolve);
  });
  await serving.close();
  return 0;
}
