//! The split virtqueue (virtio 1.2 §2.7).

use super::chain::{DESCRIPTOR_BYTES, DescriptorChain};
use crate::mem::{GuestMemory, GuestPhysAddr, MemoryError};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{Ordering, fence};

/// Flags of the available ring: the driver wants no interrupts (§2.7.7).
const AVAILABLE_NO_INTERRUPT: u16 = 1;
/// Flags of the used ring: the device wants no notifications (§2.7.10).
const USED_NO_NOTIFY: u16 = 1;
/// Bytes before the entries of either ring: flags and index.
const RING_HEADER: u64 = 4;
const AVAILABLE_ENTRY: u64 = 2;
const USED_ENTRY: u64 = 8;

/// What makes a queue unusable until the driver resets its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// A ring or table does not lie in RAM.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A ring's or table's addresses wrap around.
    #[error("a ring or table at {address:?} wraps around the address space")]
    Wrapped {
        /// First byte of the ring or table.
        address: GuestPhysAddr,
    },
    /// A ring or table is not aligned as §2.7 asks.
    #[error("a ring or table at {address:?} is not aligned to {alignment}")]
    Misaligned {
        /// First byte of the ring or table.
        address: GuestPhysAddr,
        /// The alignment asked for, in bytes.
        alignment: u64,
    },
    /// The queue size is zero, above the maximum, or no power of two.
    #[error("queue size {size} is not a power of two up to {maximum}")]
    Size {
        /// The driver's size.
        size: u16,
        /// The device's maximum.
        maximum: u16,
    },
    /// The driver made more chains available than the queue can hold.
    #[error("the available index ran {ahead} ahead in a queue of {size}")]
    AvailableIndex {
        /// Entries between the device's and the driver's index.
        ahead: u16,
        /// Queue size.
        size: u16,
    },
    /// The driver offered chains again that the device has not given back.
    #[error("more chains are in flight than the {size} descriptors of the queue can begin")]
    InFlight {
        /// Queue size.
        size: u16,
    },
    /// A descriptor index beyond the table.
    #[error("descriptor {index} lies outside a table of {size}")]
    IndexOutOfTable {
        /// The index.
        index: u16,
        /// Descriptors in the table.
        size: u32,
    },
    /// The chain loops, or exceeds what a chain may have.
    #[error("the chain at descriptor {head} is too long or loops")]
    ChainTooLong {
        /// First descriptor of the chain.
        head: u16,
    },
    /// An indirect descriptor inside an indirect table, or one with a successor.
    #[error("descriptor {index} is indirect where that is not allowed")]
    MisplacedIndirect {
        /// The descriptor's index.
        index: u16,
    },
    /// An indirect table of no descriptors, or of a fraction of one.
    #[error("an indirect table of {length} bytes")]
    IndirectLength {
        /// Bytes of the table.
        length: u32,
    },
    /// A readable buffer behind a writable one.
    #[error("the chain at descriptor {head} has a readable buffer after a writable one")]
    ReadableAfterWritable {
        /// First descriptor of the chain.
        head: u16,
    },
    /// A buffer does not lie in RAM.
    #[error("a buffer of {length} bytes at {address:?} lies outside RAM")]
    BufferOutsideRam {
        /// First byte of the buffer.
        address: GuestPhysAddr,
        /// Bytes of the buffer.
        length: u32,
    },
    /// A device needed more bytes than the chain has.
    #[error("the chain at descriptor {head} ends too soon after byte {offset}")]
    ChainTooShort {
        /// First descriptor of the chain.
        head: u16,
        /// Where in the chain the device was.
        offset: u64,
    },
}

/// Size and place of a queue, as the driver programs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct QueueLayout {
    /// Descriptors.
    pub size: u16,
    /// The descriptor table.
    pub descriptors: GuestPhysAddr,
    /// The available ring ("driver area").
    pub available: GuestPhysAddr,
    /// The used ring ("device area").
    pub used: GuestPhysAddr,
}

