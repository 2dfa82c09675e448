//! How interrupts travel to local APICs: from the I/O APIC, from messages, and between processors.
//!
//! Every local APIC has an [`ApicInbox`] of atomics. Senders put interrupts there without a lock, so that a
//! device may raise an interrupt whatever else is locked, and from whatever thread.

use super::MessageInterrupt;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

/// Bit 16 of a local vector table entry: masked (SDM vol. 3A 11.5.1).
pub(super) const LVT_MASKED: u32 = 1 << 16;
/// Bit 8 of [`ApicInbox::startup`]: a start-up message is waiting; the low byte is its vector.
const STARTUP_WAITING: u32 = 1 << 8;

/// What kind of interrupt a message carries (SDM vol. 3A 11.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryMode {
    /// The vector, to every destination.
    Fixed,
    /// The vector, to one of the destinations.
    LowestPriority,
    /// System management interrupt; there is no SMM, so it is dropped.
    Smi,
    /// Non-maskable interrupt.
    Nmi,
    /// Reset to the wait-for-SIPI state.
    Init,
    /// Start at vector × 4096 in real mode.
    StartUp,
    /// An interrupt whose vector the 8259A supplies.
    ExtInt,
}

impl DeliveryMode {
    /// Decodes the three-bit field of ICR, LVT, redirection entries and message data.
    pub fn from_bits(bits: u32) -> Option<Self> {
        match bits & 7 {
            0 => Some(Self::Fixed),
            1 => Some(Self::LowestPriority),
            2 => Some(Self::Smi),
            4 => Some(Self::Nmi),
            5 => Some(Self::Init),
            6 => Some(Self::StartUp),
            7 => Some(Self::ExtInt),
            _ => None,
        }
    }
}

/// Whether an interrupt needs an end-of-interrupt message back to the I/O APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TriggerMode {
    /// Complete when delivered.
    Edge,
    /// Asserted until its cause is gone; the I/O APIC waits for the EOI.
    Level,
}

/// Which local APICs a message is for (SDM vol. 3A 11.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// All of them.
    Everyone,
    /// The one with this APIC id.
    Physical(u32),
    /// Those whose logical destination register matches.
    Logical(u32),
}

impl Destination {
    /// Decodes the 8-bit destination of I/O APIC entries, MSI addresses and the xAPIC ICR.
    pub fn from_byte(destination: u8, is_logical: bool) -> Self {
        match (destination, is_logical) {
            (0xff, _) => Self::Everyone,
            (id, false) => Self::Physical(u32::from(id)),
            (set, true) => Self::Logical(u32::from(set)),
        }
    }
}

/// One interrupt on its way to local APICs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterruptMessage {
    /// Which APICs.
    pub destination: Destination,
    /// What to do there.
    pub delivery_mode: DeliveryMode,
    /// Vector, for the modes that carry one.
    pub vector: u8,
    /// Edge or level.
    pub trigger: TriggerMode,
}

/// An event that stops a processor whatever its interrupt flag says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessorEvent {
    /// INIT: reset, then wait for a start-up message.
    Init,
    /// Start-up: begin at `vector` × 4096 in real mode. Ignored unless waiting for it.
    StartUp(u8),
    /// Non-maskable interrupt.
    Nmi,
}

/// What other agents have sent to one local APIC, and what they need to know to address it.
pub struct ApicInbox {
    irr: [AtomicU32; 8],
    tmr: [AtomicU32; 8],
    has_nmi: AtomicBool,
    has_init: AtomicBool,
    startup: AtomicU32,
    /// Level of the 8259A's INTR output, wired to LINT0.
    intr_level: AtomicBool,
    /// An ExtINT message from the I/O APIC that has not been acknowledged.
    has_ext_int_message: AtomicBool,
    /// The LINT0 entry as in effect: masked while the APIC is software-disabled.
    lint0: AtomicU32,
    id: AtomicU32,
    logical_destination: AtomicU32,
    has_cluster_model: AtomicBool,
    is_x2apic: AtomicBool,
    /// Hardware- and software-enabled: takes fixed interrupts.
    is_accepting: AtomicBool,
    attention: Arc<AtomicU32>,
}

