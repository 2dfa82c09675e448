//! The control queue (virtio 1.2 §5.1.6.5).

use super::CONTROL_QUEUE;
use crate::virtio::{DescriptorChain, DeviceError};

const OK: u8 = 0;
const ERROR: u8 = 1;

/// Which frames the driver wants: all, all multicasts, …
const CLASS_RECEIVE: u8 = 0;
/// Which addresses the driver wants.
const CLASS_ADDRESS: u8 = 1;
/// The last of the receive commands.
const NO_BROADCAST: u8 = 5;
/// A list of addresses.
const ADDRESS_TABLE: u8 = 0;

/// Carries a command out and answers it; the number of bytes written.
///
/// There is one sender at the other end of the cable, which sends nothing that a filter would hold back, so
/// that filters are accepted and change nothing.
///
/// # Errors
/// When the chain has no room for a command or an answer.
pub(super) fn execute(chain: &DescriptorChain) -> Result<u32, DeviceError> {
    if chain.readable_bytes() < 2 || chain.writable_bytes() < 1 {
        let problem = "has no room for a command and its answer";
        return Err(DeviceError::Request { queue: CONTROL_QUEUE, head: chain.head(), problem });
    }
    let mut command = [0; 2];
    chain.read(0, &mut command).map_err(DeviceError::in_queue(CONTROL_QUEUE))?;
    let answer = match command {
        [CLASS_RECEIVE, 0..=NO_BROADCAST] | [CLASS_ADDRESS, ADDRESS_TABLE] => OK,
        _ => ERROR,
    };
    chain.write(0, &[answer]).map_err(DeviceError::in_queue(CONTROL_QUEUE))?;
    Ok(1)
}
