//! The configuration structure (virtio 1.2 §5.2.4).

use super::QUEUE_SIZE;

/// Most data segments of a request: what remains of a full queue beside header and status.
const SEGMENTS_MAX: u32 = QUEUE_SIZE as u32 - 2;
/// The logical block, in bytes.
const BLOCK_BYTES: u32 = 512;
/// Sources work best in units of 4 KiB: eight logical blocks to a physical one.
const PHYSICAL_BLOCK_EXPONENT: u8 = 3;
/// Preferred transfer in logical blocks: 256 KiB, the size of a chunk of an image.
const OPTIMAL_BLOCKS: u32 = 512;

/// Most sectors of one discard or write-zeroes segment: 1 GiB.
pub(super) const RANGE_SECTORS_MAX: u32 = 1 << 21;
/// Most segments of one discard or write-zeroes request.
pub(super) const RANGES_MAX: u32 = 16;

/// The structure for a disk of `capacity` sectors.
pub(super) fn structure(capacity: u64) -> [u8; 60] {
    let mut bytes = [0; 60];
    let mut put = |at: usize, value: &[u8]| {
        for (byte, value) in bytes.iter_mut().skip(at).zip(value) {
            *byte = *value;
        }
    };
    put(0, &capacity.to_le_bytes());
    put(12, &SEGMENTS_MAX.to_le_bytes());
    put(20, &BLOCK_BYTES.to_le_bytes());
    put(24, &[PHYSICAL_BLOCK_EXPONENT, 0]);
    put(26, &(1u16 << PHYSICAL_BLOCK_EXPONENT).to_le_bytes());
    put(28, &OPTIMAL_BLOCKS.to_le_bytes());
    // num_queues, read only with VIRTIO_BLK_F_MQ.
    put(34, &1u16.to_le_bytes());
    put(36, &RANGE_SECTORS_MAX.to_le_bytes());
    put(40, &RANGES_MAX.to_le_bytes());
    put(44, &(1u32 << PHYSICAL_BLOCK_EXPONENT).to_le_bytes());
    put(48, &RANGE_SECTORS_MAX.to_le_bytes());
    put(52, &RANGES_MAX.to_le_bytes());
    // write_zeroes_may_unmap: zeroes are made by discarding.
    put(56, &[1]);
    bytes
}