/// What a snapshot keeps of an inbox: what has arrived. What senders need to know follows from the APIC.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct InboxState {
    irr: [u32; 8],
    tmr: [u32; 8],
    has_nmi: bool,
    has_init: bool,
    startup: u32,
    intr_level: bool,
    has_ext_int_message: bool,
}

impl ApicInbox {
    /// The inbox, to be saved.
    pub fn state(&self) -> InboxState {
        let words = |words: &[AtomicU32; 8]| std::array::from_fn(|word| words[word].load(Ordering::Acquire));
        InboxState {
            irr: words(&self.irr),
            tmr: words(&self.tmr),
            has_nmi: self.has_nmi.load(Ordering::Acquire),
            has_init: self.has_init.load(Ordering::Acquire),
            startup: self.startup.load(Ordering::Acquire),
            intr_level: self.intr_level(),
            has_ext_int_message: self.has_ext_int_message(),
        }
    }

    /// Puts a saved inbox back, in place of what has arrived since.
    pub fn restore(&self, state: &InboxState) {
        for (words, saved) in [(&self.irr, &state.irr), (&self.tmr, &state.tmr)] {
            for (word, value) in words.iter().zip(saved) {
                word.store(*value, Ordering::Release);
            }
        }
        // Vectors below 16 are exceptions; no APIC takes them.
        self.irr[0].fetch_and(!0xffff, Ordering::AcqRel);
        self.has_nmi.store(state.has_nmi, Ordering::Release);
        self.has_init.store(state.has_init, Ordering::Release);
        self.startup.store(state.startup & (STARTUP_WAITING | 0xff), Ordering::Release);
        self.intr_level.store(state.intr_level, Ordering::Release);
        self.has_ext_int_message.store(state.has_ext_int_message, Ordering::Release);
    }

    /// An empty inbox of the APIC with this id. `attention` becomes 1 whenever something arrives.
    pub fn new(id: u32, attention: Arc<AtomicU32>) -> Self {
        Self {
            irr: Default::default(),
            tmr: Default::default(),
            has_nmi: AtomicBool::new(false),
            has_init: AtomicBool::new(false),
            startup: AtomicU32::new(0),
            intr_level: AtomicBool::new(false),
            has_ext_int_message: AtomicBool::new(false),
            lint0: AtomicU32::new(LVT_MASKED),
            id: AtomicU32::new(id),
            logical_destination: AtomicU32::new(0),
            has_cluster_model: AtomicBool::new(false),
            is_x2apic: AtomicBool::new(false),
            is_accepting: AtomicBool::new(false),
            attention,
        }
    }

    /// The word that becomes 1 when the processor should look for interrupts.
    pub fn attention(&self) -> &Arc<AtomicU32> {
        &self.attention
    }

    pub(super) fn raise_attention(&self) {
        self.attention.store(1, Ordering::SeqCst);
    }

    /// Requests `vector`. Returns whether the APIC takes it: it is enabled and the vector is legal.
    pub fn accept(&self, vector: u8, trigger: TriggerMode) -> bool {
        if vector < 16 || !self.is_accepting.load(Ordering::Acquire) {
            return false;
        }
        let (word, bit) = (usize::from(vector >> 5), 1 << (vector & 31));
        match trigger {
            TriggerMode::Edge => self.tmr[word].fetch_and(!bit, Ordering::Relaxed),
            TriggerMode::Level => self.tmr[word].fetch_or(bit, Ordering::Relaxed),
        };
        self.irr[word].fetch_or(bit, Ordering::Release);
        self.raise_attention();
        true
    }

    /// Drives LINT0, to which the 8259A's INTR output is wired.
    pub fn set_external_interrupt(&self, is_high: bool) {
        let was_high = self.intr_level.swap(is_high, Ordering::SeqCst);
        if !is_high || was_high {
            return;
        }
        let lint0 = self.lint0.load(Ordering::Acquire);
        if lint0 & LVT_MASKED == 0 {
            match DeliveryMode::from_bits(lint0 >> 8) {
                Some(DeliveryMode::Fixed) => {
                    self.accept(lint0 as u8, TriggerMode::Edge);
                }
                Some(DeliveryMode::Nmi) => self.has_nmi.store(true, Ordering::Release),
                _ => {}
            }
        }
        self.raise_attention();
    }

