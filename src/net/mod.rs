//! The network in the tab: a gateway that turns the guest's Ethernet frames into flows.
//!
//! ```text
//! virtio-net <- frames -> Gateway: ARP, DHCP, DNS, ICMP echo
//!                            |  one TCP socket for each connection of the guest; UDP by address
//!                            v
//!                         FlowBackend: sockets of the host, a relay, …
//! ```
//!
//! Nothing here reads a clock, waits or reaches the outside: time is passed in, and flows are carried on by
//! what implements [`FlowBackend`] and [`NameResolver`].

mod cable;
mod datagram;
mod dhcp;
mod dns;
mod flow;
mod gateway;
pub mod handover;
mod icmp;
mod ipv6;
mod link;
mod peers;
mod policy;
pub mod subnet;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

pub use flow::{FlowBackend, FlowError, FlowEvent, FlowId, NameResolver, QueryId, Transport};
pub use gateway::Gateway;
pub use policy::{Destinations, Policy, is_public};
