//! The software translation look-aside buffer: what the fast path of every access reads.

/// One translation, 32 bytes. Part of the interface of generated code.
///
/// A tag is the guest-virtual address of the page (low 12 bits zero) when the access may go straight to
/// memory, and has its low bits set otherwise, so that one compare decides: `TLB_INVALID` for no
/// translation, or the page with a `SLOW_*` bit for one that must take the slow path.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct TlbEntry {
    /// Tag for loads.
    pub read_tag: u64,
    /// Tag for stores.
    pub write_tag: u64,
    /// Tag for instruction fetches.
    pub fetch_tag: u64,
    /// Host address of the page less its guest-virtual address (wrapping).
    pub addend: u64,
}

/// A tag that no access matches.
pub const TLB_INVALID: u64 = 1;
/// Set in a tag: the page is not RAM.
pub const SLOW_MMIO: u64 = 2;
/// Set in a write tag: the page holds translated code.
pub const SLOW_CODE: u64 = 4;

/// Entries of one TLB. 1,024 × 4 KiB covers the working set of a Go program's heap and text;
/// 32 KiB a TLB stays within the second-level cache.
pub const TLB_ENTRIES: usize = 1024;

impl TlbEntry {
    /// An entry that matches nothing.
    pub const EMPTY: Self =
        Self { read_tag: TLB_INVALID, write_tag: TLB_INVALID, fetch_tag: TLB_INVALID, addend: 0 };
}

/// A direct-mapped TLB for one privilege: user, supervisor, or supervisor with EFLAGS.AC set (SMAP).
#[repr(C)]
pub struct Tlb {
    /// Entry `i` holds pages whose number is `i` modulo [`TLB_ENTRIES`].
    pub entries: [TlbEntry; TLB_ENTRIES],
    /// Which entries hold translations of non-global pages, for cheap flushes.
    pub(super) filled: Vec<u16>,
    /// Which entries hold translations of global pages.
    pub(super) filled_global: Vec<u16>,
}

impl Tlb {
    /// An empty TLB.
    pub fn new() -> Self {
        Self { entries: [TlbEntry::EMPTY; TLB_ENTRIES], filled: Vec::new(), filled_global: Vec::new() }
    }

    /// The place of an address.
    #[inline(always)]
    pub const fn index(address: u64) -> usize {
        (address >> 12) as usize & (TLB_ENTRIES - 1)
    }

    /// The entry that would hold the translation of `address`.
    #[inline(always)]
    pub fn entry(&self, address: u64) -> &TlbEntry {
        &self.entries[Self::index(address)]
    }
}

impl Default for Tlb {
    fn default() -> Self {
        Self::new()
    }
}
