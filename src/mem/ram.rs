//! RAM: one contiguous range from guest-physical address zero.

use super::absent::AbsentPages;
use super::{GuestPhysAddr, PAGE_SIZE};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// An access that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// It does not lie wholly in RAM.
    #[error("{length} bytes at {address:?} lie outside {ram_size} bytes of RAM")]
    Outside {
        /// First byte of the access.
        address: GuestPhysAddr,
        /// Bytes of the access.
        length: u64,
        /// Size of RAM in bytes.
        ram_size: u64,
    },
    /// Its page could not be brought ([`GuestMemory::lost`]).
    #[error("the memory at {address:?} is lost")]
    Lost {
        /// First byte of the access.
        address: GuestPhysAddr,
    },
}

/// A device's write into a page that holds translated code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeWrite {
    /// First byte written.
    pub address: GuestPhysAddr,
    /// Bytes written.
    pub length: u64,
}

/// The guest's RAM. Clones share it.
///
/// Threads of one machine read and write it without locks, as a real machine's agents do; the guest
/// orders its accesses with the barriers of its drivers.
#[derive(Clone)]
pub struct GuestMemory {
    inner: Arc<Inner>,
}

struct Inner {
    backing: Backing,
    /// One byte a page: whether translated code came from it.
    holds_code: Box<[AtomicU8]>,
    has_code_writes: AtomicBool,
    code_writes: Mutex<Vec<CodeWrite>>,
    absent: AbsentPages,
}

/// A reservation of address space that begins at a multiple of 4 GiB, RAM at its start. The low 32 bits of a
/// host address within it are the offset there: what generated code, whose addresses have 32 bits, goes by.
#[cfg(not(target_arch = "wasm32"))]
struct Backing {
    region: vm_memory::MmapRegion,
    reservation: (*mut core::ffi::c_void, usize),
    /// Bytes of the arena that are taken, RAM included.
    taken: Mutex<usize>,
}

#[cfg(not(target_arch = "wasm32"))]
impl Backing {
    fn allocate(size: usize) -> Option<Self> {
        use rustix::mm::{MapFlags, ProtFlags};
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        let reserved = 2 * ARENA_BYTES;
        if size > ARENA_BYTES {
            return None;
        }
        // SAFETY: a new anonymous mapping at an address of the host's choice.
        let start =
            unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), reserved, protection, flags) }.ok()?;
        let base = start.cast::<u8>().wrapping_add((start as usize).wrapping_neg() & (ARENA_BYTES - 1));
        // SAFETY: the range lies in the mapping, which lives as long as the region.
        let region = unsafe {
            vm_memory::MmapRegion::build_raw(
                base,
                size,
                protection.bits() as i32,
                MapFlags::PRIVATE.bits() as i32,
            )
        };
        // From here on dropping the backing gives the reservation back.
        let region = region.ok()?;
        Some(Self { region, reservation: (start, reserved), taken: Mutex::new(size) })
    }

    fn base(&self) -> *mut u8 {
        self.region.as_ptr()
    }

    fn size(&self) -> usize {
        self.region.size()
    }

    /// Takes `layout` from the arena behind RAM; `None` when it is full.
    fn take(&self, layout: std::alloc::Layout) -> Option<*mut u8> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let offset = taken.checked_next_multiple_of(layout.align().max(64))?;
        let end = offset.checked_add(layout.size())?;
        if end > ARENA_BYTES {
            return None;
        }
        *taken = end;
        Some(self.base().wrapping_add(offset))
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Drop for Backing {
    fn drop(&mut self) {
        // SAFETY: the mapping is this backing's own, and nothing that refers to it outlives `Inner`.
        if let Err(error) = unsafe { rustix::mm::munmap(self.reservation.0, self.reservation.1) } {
            log::error!("guest memory cannot be given back: {error}");
        }
    }
}

/// The reach of generated code's addresses.
#[cfg(not(target_arch = "wasm32"))]
const ARENA_BYTES: usize = 1 << 32;

/// Pages taken from the end of the wasm memory. They are not given back: a wasm memory cannot shrink.
#[cfg(target_arch = "wasm32")]
struct Backing {
    base: usize,
    size: usize,
}