    /// Whether the 8259A asks for an interrupt on LINT0, whatever LINT0's entry says.
    pub(super) fn intr_level(&self) -> bool {
        self.intr_level.load(Ordering::Acquire)
    }

    pub(super) fn has_ext_int_message(&self) -> bool {
        self.has_ext_int_message.load(Ordering::Acquire)
    }

    pub(super) fn clear_ext_int_message(&self) {
        self.has_ext_int_message.store(false, Ordering::Release);
    }

    pub(super) fn lint0(&self) -> u32 {
        self.lint0.load(Ordering::Acquire)
    }

    pub(super) fn set_lint0(&self, entry: u32) {
        self.lint0.store(entry, Ordering::Release);
    }

    /// The pending event of highest rank: INIT, then start-up, then NMI.
    pub fn take_event(&self) -> Option<ProcessorEvent> {
        if self.has_init.swap(false, Ordering::AcqRel) {
            return Some(ProcessorEvent::Init);
        }
        let startup = self.startup.swap(0, Ordering::AcqRel);
        if startup & STARTUP_WAITING != 0 {
            return Some(ProcessorEvent::StartUp(startup as u8));
        }
        self.has_nmi.swap(false, Ordering::AcqRel).then_some(ProcessorEvent::Nmi)
    }

    /// Whether an NMI is pending.
    pub fn has_nmi(&self) -> bool {
        self.has_nmi.load(Ordering::Acquire)
    }

    /// Takes a pending NMI alone.
    pub fn take_nmi(&self) -> bool {
        self.has_nmi.load(Ordering::Relaxed) && self.has_nmi.swap(false, Ordering::AcqRel)
    }

    /// Whether [`take_event`](Self::take_event) would return one.
    pub fn has_event(&self) -> bool {
        self.has_init.load(Ordering::Acquire)
            || self.has_nmi.load(Ordering::Acquire)
            || self.startup.load(Ordering::Acquire) != 0
    }

    pub(super) fn highest_request(&self) -> Option<u8> {
        highest_set((0..8).rev().map(|word| (word, self.irr[word].load(Ordering::Acquire))))
    }

    pub(super) fn take_request(&self, vector: u8) {
        self.irr[usize::from(vector >> 5)].fetch_and(!(1 << (vector & 31)), Ordering::AcqRel);
    }

    pub(super) fn irr_word(&self, word: usize) -> u32 {
        self.irr.get(word).map_or(0, |bits| bits.load(Ordering::Acquire))
    }

    pub(super) fn tmr_word(&self, word: usize) -> u32 {
        self.tmr.get(word).map_or(0, |bits| bits.load(Ordering::Acquire))
    }

    pub(super) fn is_level(&self, vector: u8) -> bool {
        self.tmr_word(usize::from(vector >> 5)) & 1 << (vector & 31) != 0
    }

    /// Forgets all requests, as INIT and a hardware disable do.
    pub(super) fn clear_requests(&self) {
        for word in self.irr.iter().chain(&self.tmr) {
            word.store(0, Ordering::Release);
        }
        self.clear_ext_int_message();
    }

    pub(super) fn set_identity(&self, id: u32, logical: u32, has_cluster_model: bool, is_x2apic: bool) {
        self.id.store(id, Ordering::Release);
        self.logical_destination.store(logical, Ordering::Release);
        self.has_cluster_model.store(has_cluster_model, Ordering::Release);
        self.is_x2apic.store(is_x2apic, Ordering::Release);
    }

    pub(super) fn set_accepting(&self, is_accepting: bool) {
        self.is_accepting.store(is_accepting, Ordering::Release);
    }

