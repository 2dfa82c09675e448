//! The memory that a vector sees, and the page tables that show it.
//!
//! Linear addresses are the vector's own; frames are taken one after the other, which nothing in the vector can
//! tell from an identity map. The tables that the processor needs lie high up, for privileged code only.

use crate::vector::{Vector, VectorError};
use dinghy::mem::{GuestMemory, GuestPhysAddr};
use std::collections::BTreeMap;

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Where the processor's own tables are.
pub const SYSTEM_BASE: u64 = 0xffff_fe00_0000_0000;
/// Pages there.
pub const SYSTEM_PAGES: u64 = 4;
/// All that a vector can have.
const MOST_BYTES: u64 = 1 << 30;

const PRESENT_WRITABLE: u64 = 3;
const USER: u64 = 4;

/// Memory with page tables.
pub struct Pages {
    /// RAM.
    pub memory: GuestMemory,
    /// The root of the page tables.
    pub cr3: u64,
    frames: BTreeMap<u64, u64>,
}

impl Pages {
    /// Maps the pages of a vector's regions and code, and those of the system.
    ///
    /// # Errors
    /// When there are too many, or at addresses that cannot be mapped.
    pub fn of(vector: &Vector) -> Result<Self, VectorError> {
        let code = (vector.load, crate::hex::Word(vector.code.0.len() as u64));
        let mut pages = BTreeMap::new();
        let mut total = 0;
        for (address, length) in vector.regions.iter().chain([&code]).map(|region| (region.0.0, region.1.0)) {
            if length == 0 {
                continue;
            }
            total += length.min(MOST_BYTES + 1);
            if total > MOST_BYTES {
                return Err(VectorError::TooLarge(MOST_BYTES));
            }
            let unmappable = VectorError::Unmappable { address, length };
            let last = address.checked_add(length - 1).ok_or(unmappable.clone())?;
            let is_canonical = |address: u64| (address as i64) << 16 >> 16 == address as i64;
            let is_system = address < SYSTEM_BASE + SYSTEM_PAGES * PAGE && last >= SYSTEM_BASE;
            if !is_canonical(address) || !is_canonical(last) || (address ^ last) >> 63 != 0 || is_system {
                return Err(unmappable);
            }
            for page in address / PAGE..=last / PAGE {
                pages.insert(page, USER);
            }
        }
        for page in 0..SYSTEM_PAGES {
            pages.insert(SYSTEM_BASE / PAGE + page, 0);
        }
        Self::map(&pages)
    }

    fn map(pages: &BTreeMap<u64, u64>) -> Result<Self, VectorError> {
        // Tables by their level and the upper bits of the page numbers that they serve.
        let mut tables = BTreeMap::new();
        let mut next = PAGE;
        let mut frame = || {
            let frame = next;
            next += PAGE;
            frame
        };
        let root = frame();
        let mut entries = Vec::new();
        let mut frames = BTreeMap::new();
        for (&page, &user) in pages {
            let mut table = root;
            for level in (1..4).rev() {
                let prefix = page >> (9 * level);
                let below = *tables.entry((level, prefix)).or_insert_with(&mut frame);
                entries.push((table + (prefix & 511) * 8, below | PRESENT_WRITABLE | USER));
                table = below;
            }
            let place = frame();
            entries.push((table + (page & 511) * 8, place | PRESENT_WRITABLE | user));
            frames.insert(page, place);
        }
        let memory = GuestMemory::new(next.max(1 << 20)).ok_or(VectorError::OutOfMemory)?;
        for (address, entry) in entries {
            memory
                .write(GuestPhysAddr(address), &entry.to_le_bytes())
                .map_err(|_| VectorError::OutOfMemory)?;
        }
        Ok(Self { memory, cr3: root, frames })
    }

    /// The parts of a range of addresses, page by page: place in RAM and length. `None` outside of what is mapped.
    fn parts(&self, address: u64, length: usize) -> Option<Vec<(u64, usize)>> {
        let mut parts = Vec::new();
        let mut at = address;
        let mut left = length;
        while left > 0 {
            let frame = self.frames.get(&(at / PAGE))?;
            let part = left.min((PAGE - at % PAGE) as usize);
            parts.push((frame + at % PAGE, part));
            left -= part;
            at = at.checked_add(part as u64).or((left == 0).then_some(0))?;
        }
        Some(parts)
    }

    /// Writes to linear addresses.
    ///
    /// # Errors
    /// When some of them are not mapped.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), VectorError> {
        let outside = VectorError::DataOutside(address);
        let mut rest = bytes;
        for (place, length) in self.parts(address, bytes.len()).ok_or(outside.clone())? {
            let (part, behind) = rest.split_at(length);
            self.memory.write(GuestPhysAddr(place), part).map_err(|_| outside.clone())?;
            rest = behind;
        }
        Ok(())
    }

    /// Reads linear addresses.
    ///
    /// # Errors
    /// When some of them are not mapped.
    pub fn read(&self, address: u64, length: usize) -> Result<Vec<u8>, VectorError> {
        let outside = VectorError::DataOutside(address);
        let mut bytes = vec![0; length];
        let mut rest = bytes.as_mut_slice();
        for (place, length) in self.parts(address, length).ok_or(outside.clone())? {
            let (part, behind) = rest.split_at_mut(length);
            self.memory.read(GuestPhysAddr(place), part).map_err(|_| outside.clone())?;
            rest = behind;
        }
        Ok(bytes)
    }
}
