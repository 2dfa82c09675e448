//! Pages of guest RAM for `virtio-drivers`, one RAM for each test's thread.

use dinghy::mem::{GuestMemory, GuestPhysAddr, PAGE_SIZE};
use std::cell::RefCell;
use std::ptr::NonNull;
use virtio_drivers::{BufferDirection, Hal, PhysAddr};

struct Pages {
    memory: GuestMemory,
    next: u64,
}

thread_local! {
    static PAGES: RefCell<Option<Pages>> = const { RefCell::new(None) };
}

/// Makes `memory` the RAM of this thread's guest.
pub fn use_memory(memory: &GuestMemory) {
    // Page zero stays free: the drivers take its address for a failure.
    PAGES.set(Some(Pages { memory: memory.clone(), next: PAGE_SIZE }));
}

fn with_pages<R>(action: impl FnOnce(&mut Pages) -> R) -> R {
    PAGES.with_borrow_mut(|pages| action(pages.as_mut().expect("a Platform on this thread")))
}

/// Takes zeroed pages that hold `bytes`. They are never given back: a test is short.
pub fn allocate(bytes: usize) -> GuestPhysAddr {
    with_pages(|pages| {
        let address = pages.next;
        pages.next += (bytes as u64).next_multiple_of(PAGE_SIZE);
        assert!(pages.next <= pages.memory.size(), "the guest's RAM is used up");
        GuestPhysAddr(address)
    })
}

/// `virtio-drivers`' way to guest RAM.
pub struct GuestPages;

// SAFETY: `dma_alloc` gives out each page of RAM once, zeroed, page-aligned, and RAM lives as long
// as the test's platform; buffers are shared through copies, which alias nothing.
unsafe impl Hal for GuestPages {
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let address = allocate(pages * PAGE_SIZE as usize);
        let host = with_pages(|pages| pages.memory.host_base().wrapping_add(address.0 as usize));
        (address.0, NonNull::new(host).unwrap())
    }

    unsafe fn dma_dealloc(_address: PhysAddr, _host: NonNull<u8>, _pages: usize) -> i32 {
        0
    }

    unsafe fn mmio_phys_to_virt(_address: PhysAddr, _size: usize) -> NonNull<u8> {
        unreachable!("our transport reaches registers without pointers")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _direction: BufferDirection) -> PhysAddr {
        let address = allocate(buffer.len());
        // SAFETY: the caller promises that `buffer` is valid and not accessed meanwhile.
        let bytes = unsafe { buffer.as_ref() };
        with_pages(|pages| pages.memory.write(address, bytes)).unwrap();
        address.0
    }

    unsafe fn unshare(address: PhysAddr, mut buffer: NonNull<[u8]>, direction: BufferDirection) {
        if direction != BufferDirection::DriverToDevice {
            // SAFETY: as in `share`.
            let bytes = unsafe { buffer.as_mut() };
            with_pages(|pages| pages.memory.read(GuestPhysAddr(address), bytes)).unwrap();
        }
    }
}