    /// Whether this APIC is among the destinations (SDM vol. 3A 11.6.2, 11.12.10).
    pub fn matches(&self, destination: Destination) -> bool {
        let logical = self.logical_destination.load(Ordering::Acquire);
        match destination {
            Destination::Everyone => true,
            Destination::Physical(id) => id == self.id.load(Ordering::Acquire),
            Destination::Logical(u32::MAX) => true,
            Destination::Logical(set) if self.is_x2apic.load(Ordering::Acquire) => {
                set >> 16 == logical >> 16 && set & logical & 0xffff != 0
            }
            Destination::Logical(set) if self.has_cluster_model.load(Ordering::Acquire) => {
                (set >> 4) & 15 == (logical >> 4) & 15 && set & logical & 15 != 0
            }
            Destination::Logical(set) => set & logical & 0xff != 0,
        }
    }

    /// Takes a message meant for this APIC. Returns whether it was accepted.
    pub fn deliver(&self, message: InterruptMessage) -> bool {
        match message.delivery_mode {
            DeliveryMode::Fixed | DeliveryMode::LowestPriority => {
                return self.accept(message.vector, message.trigger);
            }
            DeliveryMode::Smi => return false,
            DeliveryMode::Nmi => self.has_nmi.store(true, Ordering::Release),
            DeliveryMode::Init => self.has_init.store(true, Ordering::Release),
            DeliveryMode::StartUp => {
                self.startup.store(STARTUP_WAITING | u32::from(message.vector), Ordering::Release);
            }
            DeliveryMode::ExtInt => self.has_ext_int_message.store(true, Ordering::Release),
        }
        self.raise_attention();
        true
    }
}

/// All local APICs of a machine, addressable by interrupt messages.
pub struct ApicBus {
    inboxes: Vec<Arc<ApicInbox>>,
    /// Where the search for a lowest-priority destination begins, so that interrupts spread.
    next_lowest: AtomicUsize,
}

impl ApicBus {
    /// A bus that reaches these APICs; the first is the bootstrap processor's.
    pub fn new(inboxes: Vec<Arc<ApicInbox>>) -> Self {
        Self { inboxes, next_lowest: AtomicUsize::new(0) }
    }

    /// The inbox of the processor with this index.
    pub fn inbox(&self, index: usize) -> Option<&Arc<ApicInbox>> {
        self.inboxes.get(index)
    }

    /// Sends a message. Returns whether some APIC accepted it.
    pub fn deliver(&self, message: InterruptMessage) -> bool {
        self.deliver_except(message, None)
    }

    /// Sends a message to its destinations other than `excluded`.
    pub(super) fn deliver_except(
        &self,
        message: InterruptMessage,
        excluded: Option<&Arc<ApicInbox>>,
    ) -> bool {
        let is_target = |inbox: &&Arc<ApicInbox>| {
            inbox.matches(message.destination) && excluded.is_none_or(|other| !Arc::ptr_eq(inbox, other))
        };
        if message.delivery_mode == DeliveryMode::LowestPriority {
            let count = self.inboxes.len();
            let first = self.next_lowest.fetch_add(1, Ordering::Relaxed);
            return (0..count)
                .filter_map(|step| self.inboxes.get(first.wrapping_add(step) % count))
                .filter(is_target)
                .any(|inbox| inbox.deliver(message));
        }
        let mut is_accepted = false;
        for inbox in self.inboxes.iter().filter(is_target) {
            is_accepted |= inbox.deliver(message);
        }
        is_accepted
    }

    /// Drives the 8259A's INTR output, wired to LINT0 of the bootstrap processor.
    pub fn set_external_interrupt(&self, is_high: bool) {
        if let Some(inbox) = self.inboxes.first() {
            inbox.set_external_interrupt(is_high);
        }
    }
}

/// Message-signalled interrupts (SDM vol. 3A 11.11).
impl MessageInterrupt for ApicBus {
    fn send(&self, address: u64, data: u32) {
        if address >> 20 != 0xfee {
            log::debug!("interrupt message to {address:#x}, outside the local APICs' range, is dropped");
            return;
        }
        // A redirection hint without logical mode is a physical destination (SDM vol. 3A 11.11.1).
        let is_logical = address & 1 << 2 != 0;
        let Some(delivery_mode) = DeliveryMode::from_bits(data >> 8) else {
            log::debug!("interrupt message {data:#x} has a reserved delivery mode and is dropped");
            return;
        };
        let is_level = data & 1 << 15 != 0;
        if is_level && data & 1 << 14 == 0 {
            return;
        }
        let trigger = if is_level { TriggerMode::Level } else { TriggerMode::Edge };
        self.deliver(InterruptMessage {
            destination: Destination::from_byte((address >> 12) as u8, is_logical),
            delivery_mode,
            vector: data as u8,
            trigger,
        });
    }
}

