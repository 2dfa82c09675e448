//! The guest's network over the sockets of this computer.
//!
//! ```text
//! Gateway ── HostFlows ────> sockets, never waited for
//!         └─ HostResolver ─> the name server of /etc/resolv.conf
//!                │ a thread waits for all of them, notes who is ready, wakes the machine
//!                v
//!            NetworkWaker
//! ```

mod flows;
mod poller;
mod resolver;
#[cfg(test)]
mod tests;

pub use poller::NetworkWaker;

use crate::net::{Gateway, Policy};
use flows::HostFlows;
use poller::Poller;
use resolver::HostResolver;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// A port of this computer behind which a port of the guest is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The port of 127.0.0.1; 0 stands for one that is free.
    pub host_port: u16,
    /// The port of the guest.
    pub guest_port: u16,
}

impl FromStr for Published {
    type Err = &'static str;

    /// Reads `HOST:GUEST`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, guest) = text.split_once(':').ok_or("give HOST:GUEST")?;
        let port = |text: &str| text.parse().map_err(|_| "a port is a number from 0 to 65535");
        let published = Self { host_port: port(host)?, guest_port: port(guest)? };
        if published.guest_port == 0 { Err("the guest has no port 0") } else { Ok(published) }
    }
}

/// Why the guest cannot have a network.
#[derive(Debug, thiserror::Error)]
pub enum HostNetworkError {
    /// A port to publish is taken.
    #[error("cannot listen on 127.0.0.1:{port}: {source}")]
    Listen {
        /// The port.
        port: u16,
        /// What the host says.
        source: io::Error,
    },
    /// The host gives no sockets or threads.
    #[error("the host cannot give a network: {0}")]
    Host(#[from] io::Error),
}

/// What makes the guest's network.
#[derive(Clone, Debug, Default)]
pub struct HostNetwork {
    /// Where the guest may connect to.
    pub policy: Policy,
    /// Ports of the guest that this computer can connect to.
    pub published: Vec<Published>,
    /// The name server to ask; without it, the first one of /etc/resolv.conf.
    pub name_server: Option<SocketAddr>,
}

impl HostNetwork {
    /// A network for one machine. `seed` is a random number. The waker is to be told of the machine as soon as
    /// there is one; the addresses are those of the published ports, in their order.
    ///
    /// # Errors
    /// When the host cannot give what it needs, or a port is taken.
    pub fn start(&self, seed: u64) -> Result<(Gateway, NetworkWaker, Vec<SocketAddr>), HostNetworkError> {
        let waker = NetworkWaker::default();
        let poller = Poller::start(waker.clone())?;
        let server = self.name_server.or_else(configured_name_server);
        if server.is_none() {
            log::warn!("this computer has no name server in /etc/resolv.conf: the guest resolves no names");
        }
        let resolver = HostResolver::new(poller.clone(), server, seed as u16)?;
        let mut flows = HostFlows::new(poller, self.policy.clone(), server);
        let mut addresses = Vec::new();
        for published in &self.published {
            addresses.push(flows.publish(*published)?);
        }
        Ok((Gateway::new(Box::new(flows), Box::new(resolver), seed), waker, addresses))
    }
}

/// The first name server of /etc/resolv.conf.
fn configured_name_server() -> Option<SocketAddr> {
    let text = match std::fs::read_to_string("/etc/resolv.conf") {
        Ok(text) => text,
        Err(error) => {
            log::warn!("/etc/resolv.conf cannot be read: {error}");
            return None;
        }
    };
    name_server_in(&text)
}

fn name_server_in(text: &str) -> Option<SocketAddr> {
    text.lines().find_map(|line| {
        let address = line.trim_start().strip_prefix("nameserver")?.split_whitespace().next()?;
        Some(SocketAddr::new(address.parse::<IpAddr>().ok()?, 53))
    })
}
