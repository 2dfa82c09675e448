/** What the emulator serves to the guest by itself, at an address of the guest's own network. */

import type { Carrier, FlowUser, FlowEnd } from "./flows.js";

/** The address of the services (`SERVICES` in `src/net/subnet.rs`); the gateway lets nothing else lead there. */
export const SERVICES_ADDRESS = "10.86.0.253";

/** A TCP server: is given the guest's flow and returns its other end. */
export type Service = (flow: FlowUser) => FlowEnd;

/** A carrier that brings connections for the services' address to `services`, by their port, and all others to `outside`. */
export function withServices(outside: Carrier, services: ReadonlyMap<number, Service>): Carrier {
  return {
    open(flow, transport, address, port) {
      if (address !== SERVICES_ADDRESS) return outside.open(flow, transport, address, port);
      const service = services.get(port);
      if (service) return service(flow);
      queueMicrotask(() => flow.failed("refused"));
      return { send: () => undefined, finish: () => undefined, close: () => undefined, resume: () => undefined };
    },
    ask: (query) => outside.ask(query),
    end: () => outside.end(),
  };
}
