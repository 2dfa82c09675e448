//! Accesses to linear addresses: the fast path through the TLB, and everything else.

use super::is_canonical;
use super::mmu::{Access, Privilege};
use crate::cpu::{Exception, Vcpu};
use crate::mem::{GuestPhysAddr, PAGE_SIZE};

const PAGE_MASK: u64 = !(PAGE_SIZE - 1);

macro_rules! reads {
    ($($(#[$doc:meta])* $name:ident, $type:ty;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// #PF, #GP(0) for an address that is not canonical, #AC.
        #[inline(always)]
        pub fn $name(&mut self, address: u64) -> Result<$type, Exception> {
            if let Some(pointer) = self.readable_pointer(address, size_of::<$type>() as u64) {
                // SAFETY: the TLB's entry says that these bytes of the page are RAM.
                return Ok(<$type>::from_le(unsafe { pointer.cast::<$type>().read_unaligned() }));
            }
            self.load_slow(address, size_of::<$type>() as u64, self.privilege()).map(|value| value as $type)
        }
    )*};
}

macro_rules! writes {
    ($($(#[$doc:meta])* $name:ident, $type:ty;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// As a read; nothing is written then.
        #[inline(always)]
        pub fn $name(&mut self, address: u64, value: $type) -> Result<(), Exception> {
            if let Some(pointer) = self.writable_pointer(address, size_of::<$type>() as u64) {
                // SAFETY: the TLB's entry says that these bytes of the page are RAM, and hold no code.
                unsafe { pointer.cast::<$type>().write_unaligned(value.to_le()) };
                return Ok(());
            }
            self.store_slow(address, size_of::<$type>() as u64, value as u64, self.privilege())
        }
    )*};
}

impl Vcpu {
    /// The host address of `bytes` bytes that the current privilege can read, when the TLB has them in
    /// one page of RAM.
    #[inline(always)]
    pub fn readable_pointer(&self, address: u64, bytes: u64) -> Option<*mut u8> {
        let entry = self.tlbs[self.tlb_in_force].entry(address);
        // The last byte's page is compared: an access that crosses into the next page never matches.
        let is_hit = address.wrapping_add(bytes - 1) & PAGE_MASK == entry.read_tag;
        is_hit.then(|| address.wrapping_add(entry.addend) as usize as *mut u8)
    }

    /// As [`readable_pointer`](Self::readable_pointer), for stores.
    #[inline(always)]
    pub fn writable_pointer(&self, address: u64, bytes: u64) -> Option<*mut u8> {
        let entry = self.tlbs[self.tlb_in_force].entry(address);
        let is_hit = address.wrapping_add(bytes - 1) & PAGE_MASK == entry.write_tag;
        is_hit.then(|| address.wrapping_add(entry.addend) as usize as *mut u8)
    }

    reads! {
        /// Reads a byte.
        read_u8, u8;
        /// Reads a 16-bit integer.
        read_u16, u16;
        /// Reads a 32-bit integer.
        read_u32, u32;
        /// Reads a 64-bit integer.
        read_u64, u64;
    }

    writes! {
        /// Writes a byte.
        write_u8, u8;
        /// Writes a 16-bit integer.
        write_u16, u16;
        /// Writes a 32-bit integer.
        write_u32, u32;
        /// Writes a 64-bit integer.
        write_u64, u64;
    }

    /// Reads 128 bits.
    ///
    /// # Errors
    /// As [`read_u64`](Self::read_u64).
    #[inline(always)]
    pub fn read_u128(&mut self, address: u64) -> Result<u128, Exception> {
        if let Some(pointer) = self.readable_pointer(address, 16) {
            // SAFETY: the TLB's entry says that these bytes of the page are RAM.
            return Ok(u128::from_le(unsafe { pointer.cast::<u128>().read_unaligned() }));
        }
        self.load_128_slow(address)
    }

    /// Writes 128 bits.
    ///
    /// # Errors
    /// As [`write_u64`](Self::write_u64).
    #[inline(always)]
    pub fn write_u128(&mut self, address: u64, value: u128) -> Result<(), Exception> {
        if let Some(pointer) = self.writable_pointer(address, 16) {
            // SAFETY: the TLB's entry says that these bytes of the page are RAM, and hold no code.
            unsafe { pointer.cast::<u128>().write_unaligned(value.to_le()) };
            return Ok(());
        }
        self.store_128_slow(address, value)
    }

    /// Raises what a write of `bytes` bytes (at most 4096) would raise.
    ///
    /// # Errors
    /// As [`write_u64`](Self::write_u64).
    #[inline]
    pub fn check_write(&mut self, address: u64, bytes: u64) -> Result<(), Exception> {
        if bytes == 0 || self.writable_pointer(address, bytes).is_some() {
            return Ok(());
        }
        self.check_access(address, bytes, Access::Write, self.privilege())
    }

    /// Raises what a read of `bytes` bytes (at most 4096) would raise.
    ///
    /// # Errors
    /// As [`read_u64`](Self::read_u64).
    #[inline]
    pub fn check_read(&mut self, address: u64, bytes: u64) -> Result<(), Exception> {
        if bytes == 0 || self.readable_pointer(address, bytes).is_some() {
            return Ok(());
        }
        self.check_access(address, bytes, Access::Read, self.privilege())
    }

    /// Translates both ends of an access.
    ///
    /// # Errors
    /// As [`translate`](Self::translate).
    pub fn check_access(
        &mut self,
        address: u64,
        bytes: u64,
        access: Access,
        privilege: Privilege,
    ) -> Result<(), Exception> {
        self.check_last_byte(address, bytes)?;
        self.translate(address, access, privilege)?;
        let last = address.wrapping_add(bytes.saturating_sub(1));
        if last & PAGE_MASK != address & PAGE_MASK {
            self.translate(last & PAGE_MASK, access, privilege)?;
        }
        Ok(())
    }

    /// The host address for an atomic read-modify-write; `None` when the bytes are not plain RAM in one
    /// page (the caller then reads and writes). It is as aligned as `address` is.
    ///
    /// # Errors
    /// What the write would raise.
    #[inline]
    pub fn rmw_pointer(&mut self, address: u64, bytes: u64) -> Result<Option<*mut u8>, Exception> {
        if let Some(pointer) = self.writable_pointer(address, bytes) {
            return Ok(Some(pointer));
        }
        self.check_alignment(address, bytes, self.privilege())?;
        self.check_access(address, bytes, Access::Write, self.privilege())?;
        Ok(self.writable_pointer(address, bytes))
    }

    /// #GP(0) for an access that runs over the end of the canonical addresses, before the page that it begins in is looked up.
    fn check_last_byte(&self, address: u64, bytes: u64) -> Result<(), Exception> {
        let last = address.wrapping_add(bytes.saturating_sub(1));
        if last & PAGE_MASK != address & PAGE_MASK && self.is_long_mode() && !is_canonical(last) {
            return Err(Exception::GeneralProtection(0));
        }
        Ok(())
    }

    /// #AC, when alignment is checked (SDM vol. 3A 6.15, vector 17).
    fn check_alignment(&self, address: u64, bytes: u64, privilege: Privilege) -> Result<(), Exception> {
        let is_checked = privilege == Privilege::User && self.tlbs[Privilege::User as usize].checks_alignment;
        if is_checked && address & (bytes - 1) != 0 {
            return Err(Exception::AlignmentCheck);
        }
        Ok(())
    }

    /// Reads 1 to 8 bytes by any route: page walk, two pages, devices.
    ///
    /// # Errors
    /// As [`read_u64`](Self::read_u64).
    #[cold]
    #[inline(never)]
    pub fn load_slow(&mut self, address: u64, bytes: u64, privilege: Privilege) -> Result<u64, Exception> {
        self.check_last_byte(address, bytes)?;
        self.check_alignment(address, bytes, privilege)?;
        let first = self.translate(address, Access::Read, privilege)?;
        self.note_access(address, bytes, false);
        let in_first = (PAGE_SIZE - address % PAGE_SIZE).min(bytes);
        if in_first == bytes {
            return Ok(self.load_physical(first, bytes));
        }
        let second = self.translate(address.wrapping_add(in_first), Access::Read, privilege)?;
        let low = self.load_physical(first, in_first);
        let high = self.load_physical(second, bytes - in_first);
        Ok(low | high << (8 * in_first))
    }

    /// Writes 1 to 8 bytes by any route. Both pages are translated before anything is written.
    ///
    /// # Errors
    /// As [`write_u64`](Self::write_u64).
    #[cold]
    #[inline(never)]
    pub fn store_slow(
        &mut self,
        address: u64,
        bytes: u64,
        value: u64,
        privilege: Privilege,
    ) -> Result<(), Exception> {
        self.check_last_byte(address, bytes)?;
        self.check_alignment(address, bytes, privilege)?;
        let first = self.translate(address, Access::Write, privilege)?;
        self.note_access(address, bytes, true);
        let in_first = (PAGE_SIZE - address % PAGE_SIZE).min(bytes);
        if in_first == bytes {
            self.store_physical(first, bytes, value);
            return Ok(());
        }
        let second = self.translate(address.wrapping_add(in_first), Access::Write, privilege)?;
        self.store_physical(first, in_first, value);
        self.store_physical(second, bytes - in_first, value >> (8 * in_first));
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn load_128_slow(&mut self, address: u64) -> Result<u128, Exception> {
        self.check_access(address, 16, Access::Read, self.privilege())?;
        let low = self.read_u64(address)?;
        let high = self.read_u64(address.wrapping_add(8))?;
        Ok(u128::from(low) | u128::from(high) << 64)
    }

    #[cold]
    #[inline(never)]
    fn store_128_slow(&mut self, address: u64, value: u128) -> Result<(), Exception> {
        self.check_alignment(address, 8, self.privilege())?;
        self.check_access(address, 16, Access::Write, self.privilege())?;
        self.write_u64(address, value as u64)?;
        self.write_u64(address.wrapping_add(8), (value >> 64) as u64)
    }

    /// Reads 1 to 8 bytes within one page, from RAM or a device.
    fn load_physical(&mut self, address: GuestPhysAddr, bytes: u64) -> u64 {
        let mut data = [0; 8];
        let part = &mut data[..bytes.min(8) as usize];
        if self.memory.read(address, part).is_err() {
            self.bus.mmio_read(address, part);
        }
        u64::from_le_bytes(data)
    }

    /// Writes 1 to 8 bytes within one page, to RAM or a device.
    fn store_physical(&mut self, address: GuestPhysAddr, bytes: u64, value: u64) {
        let data = value.to_le_bytes();
        let part = &data[..bytes.min(8) as usize];
        if !self.memory.contains(address, bytes) {
            self.bus.mmio_write(address, part);
            // The device may have raised an interrupt or changed memory.
            self.must_leave = true;
            return;
        }
        let target = self.memory.host_base().wrapping_add(address.0 as usize);
        // SAFETY: `contains` says that the bytes lie in RAM; `part` is not part of RAM. `GuestMemory::write`
        // is for devices: it notes writes to code pages for all processors, where this one acts at once.
        unsafe { target.copy_from_nonoverlapping(part.as_ptr(), part.len()) };
        if self.memory.page_holds_code(address.page()) {
            self.note_code_write(address, bytes);
        }
    }

    /// Reads from a descriptor table or a task-state segment: supervisor whatever CPL is.
    ///
    /// # Errors
    /// As [`read_u64`](Self::read_u64).
    pub fn read_system_u16(&mut self, address: u64) -> Result<u16, Exception> {
        self.load_slow(address, 2, self.implicit_privilege()).map(|value| value as u16)
    }

    /// As [`read_system_u16`](Self::read_system_u16), 32 bits.
    ///
    /// # Errors
    /// As [`read_u64`](Self::read_u64).
    pub fn read_system_u32(&mut self, address: u64) -> Result<u32, Exception> {
        self.load_slow(address, 4, self.implicit_privilege()).map(|value| value as u32)
    }

    /// As [`read_system_u16`](Self::read_system_u16), 64 bits.
    ///
    /// # Errors
    /// As [`read_u64`](Self::read_u64).
    pub fn read_system_u64(&mut self, address: u64) -> Result<u64, Exception> {
        self.load_slow(address, 8, self.implicit_privilege())
    }

    /// Writes one byte of a descriptor table: the accessed or busy bit.
    ///
    /// # Errors
    /// As [`write_u64`](Self::write_u64).
    pub fn write_system_u8(&mut self, address: u64, value: u8) -> Result<(), Exception> {
        self.store_slow(address, 1, u64::from(value), self.implicit_privilege())
    }
}