/// The highest vector among bit maps given as `(word index, bits)`, highest word first.
pub(super) fn highest_set(words: impl Iterator<Item = (usize, u32)>) -> Option<u8> {
    words
        .filter(|(_, bits)| *bits != 0)
        .map(|(word, bits)| (word as u8) << 5 | (31 - bits.leading_zeros()) as u8)
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_processors() -> (ApicBus, Arc<ApicInbox>, Arc<ApicInbox>) {
        let inboxes: Vec<_> = (0..2)
            .map(|id| {
                let inbox = Arc::new(ApicInbox::new(id, Arc::default()));
                inbox.set_identity(id, 1 << id, false, false);
                inbox.set_accepting(true);
                inbox
            })
            .collect();
        let (first, second) = (inboxes[0].clone(), inboxes[1].clone());
        (ApicBus::new(inboxes), first, second)
    }

    #[test]
    fn a_message_interrupt_reaches_its_physical_destination() {
        let (bus, first, second) = two_processors();
        bus.send(0xfee0_1000, 0x41);
        assert_eq!(second.highest_request(), Some(0x41));
        assert_eq!(second.attention().load(Ordering::SeqCst), 1);
        assert_eq!(first.highest_request(), None);
        assert_eq!(first.attention().load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_message_interrupt_reaches_all_logical_destinations() {
        let (bus, first, second) = two_processors();
        bus.send(0xfee0_0000 | 3 << 12 | 1 << 2, 0x52);
        assert_eq!((first.highest_request(), second.highest_request()), (Some(0x52), Some(0x52)));
    }

    #[test]
    fn a_lowest_priority_message_reaches_exactly_one() {
        let (bus, first, second) = two_processors();
        bus.send(0xfee0_0000 | 3 << 12 | 1 << 3 | 1 << 2, 0x152);
        let count = [&first, &second].iter().filter(|inbox| inbox.highest_request().is_some()).count();
        assert_eq!(count, 1);
    }

    #[test]
    fn messages_outside_the_apic_range_or_with_illegal_vectors_are_dropped() {
        let (bus, first, _) = two_processors();
        bus.send(0x1000, 0x41);
        bus.send(0xfee0_0000, 0x05);
        bus.send(0xfee0_0000, 0x341);
        assert_eq!(first.highest_request(), None);
    }

    #[test]
    fn init_comes_before_startup_before_nmi() {
        let (bus, _, second) = two_processors();
        let message = |delivery_mode| InterruptMessage {
            destination: Destination::Physical(1),
            delivery_mode,
            vector: 0x9f,
            trigger: TriggerMode::Edge,
        };
        for mode in [DeliveryMode::Nmi, DeliveryMode::StartUp, DeliveryMode::Init] {
            assert!(bus.deliver(message(mode)));
        }
        assert!(second.has_event());
        assert_eq!(second.take_event(), Some(ProcessorEvent::Init));
        assert_eq!(second.take_event(), Some(ProcessorEvent::StartUp(0x9f)));
        assert_eq!(second.take_event(), Some(ProcessorEvent::Nmi));
        assert_eq!(second.take_event(), None);
    }

    #[test]
    fn x2apic_logical_destinations_name_a_cluster() {
        let inbox = ApicInbox::new(0x23, Arc::default());
        inbox.set_identity(0x23, 2 << 16 | 1 << 3, false, true);
        assert!(inbox.matches(Destination::Logical(0x2_0008)));
        assert!(!inbox.matches(Destination::Logical(0x1_0008)));
        assert!(!inbox.matches(Destination::Logical(0x2_0004)));
        assert!(inbox.matches(Destination::Logical(u32::MAX)));
    }
}