impl QueueLayout {
    fn validate(&self, memory: &GuestMemory, maximum: u16) -> Result<(), QueueError> {
        let size = self.size;
        if !size.is_power_of_two() || size > maximum {
            return Err(QueueError::Size { size, maximum });
        }
        let entries = u64::from(size);
        let parts = [
            (self.descriptors, 16, entries * DESCRIPTOR_BYTES),
            (self.available, 2, RING_HEADER + entries * AVAILABLE_ENTRY + 2),
            (self.used, 4, RING_HEADER + entries * USED_ENTRY + 2),
        ];
        for (address, alignment, length) in parts {
            if address.0 % alignment != 0 {
                return Err(QueueError::Misaligned { address, alignment });
            }
            if !memory.contains(address, length) {
                return Err(MemoryError::Outside { address, length, ram_size: memory.size() }.into());
            }
        }
        Ok(())
    }
}

/// What a snapshot keeps of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueState {
    /// Size and place.
    pub layout: QueueLayout,
    /// Whether buffer event indices were negotiated (VIRTIO_F_EVENT_IDX).
    pub uses_event_index: bool,
    /// Index of the next available entry that the device takes.
    pub next_available: u16,
    /// Index of the next used entry that the device writes.
    pub next_used: u16,
    /// The used index at the last decision about an interrupt.
    pub decided_used: u16,
    /// Whether the device has told the driver that it wants no notifications.
    pub is_notification_suppressed: bool,
}

/// The device's end of one enabled queue.
pub struct Virtqueue {
    memory: GuestMemory,
    state: QueueState,
}

