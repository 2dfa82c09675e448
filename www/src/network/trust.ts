/** The certificate authority in the tab: where it is wanted, and how the guest gets its certificate. */

import { DinghyError } from "../options.js";
import { serveHttp } from "./http-server.js";
import type { Service } from "./services.js";
import type { TlsAuthority } from "./tls.js";

/** Where the guest finds it, on the services' address (`guest/root/usr/lib/dinghy/trust`). */
export const CERTIFICATE_PATH = "/certificate-authority.pem";
/** The port at which it is served, by plain HTTP; the registry has that of HTTP. */
export const CERTIFICATE_PORT = 81;

/** What the machine types on the serial port where the guest listens there (`dinghy:listening`): it may trust the authority. */
export const TRUST_MESSAGE = "dinghy:trust\n";

/**
 * The ports at which a network is to end the guest's HTTPS.
 *
 * @throws DinghyError if one is no port, or is that of plain HTTP
 */
export function httpsPorts({ https = [] }: { to: string; https?: readonly number[] }): readonly number[] {
  const wrong = https.find((port) => !Number.isInteger(port) || port < 1 || port > 0xffff || port === 80);
  if (wrong === undefined) return https;
  throw new DinghyError(`HTTPS cannot be at port ${wrong}; use for example 443.`);
}

/** The services with a server of the authority's certificate at a port of its own, if there is one. */
export function withCertificate(
  services: ReadonlyMap<number, Service>,
  authority: TlsAuthority | undefined,
): ReadonlyMap<number, Service> {
  if (!authority) return services;
  const certificate = authority.certificate();
  const headers = { "content-type": "application/x-pem-file", "content-length": String(certificate.length) };
  const answer = (target: string): Response =>
    target === CERTIFICATE_PATH
      ? new Response(certificate, { headers })
      : new Response("There is the certificate only.\n", { status: 404 });
  return new Map([
    ...services,
    [CERTIFICATE_PORT, (flow) => serveHttp(flow, ({ target }) => Promise.resolve(answer(target)))],
  ]);
}
