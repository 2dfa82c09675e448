#!/usr/bin/env node
/** The `dinghy` command. */

import { existsSync } from "node:fs";

const library = new URL("../lib/node/run.js", import.meta.url);
if (existsSync(library)) {
  const { main } = await import(library.href);
  process.exitCode = await main(process.argv.slice(2));
} else {
  process.stderr.write("dinghy: The command is not built; build it with `make build`.\n");
  process.exitCode = 2;
}
