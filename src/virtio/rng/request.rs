//! One request: buffers to fill (virtio 1.2 §5.4.6).

use crate::host::Entropy;
use crate::virtio::{DescriptorChain, DeviceError};

/// Most bytes given for one request. The device may give fewer than asked for (§5.4.6.1), and a
/// guest must not be able to hold the vCPU with one huge buffer.
const BYTES_MAX: u64 = 4096;

/// Fills `chain` and returns the number of bytes written, at least one.
///
/// # Errors
/// When the chain has buffers to read, or none to write.
pub(super) fn fill(
    chain: &DescriptorChain,
    source: &mut dyn Entropy,
    queue: u16,
) -> Result<u32, DeviceError> {
    let malformed = |problem| DeviceError::Request { queue, head: chain.head(), problem };
    if chain.readable_bytes() != 0 {
        return Err(malformed("has readable buffers"));
    }
    let length = chain.writable_bytes().min(BYTES_MAX) as usize;
    if length == 0 {
        return Err(malformed("has no writable bytes"));
    }
    let mut bytes = [0; BYTES_MAX as usize];
    let bytes = bytes.get_mut(..length).unwrap_or_default();
    source.fill(bytes);
    chain.write(0, bytes).map_err(DeviceError::in_queue(queue))?;
    Ok(length as u32)
}
