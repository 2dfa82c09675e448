//! Descriptor chains: what the guest lends the device for one request (virtio 1.2 §2.7.5).

use super::queue::QueueError;
use crate::mem::{GuestMemory, GuestPhysAddr};

/// Bytes of a descriptor.
pub(super) const DESCRIPTOR_BYTES: u64 = 16;

/// Most segments that one chain may have through an indirect table. The specification allows the
/// queue size; Linux goes beyond it for large transfers, and other devices stop at the same figure.
const MAX_SEGMENTS: usize = 1024;

/// Most bytes that one chain may have (virtio 1.2 §2.7.5.2).
const MAX_BYTES: u64 = 1 << 32;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// A contiguous part of guest RAM. It was checked to lie in RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// First byte.
    pub address: GuestPhysAddr,
    /// Bytes.
    pub length: u32,
}

struct Descriptor {
    address: u64,
    length: u32,
    flags: u16,
    next: u16,
}

impl Descriptor {
    fn load(memory: &GuestMemory, table: GuestPhysAddr, index: u16) -> Result<Self, QueueError> {
        let offset = u64::from(index) * DESCRIPTOR_BYTES;
        let address = table.0.checked_add(offset).ok_or(QueueError::Wrapped { address: table })?;
        let value = u128::from_le_bytes(memory.read_array(GuestPhysAddr(address))?);
        Ok(Self {
            address: value as u64,
            length: (value >> 64) as u32,
            flags: (value >> 96) as u16,
            next: (value >> 112) as u16,
        })
    }
}

/// One request's buffers: first those that the device reads, then those that it writes.
#[derive(Clone)]
pub struct DescriptorChain {
    memory: GuestMemory,
    head: u16,
    segments: Vec<Segment>,
    readable_segments: usize,
    readable_bytes: u64,
    writable_bytes: u64,
}

impl std::fmt::Debug for DescriptorChain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DescriptorChain")
            .field("head", &self.head)
            .field("readable", &self.readable())
            .field("writable", &self.writable())
            .finish()
    }
}

impl DescriptorChain {
    /// Walks the chain that starts at `head` of `table`, which has `size` descriptors.
    ///
    /// # Errors
    /// When the chain loops, leaves its table or RAM, is longer than the specification allows, or
    /// has a readable buffer after a writable one.
    pub(super) fn load(
        memory: &GuestMemory,
        table: GuestPhysAddr,
        size: u16,
        head: u16,
    ) -> Result<Self, QueueError> {
        let mut chain = Self {
            memory: memory.clone(),
            head,
            segments: Vec::new(),
            readable_segments: 0,
            readable_bytes: 0,
            writable_bytes: 0,
        };
        let (mut table, mut size, mut index) = (table, u32::from(size), head);
        let mut is_indirect = false;
        let mut steps = 0;
        loop {
            if u32::from(index) >= size {
                return Err(QueueError::IndexOutOfTable { index, size });
            }
            // A chain without a loop visits each descriptor of its table at most once.
            steps += 1;
            if steps > size || chain.segments.len() >= MAX_SEGMENTS {
                return Err(QueueError::ChainTooLong { head });
            }
            let descriptor = Descriptor::load(memory, table, index)?;
            if descriptor.flags & INDIRECT != 0 {
                if is_indirect || descriptor.flags & NEXT != 0 {
                    return Err(QueueError::MisplacedIndirect { index });
                }
                let length = descriptor.length;
                if length == 0 || u64::from(length) % DESCRIPTOR_BYTES != 0 {
                    return Err(QueueError::IndirectLength { length });
                }
                table = GuestPhysAddr(descriptor.address);
                size = length / DESCRIPTOR_BYTES as u32;
                index = 0;
                steps = 0;
                is_indirect = true;
                continue;
            }
            chain.append(&descriptor)?;
            if descriptor.flags & NEXT == 0 {
                return Ok(chain);
            }
            index = descriptor.next;
        }
    }

    fn append(&mut self, descriptor: &Descriptor) -> Result<(), QueueError> {
        let segment = Segment { address: GuestPhysAddr(descriptor.address), length: descriptor.length };
        let length = u64::from(segment.length);
        if !self.memory.contains(segment.address, length) {
            return Err(QueueError::BufferOutsideRam { address: segment.address, length: segment.length });
        }
        if descriptor.flags & WRITE != 0 {
            self.writable_bytes += length;
        } else if self.segments.len() > self.readable_segments {
            return Err(QueueError::ReadableAfterWritable { head: self.head });
        } else {
            self.readable_segments += 1;
            self.readable_bytes += length;
        }
        if self.readable_bytes + self.writable_bytes > MAX_BYTES {
            return Err(QueueError::ChainTooLong { head: self.head });
        }
        self.segments.push(segment);
        Ok(())
    }

    /// Index of the first descriptor, by which the chain is given back.
    pub fn head(&self) -> u16 {
        self.head
    }

    /// Bytes in the buffers that the device reads.
    pub fn readable_bytes(&self) -> u64 {
        self.readable_bytes
    }

    /// Bytes in the buffers that the device writes.
    pub fn writable_bytes(&self) -> u64 {
        self.writable_bytes
    }

    /// The buffers that the device reads, in order.
    pub fn readable(&self) -> &[Segment] {
        self.segments.get(..self.readable_segments).unwrap_or_default()
    }

    /// The buffers that the device writes, in order.
    pub fn writable(&self) -> &[Segment] {
        self.segments.get(self.readable_segments..).unwrap_or_default()
    }

    /// Copies what the guest wrote, from `offset` bytes into the readable buffers.
    ///
    /// # Errors
    /// When the readable buffers end before `buffer` is full.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), QueueError> {
        let mut rest = buffer;
        for (address, length) in pieces(self.readable(), offset) {
            let (piece, after) = rest.split_at_mut(length.min(rest.len()));
            self.memory.read(address, piece)?;
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        if rest.is_empty() { Ok(()) } else { Err(self.too_short(offset)) }
    }

    /// Copies `data` to the guest, from `offset` bytes into the writable buffers.
    ///
    /// # Errors
    /// When the writable buffers end before all of `data` is stored.
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<(), QueueError> {
        let mut rest = data;
        for (address, length) in pieces(self.writable(), offset) {
            let (piece, after) = rest.split_at(length.min(rest.len()));
            self.memory.write(address, piece)?;
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        if rest.is_empty() { Ok(()) } else { Err(self.too_short(offset)) }
    }

    fn too_short(&self, offset: u64) -> QueueError {
        QueueError::ChainTooShort { head: self.head, offset }
    }
}

/// The parts of `segments` from `offset` bytes on.
fn pieces(segments: &[Segment], offset: u64) -> impl Iterator<Item = (GuestPhysAddr, usize)> + '_ {
    let mut skip = offset;
    segments.iter().filter_map(move |segment| {
        let length = u64::from(segment.length);
        let skipped = skip.min(length);
        skip -= skipped;
        (skipped < length).then(|| (GuestPhysAddr(segment.address.0 + skipped), (length - skipped) as usize))
    })
}
