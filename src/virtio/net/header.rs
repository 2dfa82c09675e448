//! The header in front of every frame (virtio 1.2 §5.1.6).

use crate::host::{Offload, PartialChecksum, Segmentation};

/// Bytes of the header.
pub(super) const HEADER_BYTES: usize = 12;

/// The checksum is left to the receiver.
const NEEDS_CHECKSUM: u8 = 1;
const SEGMENT_NONE: u8 = 0;
const SEGMENT_TCP4: u8 = 1;
/// A mark that is added to the kinds of segmentation for congestion notification.
const SEGMENT_ECN: u8 = 0x80;

/// What a driver left to the device in a frame; `None` when it is nothing that we know.
pub(super) fn parse(header: [u8; HEADER_BYTES]) -> Option<Offload> {
    let [flags, kind, length, length_high, size, size_high, start, start_high, offset, offset_high, _, _] =
        header;
    let checksum = (flags & NEEDS_CHECKSUM != 0).then_some(PartialChecksum {
        start: u16::from_le_bytes([start, start_high]),
        offset: u16::from_le_bytes([offset, offset_high]),
    });
    let segment = match kind & !SEGMENT_ECN {
        SEGMENT_NONE => None,
        SEGMENT_TCP4 => Some(Segmentation {
            header_bytes: u16::from_le_bytes([length, length_high]),
            payload_bytes: u16::from_le_bytes([size, size_high]),
        }),
        _ => return None,
    };
    Some(Offload { checksum, segment })
}

/// The header of a frame for the driver, which lies in `buffers` of its buffers.
pub(super) fn structure(offload: Offload, buffers: u16) -> [u8; HEADER_BYTES] {
    let flags = if offload.checksum.is_some() { NEEDS_CHECKSUM } else { 0 };
    let kind = if offload.segment.is_some() { SEGMENT_TCP4 } else { SEGMENT_NONE };
    let (length, size) =
        offload.segment.map_or((0, 0), |segment| (segment.header_bytes, segment.payload_bytes));
    let (start, offset) = offload.checksum.map_or((0, 0), |checksum| (checksum.start, checksum.offset));
    let mut bytes = [0; HEADER_BYTES];
    let words = [u16::from_le_bytes([flags, kind]), length, size, start, offset, buffers];
    for (place, word) in bytes.chunks_exact_mut(2).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}