#[cfg(target_arch = "wasm32")]
impl Backing {
    fn allocate(size: usize) -> Option<Self> {
        const WASM_PAGE: usize = 65536;
        // Rust's allocator refuses objects above 2 GiB on a 32-bit target; memory.grow does not.
        let first = core::arch::wasm32::memory_grow::<0>(size.div_ceil(WASM_PAGE));
        (first != usize::MAX).then(|| Self { base: first * WASM_PAGE, size })
    }

    fn base(&self) -> *mut u8 {
        self.base as *mut u8
    }

    fn size(&self) -> usize {
        self.size
    }
}

// SAFETY: the backing is plain memory that lives as long as `Inner`; all access goes through raw
// pointers, never through references that outlive a call.
unsafe impl Send for Inner {}
// SAFETY: as above; concurrent access is what guest memory is for.
unsafe impl Sync for Inner {}

impl GuestMemory {
    /// Allocates `size` bytes of zeroed RAM (a multiple of 4 KiB); `None` when the host has too little.
    pub fn new(size: u64) -> Option<Self> {
        if size == 0 || !size.is_multiple_of(PAGE_SIZE) {
            return None;
        }
        let backing = Backing::allocate(usize::try_from(size).ok()?)?;
        let holds_code = (0..size / PAGE_SIZE).map(|_| AtomicU8::new(0)).collect();
        Some(Self {
            inner: Arc::new(Inner {
                backing,
                holds_code,
                has_code_writes: AtomicBool::new(false),
                code_writes: Mutex::new(Vec::new()),
                absent: AbsentPages::default(),
            }),
        })
    }

    /// Size of RAM in bytes.
    pub fn size(&self) -> u64 {
        self.inner.backing.size() as u64
    }

    /// The host address of guest-physical address zero. RAM is contiguous from there.
    pub fn host_base(&self) -> *mut u8 {
        self.inner.backing.base()
    }

    /// Puts a value where generated code can reach it.
    ///
    /// # Panics
    /// When 4 GiB hold no more beside RAM: a machine's few values take some 1 MiB.
    pub fn place<T>(&self, value: T) -> Addressable<T> {
        Addressable::new(self, value)
    }

    /// An array of `N` copies of a value where generated code can address it, never on the stack.
    ///
    /// # Panics
    /// As [`place`](Self::place).
    pub fn place_array<T: Copy, const N: usize>(&self, value: T) -> Addressable<[T; N]> {
        Addressable::array(self, value)
    }

