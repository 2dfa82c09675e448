//! The guest's network, carried by JavaScript in another worker or between slices.

use super::local::Local;
use super::options::EngineNetwork;
use crate::host::Entropy;
use crate::net::handover::{Command, FlowCarrier, handover};
use crate::net::{Destinations, FlowError, FlowId, Gateway, Policy, QueryId, Transport};
use std::net::{IpAddr, SocketAddrV4};
use std::sync::{Arc, Mutex};

/// Builds the gateway that an options object's network describes, and the carrier's side of it.
///
/// # Errors
/// A sentence for the user.
pub fn build(network: EngineNetwork, entropy: &mut dyn Entropy) -> Result<(Gateway, FlowCarrier), String> {
    let mut allowed = Vec::new();
    for rule in network.allowed().iter() {
        let rule = rule.as_string().unwrap_or_default();
        let destinations: Destinations = rule.parse().map_err(|reason| {
            format!("\"{rule}\" names no destinations: {reason}; use ADDRESS[/BITS][:PORT]")
        })?;
        allowed.push(destinations);
    }
    let name_server = network
        .name_server()
        .map(|server| server.parse::<SocketAddrV4>().map_err(|_| format!("\"{server}\" is no ADDRESS:PORT")))
        .transpose()?;
    let mut seed = [0; 8];
    entropy.fill(&mut seed);
    let network = Local::new(network);
    let call = Arc::new(Mutex::new(move || {
        if let Err(error) = network.get().on_work() {
            log::error!("the network's worker cannot be called: {}", super::disk::message(&error));
        }
    }));
    let (flows, resolver, carrier) = handover(Policy::new(allowed), name_server, call);
    let gateway = Gateway::new(Box::new(flows), Box::new(resolver), u64::from_le_bytes(seed));
    Ok((gateway, carrier))
}

/// A flow's number for JavaScript, exact as a double: those that the outside opens are negative, from -1 down.
pub fn number(flow: FlowId) -> f64 {
    match flow.0.checked_sub(FlowId::FIRST_INCOMING) {
        Some(incoming) => -(incoming as f64) - 1.0,
        None => flow.0 as f64,
    }
}

/// The flow with this number.
pub fn flow(number: f64) -> FlowId {
    if number < 0.0 { FlowId(FlowId::FIRST_INCOMING + (-number - 1.0) as u64) } else { FlowId(number as u64) }
}

/// The error of a `FlowFailure` of the package's `engine.ts`.
pub fn failure(name: &str) -> FlowError {
    match name {
        "forbidden" => FlowError::Forbidden,
        "refused" => FlowError::Refused,
        "reset" => FlowError::Reset,
        "too-many" => FlowError::TooMany,
        _ => FlowError::Unreachable,
    }
}

/// Appends a command as the package's `network/commands.ts` reads it: its kind (one byte), the flow's number (a
/// double), the length of the rest (32 bits), the rest; numbers little-endian.
///
/// Bytes, because JavaScript values can be made by the instance alone that made the machine: where the compiler gives
/// no thread-local statics, wasm-bindgen's table of them is shared by all instances on a memory.
pub fn encode(command: &Command, into: &mut Vec<u8>) {
    let mut append = |kind: u8, number: f64, parts: &[&[u8]]| {
        into.push(kind);
        into.extend_from_slice(&number.to_le_bytes());
        let length: usize = parts.iter().map(|part| part.len()).sum();
        into.extend_from_slice(&(length as u32).to_le_bytes());
        parts.iter().for_each(|part| into.extend_from_slice(part));
    };
    match command {
        Command::Open { flow, transport, destination } => {
            let transport = match transport {
                Transport::Tcp => 1,
                Transport::Udp => 2,
            };
            let port = destination.port().to_le_bytes();
            match destination.ip() {
                IpAddr::V4(address) => append(0, number(*flow), &[&[transport], &port, &address.octets()]),
                IpAddr::V6(address) => append(0, number(*flow), &[&[transport], &port, &address.octets()]),
            }
        }
        Command::Send { flow, bytes } => append(1, number(*flow), &[bytes]),
        Command::Finish(flow) => append(2, number(*flow), &[]),
        Command::Close { flow, is_reset } => append(3, number(*flow), &[&[u8::from(*is_reset)]]),
        Command::Resume(flow) => append(4, number(*flow), &[]),
        Command::Ask { id: QueryId(id), query } => append(5, *id as f64, &[query]),
        Command::Packet(packet) => append(6, 0.0, &[packet]),
    }
}
