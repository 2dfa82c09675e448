//! Buffers of the receive and transmit queues (virtio 1.2 §5.3.6).

use crate::host::ConsoleOutput;
use crate::virtio::{DescriptorChain, DeviceError, QueueError};
use std::collections::VecDeque;

/// Bytes copied at a time.
const PIECE_BYTES: usize = 4096;

/// Moves as much of `input` into `chain` as fits and returns the number of bytes.
///
/// # Errors
/// When the chain has nothing to write into; input is never dropped into such a buffer.
pub(super) fn receive(
    chain: &DescriptorChain,
    input: &mut VecDeque<u8>,
    queue: u16,
) -> Result<u32, DeviceError> {
    if chain.writable_bytes() == 0 {
        let problem = "has no writable bytes";
        return Err(DeviceError::Request { queue, head: chain.head(), problem });
    }
    let length = chain.writable_bytes().min(input.len() as u64).min(u32::MAX.into()) as usize;
    let mut written = 0u64;
    let mut bytes = input.drain(..length);
    loop {
        let piece: Vec<u8> = bytes.by_ref().take(PIECE_BYTES).collect();
        if piece.is_empty() {
            return Ok(written as u32);
        }
        chain.write(written, &piece).map_err(DeviceError::in_queue(queue))?;
        written += piece.len() as u64;
    }
}

/// Prints what `chain` holds.
///
/// # Errors
/// When the guest's buffers cannot be read.
pub(super) fn transmit(chain: &DescriptorChain, output: &mut dyn ConsoleOutput) -> Result<(), QueueError> {
    let mut buffer = [0; PIECE_BYTES];
    let mut printed = 0;
    while printed < chain.readable_bytes() {
        let length = (chain.readable_bytes() - printed).min(PIECE_BYTES as u64) as usize;
        let piece = buffer.get_mut(..length).unwrap_or_default();
        chain.read(printed, piece)?;
        output.write(piece);
        printed += length as u64;
    }
    Ok(())
}
