/** Certificates for tests, of an authority made on the spot. */

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A server's certificate for a name, its key, and the certificate of the authority behind it, all in PEM. */
export function serverCertificate(name) {
  const folder = mkdtempSync(join(tmpdir(), "dinghy-certificates-"));
  const file = (name) => join(folder, name);
  const openssl = (...words) => execFileSync("openssl", words, { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  try {
    writeFileSync(file("extensions"), `subjectAltName=DNS:${name}\nbasicConstraints=CA:FALSE\n`);
    openssl("req", "-x509", ...newKey, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test", "-days", "2");
    openssl("req", ...newKey, "-keyout", "server.key", "-out", "server.csr", "-subj", `/CN=${name}`);
    const authority = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"];
    openssl("x509", "-req", "-in", "server.csr", ...authority, "-out", "server.pem", "-extfile", "extensions");
    const [ca, key, cert] = ["ca.pem", "server.key", "server.pem"].map((name) => readFileSync(file(name), "utf8"));
    return { ca, key, cert };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
