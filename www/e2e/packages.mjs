/** Programs of Debian packages for tests, without installing them. */

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const BUILD = fileURLToPath(new URL("../../build/", import.meta.url));

/** The folder that holds the files of a package, fetched with `apt-get download` the first time. */
export function packageFiles(name) {
  const folder = join(BUILD, "test-packages", name);
  if (existsSync(folder)) return folder;
  const unfinished = `${folder}.new`;
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished, { recursive: true });
  // apt fetches as another user, who may not write here: that is a warning.
  execFileSync("apt-get", ["--quiet", "download", name], { cwd: unfinished, stdio: ["ignore", "ignore", "ignore"] });
  const [archive = ""] = readdirSync(unfinished).filter((file) => file.endsWith(".deb"));
  execFileSync("dpkg-deb", ["-x", join(unfinished, archive), unfinished]);
  rmSync(join(unfinished, archive));
  renameSync(unfinished, folder);
  return folder;
}

/** The Docker client that is in the guest, for this computer, unless `DINGHY_DOCKER_CLI` names another one. */
export function dockerClient(folder) {
  if (process.env.DINGHY_DOCKER_CLI) return process.env.DINGHY_DOCKER_CLI;
  const file = join(folder, "docker");
  execFileSync("debugfs", ["-R", `dump -p /usr/bin/docker ${file}`, join(BUILD, "guest/guest.ext4")], {
    stdio: "ignore",
    // Debian has it where only root looks.
    env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
  });
  return file;
}
