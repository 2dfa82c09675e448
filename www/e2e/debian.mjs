/** A small Debian with apt, and repositories for it, made from packages. */

import { createHash } from "node:crypto";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const BUILD = fileURLToPath(new URL("../../build/", import.meta.url));

/** What apt and its packages' scripts need; what these need in turn comes with them. */
const PACKAGES =
  "apt base-files base-passwd bash coreutils dash diffutils dpkg grep gzip libc-bin mawk perl-base sed tar".split(" ");

/** What a container has no use for. */
const LEFT_OUT = ["./usr/share/doc", "./usr/share/locale", "./usr/share/man", "./usr/share/info"];

/**
 * The root file system of a Debian with apt, as an uncompressed archive; made the first time. No package's script has
 * run: the files are there, and dpkg knows of them.
 */
export function debianRoot() {
  const archive = join(BUILD, "test-packages", "debian-root.tar");
  if (existsSync(archive)) return archive;
  const folder = join(BUILD, "test-packages", "debian-root.new");
  rmSync(folder, { recursive: true, force: true });
  const root = join(folder, "root");
  const packages = join(folder, "packages");
  const database = join(root, "var/lib/dpkg");
  for (const name of [root, join(packages, "partial"), join(database, "info"), join(database, "updates")])
    mkdirSync(name, { recursive: true });
  writeFileSync(join(folder, "nothing"), "");
  const options = {
    "Dir::State::status": join(folder, "nothing"),
    "Dir::Cache::archives": packages,
    "Debug::NoLocking": "1",
    "APT::Install-Recommends": "false",
    // As another user, apt could not write here.
    "APT::Sandbox::User": "root",
  };
  const named = Object.entries(options).flatMap(([name, value]) => ["--option", `${name}=${value}`]);
  execFileSync("apt-get", ["--quiet", "--yes", ...named, "--download-only", "install", ...PACKAGES], {
    stdio: "ignore",
  });
  let status = "";
  for (const file of readdirSync(packages).filter((name) => name.endsWith(".deb"))) {
    const path = join(packages, file);
    execFileSync("dpkg-deb", ["--extract", path, root]);
    const control = execFileSync("dpkg-deb", ["--field", path], { encoding: "utf8" });
    status += `${control.trimEnd().replace(/^Package: .*$/m, "$&\nStatus: install ok installed")}\n\n`;
    const files = execFileSync("dpkg-deb", ["--fsys-tarfile", path], { maxBuffer: 1 << 28 });
    const names = execFileSync("tar", ["--list"], { input: files, encoding: "utf8", maxBuffer: 1 << 24 })
      .split("\n")
      .filter(Boolean)
      .map((name) => (name === "./" ? "/." : name.replace(/^\./, "").replace(/\/$/, "")));
    const name = /^Package: (.*)$/m.exec(control)[1];
    const architecture = /^Multi-Arch: same$/m.test(control) ? `:${/^Architecture: (.*)$/m.exec(control)[1]}` : "";
    writeFileSync(join(database, "info", `${name}${architecture}.list`), `${names.join("\n")}\n`);
  }
  writeFileSync(join(database, "status"), status);
  for (const name of ["passwd", "group"])
    execFileSync("cp", [join(root, `usr/share/base-passwd/${name}.master`), join(root, "etc", name)]);
  const leftOut = LEFT_OUT.map((name) => `--exclude=${name}`);
  execFileSync("tar", ["--create", "--file", join(folder, "root.tar"), ...leftOut, "--directory", root, "."]);
  renameSync(join(folder, "root.tar"), archive);
  rmSync(folder, { recursive: true });
  return archive;
}

/**
 * Makes a repository in `folder` with one package, `name`, whose program of this name prints `says`.
 *
 * apt is to trust it without a signature, at `deb [trusted=yes] URL ./`.
 */
export function makeRepository(folder, name, says) {
  const tree = join(folder, "tree");
  mkdirSync(join(tree, "DEBIAN"), { recursive: true });
  mkdirSync(join(tree, "usr/bin"), { recursive: true });
  const control = [
    `Package: ${name}`,
    "Version: 1.0",
    "Architecture: all",
    "Depends: dash",
    "Maintainer: nobody <nobody@example.invalid>",
    "Description: a program for tests",
  ];
  writeFileSync(join(tree, "DEBIAN/control"), `${control.join("\n")}\n`);
  writeFileSync(join(tree, "DEBIAN/postinst"), `#!/bin/sh\necho ${name} was configured\n`, { mode: 0o755 });
  writeFileSync(join(tree, "usr/bin", name), `#!/bin/sh\necho ${says}\n`, { mode: 0o755 });
  const file = `${name}_1.0_all.deb`;
  execFileSync("dpkg-deb", ["--root-owner-group", "--build", tree, join(folder, file)], { stdio: "ignore" });
  rmSync(tree, { recursive: true });
  const bytes = readFileSync(join(folder, file));
  const digest = (content) => createHash("sha256").update(content).digest("hex");
  const entry = [...control, `Filename: ./${file}`, `Size: ${bytes.length}`, `SHA256: ${digest(bytes)}`];
  const index = `${entry.join("\n")}\n\n`;
  writeFileSync(join(folder, "Packages"), index);
  const release = ["Date: " + new Date().toUTCString(), "SHA256:", ` ${digest(index)} ${index.length} Packages`];
  writeFileSync(join(folder, "Release"), `${release.join("\n")}\n`);
}
