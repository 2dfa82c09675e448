/** Programs of Debian packages for tests, without installing them. */

import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
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

/** The libraries that a program or a library names. */
function neededBy(file) {
  const text = execFileSync("readelf", ["--dynamic", "--wide", file], { encoding: "utf8" });
  return [...text.matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(([, name]) => name);
}

/**
 * A folder with a program of a package, the libraries that it needs, and `ld.so`, which runs it:
 * `ld.so --library-path FOLDER FOLDER/program`. Made the first time.
 */
export function programWithLibraries(name, path) {
  const folder = join(BUILD, "test-packages", `${name}-program`);
  if (existsSync(folder)) return folder;
  const unfinished = `${folder}.new`;
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished, { recursive: true });
  const places = new Map();
  const packages = [name];
  for (const each of packages) {
    const files = packageFiles(each);
    for (const file of readdirSync(files, { recursive: true }))
      places.set(basename(file), places.get(basename(file)) ?? join(files, file));
    const control = execFileSync("apt-cache", ["show", "--no-all-versions", each], { encoding: "utf8" });
    const depends = /^Depends: (.*)$/m.exec(control)?.[1] ?? "";
    const libraries = depends.split(/[,|]/).map((text) => text.trim().split(/[ :]/)[0]);
    packages.push(...libraries.filter((library) => /^lib|^zlib1g$/.test(library) && !packages.includes(library)));
  }
  const program = join(packageFiles(name), path);
  copyFileSync(program, join(unfinished, basename(program)));
  const needed = neededBy(program);
  for (const library of needed) {
    const found = places.get(library);
    if (found === undefined) throw new Error(`no package of ${packages.join(", ")} has ${library}`);
    copyFileSync(found, join(unfinished, library));
    needed.push(...neededBy(found).filter((other) => !needed.includes(other)));
  }
  copyFileSync(places.get("ld-linux-x86-64.so.2"), join(unfinished, "ld.so"));
  chmodSync(join(unfinished, "ld.so"), 0o755);
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
