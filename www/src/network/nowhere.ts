/** A network without an outside: only the page's own connections to the guest. */

import type { Carrier } from "./flows.js";

/** Refuses every destination, and answers no name. */
export const nowhere: Carrier = {
  open(flow) {
    queueMicrotask(() => flow.failed("unreachable"));
    return { send: () => undefined, finish: () => undefined, close: () => undefined, resume: () => undefined };
  },
  ask: () => Promise.resolve(undefined),
  end: () => undefined,
};
