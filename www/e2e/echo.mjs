/** A server that says what it hears, and counts its connections. */

import { once } from "node:events";
import { createServer } from "node:net";

/**
 * Listens at a port of 127.0.0.1.
 *
 * @returns {Promise<{ open: number, accepted: number, close: () => void }>} the connections that are open now, and all that
 *   there were
 */
export async function listenEcho(port) {
  const echo = { open: 0, accepted: 0, close: () => server.close() };
  const server = createServer((socket) => {
    echo.open += 1;
    echo.accepted += 1;
    socket.on("error", () => undefined).on("close", () => (echo.open -= 1));
    socket.pipe(socket);
  }).listen(port, "127.0.0.1");
  await once(server, "listening");
  return echo;
}