/// Whether moving an index from `old` to `new` passes `event` (§2.7.10.1).
fn passes_event(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

impl Virtqueue {
    /// A queue at its start. `maximum` is the largest size that the device offers.
    ///
    /// # Errors
    /// When the layout has a wrong size, is misaligned or does not lie in RAM.
    pub fn new(
        memory: GuestMemory,
        layout: QueueLayout,
        maximum: u16,
        uses_event_index: bool,
    ) -> Result<Self, QueueError> {
        layout.validate(&memory, maximum)?;
        let state = QueueState {
            layout,
            uses_event_index,
            next_available: 0,
            next_used: 0,
            decided_used: 0,
            is_notification_suppressed: false,
        };
        Ok(Self { memory, state })
    }

    /// A queue as it was saved.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn restore(memory: GuestMemory, state: QueueState, maximum: u16) -> Result<Self, QueueError> {
        state.layout.validate(&memory, maximum)?;
        Ok(Self { memory, state })
    }

    /// The queue, to be saved.
    pub fn state(&self) -> QueueState {
        self.state
    }

    fn layout(&self) -> &QueueLayout {
        &self.state.layout
    }

    fn slot(&self, index: u16) -> u64 {
        // Sizes are powers of two (checked by `validate`), so indices wrap without a seam.
        u64::from(index & (self.layout().size - 1))
    }

    fn available_index(&self) -> Result<u16, QueueError> {
        let index = self.memory.read_u16(GuestPhysAddr(self.layout().available.0 + 2))?;
        // What the driver wrote before it moved the index must be seen after reading it.
        fence(Ordering::Acquire);
        Ok(index)
    }

    /// Takes the next chain, or tells the driver to notify again and returns `None`.
    ///
    /// While chains are being taken, the driver is told not to notify; a device that stops before
    /// `None` is not notified of further chains until it has asked again.
    ///
    /// # Errors
    /// When the ring or the chain is malformed.
    pub fn pop(&mut self) -> Result<Option<DescriptorChain>, QueueError> {
        if self.available_index()? == self.state.next_available {
            self.enable_notifications()?;
            // The driver may have added a chain before it could see that it should notify.
            fence(Ordering::SeqCst);
            if self.available_index()? == self.state.next_available {
                return Ok(None);
            }
        }
        self.suppress_notifications()?;
        let size = self.layout().size;
        let ahead = self.available_index()?.wrapping_sub(self.state.next_available);
        if ahead > size {
            return Err(QueueError::AvailableIndex { ahead, size });
        }
        // Without this bound, a driver that offers the same chain over and over could make a device
        // that keeps what must wait keep it without end.
        if self.state.next_available.wrapping_sub(self.state.next_used) >= size {
            return Err(QueueError::InFlight { size });
        }
        let entry = RING_HEADER + self.slot(self.state.next_available) * AVAILABLE_ENTRY;
        let head = self.memory.read_u16(GuestPhysAddr(self.layout().available.0 + entry))?;
        let chain = DescriptorChain::load(&self.memory, self.layout().descriptors, size, head)?;
        self.state.next_available = self.state.next_available.wrapping_add(1);
        Ok(Some(chain))
    }

    /// Loads a chain that was popped before, by its head, after a restore.
    ///
    /// # Errors
    /// When the chain is malformed.
    pub fn reload(&self, head: u16) -> Result<DescriptorChain, QueueError> {
        DescriptorChain::load(&self.memory, self.layout().descriptors, self.layout().size, head)
    }

    fn enable_notifications(&mut self) -> Result<(), QueueError> {
        if self.state.uses_event_index {
            let event = RING_HEADER + u64::from(self.layout().size) * USED_ENTRY;
            let address = GuestPhysAddr(self.layout().used.0 + event);
            self.memory.write(address, &self.state.next_available.to_le_bytes())?;
        } else if self.state.is_notification_suppressed {
            self.memory.write(self.layout().used, &0u16.to_le_bytes())?;
        }
        self.state.is_notification_suppressed = false;
        Ok(())
    }

    /// With event indices nothing needs to be written: the event index stays behind.
    fn suppress_notifications(&mut self) -> Result<(), QueueError> {
        if !self.state.uses_event_index && !self.state.is_notification_suppressed {
            self.memory.write(self.layout().used, &USED_NO_NOTIFY.to_le_bytes())?;
            self.state.is_notification_suppressed = true;
        }
        Ok(())
    }

    /// Gives the chain that starts at `head` back, with `written` bytes stored in its writable buffers.
    ///
    /// # Errors
    /// When the used ring cannot be written.
    pub fn push_used(&mut self, head: u16, written: u32) -> Result<(), QueueError> {
        self.push_used_together(&[(head, written)])
    }

    /// Gives several chains back, each with its written bytes, so that the driver sees all of them or none.
    ///
    /// # Errors
    /// When the used ring cannot be written.
    pub fn push_used_together(&mut self, chains: &[(u16, u32)]) -> Result<(), QueueError> {
        let mut next = self.state.next_used;
        for (head, written) in chains {
            let entry = RING_HEADER + self.slot(next) * USED_ENTRY;
            let element = u64::from(*written) << 32 | u64::from(*head);
            self.memory.write(GuestPhysAddr(self.layout().used.0 + entry), &element.to_le_bytes())?;
            next = next.wrapping_add(1);
        }
        self.state.next_used = next;
        // The buffers and the entries must be visible before the index that announces them.
        fence(Ordering::Release);
        let index = GuestPhysAddr(self.layout().used.0 + 2);
        self.memory.write(index, &self.state.next_used.to_le_bytes())?;
        Ok(())
    }

    /// Whether chains were given back since the last call and the driver wants an interrupt for them.
    ///
    /// # Errors
    /// When the available ring cannot be read.
    pub fn take_interrupt(&mut self) -> Result<bool, QueueError> {
        let (new, old) = (self.state.next_used, self.state.decided_used);
        if new == old {
            return Ok(false);
        }
        // The used index must be visible before the driver's wish is read (§2.7.7.2).
        fence(Ordering::SeqCst);
        self.state.decided_used = new;
        if self.state.uses_event_index {
            let event = RING_HEADER + u64::from(self.layout().size) * AVAILABLE_ENTRY;
            let event = self.memory.read_u16(GuestPhysAddr(self.layout().available.0 + event))?;
            return Ok(passes_event(event, new, old));
        }
        Ok(self.memory.read_u16(self.layout().available)? & AVAILABLE_NO_INTERRUPT == 0)
    }
}
