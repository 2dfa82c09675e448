//! The configuration structure (virtio 1.2 §5.1.4).

/// The cable is plugged in.
const LINK_UP: u16 = 1;

/// The structure: address, status, one pair of queues.
pub(super) fn structure(address: [u8; 6]) -> [u8; 10] {
    let [a, b, c, d, e, f] = address;
    let [status, status_high] = LINK_UP.to_le_bytes();
    let [pairs, pairs_high] = 1u16.to_le_bytes();
    [a, b, c, d, e, f, status, status_high, pairs, pairs_high]
}