    /// The native view of RAM for code written against `vm-memory`.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn region(&self) -> &vm_memory::MmapRegion {
        &self.inner.backing.region
    }

    fn host_range(&self, address: GuestPhysAddr, length: usize) -> Result<*mut u8, MemoryError> {
        let ram_size = self.size();
        match address.0.checked_add(length as u64) {
            Some(end) if end <= ram_size => Ok(self.host_base().wrapping_add(address.0 as usize)),
            _ => Err(MemoryError::Outside { address, length: length as u64, ram_size }),
        }
    }

    pub(super) fn absent(&self) -> &AbsentPages {
        &self.inner.absent
    }

    /// As [`host_range`](Self::host_range), with all of its pages there.
    fn present_range(&self, address: GuestPhysAddr, length: usize) -> Result<*mut u8, MemoryError> {
        let range = self.host_range(address, length)?;
        if !self.is_whole() && length != 0 {
            let last = GuestPhysAddr(address.0 + length as u64 - 1).page();
            if !self.bring_pages(address.page()..last + 1) {
                return Err(MemoryError::Lost { address });
            }
        }
        Ok(range)
    }

    /// Whether the whole range lies in RAM.
    pub fn contains(&self, address: GuestPhysAddr, length: u64) -> bool {
        address.0.checked_add(length).is_some_and(|end| end <= self.size())
    }

    /// Copies guest memory into `buffer`.
    pub fn read(&self, address: GuestPhysAddr, buffer: &mut [u8]) -> Result<(), MemoryError> {
        let source = self.present_range(address, buffer.len())?;
        // SAFETY: `present_range` checked that the source lies in RAM; `buffer` is not part of RAM,
        // because no reference into RAM is ever handed out.
        unsafe { source.copy_to_nonoverlapping(buffer.as_mut_ptr(), buffer.len()) };
        Ok(())
    }

    /// Copies `data` into guest memory, on behalf of a device or a loader.
    ///
    /// A write into pages that hold translated code is noted for the vCPUs
    /// ([`take_code_writes`](Self::take_code_writes)).
    pub fn write(&self, address: GuestPhysAddr, data: &[u8]) -> Result<(), MemoryError> {
        let target = self.present_range(address, data.len())?;
        // SAFETY: as in `read`.
        unsafe { target.copy_from_nonoverlapping(data.as_ptr(), data.len()) };
        self.note_write(address, data.len() as u64);
        Ok(())
    }

    /// Copies the bytes of absent pages into memory, before they [arrive](Self::pages_arrived). No translated code
    /// can have come from them.
    ///
    /// # Errors
    /// When they do not lie in RAM.
    pub fn place_absent(&self, address: GuestPhysAddr, data: &[u8]) -> Result<(), MemoryError> {
        let target = self.host_range(address, data.len())?;
        // SAFETY: as in `read`.
        unsafe { target.copy_from_nonoverlapping(data.as_ptr(), data.len()) };
        Ok(())
    }

    fn note_write(&self, address: GuestPhysAddr, length: u64) {
        if length == 0 {
            return;
        }
        let last = GuestPhysAddr(address.0 + length - 1).page();
        if (address.page()..=last).any(|page| self.page_holds_code(page)) {
            self.inner
                .code_writes
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(CodeWrite { address, length });
            self.inner.has_code_writes.store(true, Ordering::Release);
        }
    }

    /// Reads a little-endian integer of `N` bytes.
    pub fn read_array<const N: usize>(&self, address: GuestPhysAddr) -> Result<[u8; N], MemoryError> {
        let mut bytes = [0; N];
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads one byte.
    pub fn read_u8(&self, address: GuestPhysAddr) -> Result<u8, MemoryError> {
        self.read_array::<1>(address).map(u8::from_le_bytes)
    }

    /// Reads a little-endian 16-bit integer.
    pub fn read_u16(&self, address: GuestPhysAddr) -> Result<u16, MemoryError> {
        self.read_array(address).map(u16::from_le_bytes)
    }

    /// Reads a little-endian 32-bit integer.
    pub fn read_u32(&self, address: GuestPhysAddr) -> Result<u32, MemoryError> {
        self.read_array(address).map(u32::from_le_bytes)
    }

    /// Reads a little-endian 64-bit integer.
    pub fn read_u64(&self, address: GuestPhysAddr) -> Result<u64, MemoryError> {
        self.read_array(address).map(u64::from_le_bytes)
    }

    /// Marks a page as holding translated code, or not.
    pub fn set_page_holds_code(&self, page: u64, holds_code: bool) {
        if let Some(entry) = self.inner.holds_code.get(page as usize) {
            entry.store(u8::from(holds_code), Ordering::Release);
        }
    }

    /// Whether translated code came from the page.
    pub fn page_holds_code(&self, page: u64) -> bool {
        self.inner.holds_code.get(page as usize).is_some_and(|entry| entry.load(Ordering::Acquire) != 0)
    }

    /// Whether devices have written into code pages since the last [`take_code_writes`](Self::take_code_writes).
    pub fn has_code_writes(&self) -> bool {
        self.inner.has_code_writes.load(Ordering::Acquire)
    }

    /// The device writes into code pages since the last call.
    pub fn take_code_writes(&self) -> Vec<CodeWrite> {
        if !self.inner.has_code_writes.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        std::mem::take(&mut *self.inner.code_writes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A value that generated code can address by the low 32 bits of its address. Owned as a box is.
pub struct Addressable<T> {
    #[cfg(target_arch = "wasm32")]
    value: Box<T>,
    #[cfg(not(target_arch = "wasm32"))]
    value: std::ptr::NonNull<T>,
    /// Keeps the arena.
    #[cfg(not(target_arch = "wasm32"))]
    _memory: GuestMemory,
}

#[cfg(target_arch = "wasm32")]
impl<T> Addressable<T> {
    fn new(_: &GuestMemory, value: T) -> Self {
        Self { value: Box::new(value) }
    }
}

#[cfg(target_arch = "wasm32")]
impl<T: Copy, const N: usize> Addressable<[T; N]> {
    #[expect(clippy::expect_used, reason = "the length is the array's")]
    fn array(_: &GuestMemory, value: T) -> Self {
        let values = vec![value; N].into_boxed_slice();
        Self { value: values.try_into().ok().expect("as many values as the array has") }
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl<T> Addressable<T> {
    fn new(memory: &GuestMemory, value: T) -> Self {
        let value_at = Self::place(memory);
        // SAFETY: the place is writable, aligned, large enough, and nobody else's.
        unsafe { value_at.write(value) };
        Self { value: value_at, _memory: memory.clone() }
    }

    #[expect(clippy::expect_used, reason = "how much is placed does not depend on the guest")]
    fn place(memory: &GuestMemory) -> std::ptr::NonNull<T> {
        let place = memory.inner.backing.take(std::alloc::Layout::new::<T>());
        let pointer = place.and_then(|place| std::ptr::NonNull::new(place.cast::<T>()));
        pointer.expect("the arena has room beside RAM")
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl<T: Copy, const N: usize> Addressable<[T; N]> {
    fn array(memory: &GuestMemory, value: T) -> Self {
        let place = Self::place(memory);
        for number in 0..N {
            // SAFETY: as in `new`, for each of the array's values.
            unsafe { place.cast::<T>().add(number).write(value) };
        }
        Self { value: place, _memory: memory.clone() }
    }
}

// SAFETY: it owns the value, as a box does.
#[cfg(not(target_arch = "wasm32"))]
unsafe impl<T: Send> Send for Addressable<T> {}
// SAFETY: as above.
#[cfg(not(target_arch = "wasm32"))]
unsafe impl<T: Sync> Sync for Addressable<T> {}

impl<T> std::ops::Deref for Addressable<T> {
    type Target = T;

    #[cfg(target_arch = "wasm32")]
    #[inline(always)]
    fn deref(&self) -> &T {
        &self.value
    }

    #[cfg(not(target_arch = "wasm32"))]
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the value was written at construction and is dropped with `self`.
        unsafe { self.value.as_ref() }
    }
}

impl<T> std::ops::DerefMut for Addressable<T> {
    #[cfg(target_arch = "wasm32")]
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }

    #[cfg(not(target_arch = "wasm32"))]
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; `self` is borrowed mutably.
        unsafe { self.value.as_mut() }
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl<T> Drop for Addressable<T> {
    fn drop(&mut self) {
        // SAFETY: the value is live and not used again.
        unsafe { self.value.drop_in_place() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_outside_ram_are_refused() {
        let memory = GuestMemory::new(2 * PAGE_SIZE).unwrap();
        assert!(memory.read_u32(GuestPhysAddr(2 * PAGE_SIZE - 4)).is_ok());
        assert!(memory.read_u32(GuestPhysAddr(2 * PAGE_SIZE - 3)).is_err());
        assert!(memory.write(GuestPhysAddr(u64::MAX), &[0]).is_err());
    }

    #[test]
    fn device_writes_into_code_pages_are_noted_once() {
        let memory = GuestMemory::new(4 * PAGE_SIZE).unwrap();
        memory.set_page_holds_code(2, true);
        memory.write(GuestPhysAddr(PAGE_SIZE), &[1]).unwrap();
        assert!(memory.take_code_writes().is_empty());
        memory.write(GuestPhysAddr(2 * PAGE_SIZE - 1), &[1, 2]).unwrap();
        let expected = CodeWrite { address: GuestPhysAddr(2 * PAGE_SIZE - 1), length: 2 };
        assert_eq!(memory.take_code_writes(), [expected]);
        assert!(memory.take_code_writes().is_empty());
    }
}
