/** What the page wants of a machine's network, by messages. */

import { joinChannel } from "./channel.js";
import type { Network } from "./flows.js";
import type { Peers } from "./peers.js";

/** A wish of the page. */
export type NetworkRequest =
  /** Open a connection to a port of the guest over a channel (see channel.ts). */
  | { type: "connect-guest"; port: number; channel: MessagePort }
  /** Join the machines of this origin that are in this room. */
  | { type: "join-peers"; room: string }
  /** Join the machine at the other end of a channel of packets. */
  | { type: "link-peer"; channel: MessagePort }
  | { type: "leave-peers" };

/** Does what `message` wants, if it is for the network; tells whether it is. */
export function takeRequest(
  message: { type: string } | NetworkRequest,
  network: Network,
  peers: Peers,
): message is NetworkRequest {
  const request = message as NetworkRequest;
  switch (request.type) {
    case "connect-guest":
      joinChannel(network, request.port, request.channel);
      return true;
    case "join-peers":
      peers.join(request.room);
      return true;
    case "link-peer":
      peers.link(request.channel);
      return true;
    case "leave-peers":
      peers.leave();
      return true;
    default:
      return false;
  }
}
