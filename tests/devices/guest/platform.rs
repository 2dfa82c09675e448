//! RAM, a PCI bus, and an interrupt controller that only writes down what reaches it.

use super::{RawDriver, RegisterTransport, hal};
use dinghy::devices::pci::{PciRoot, SharedFunction};
use dinghy::devices::{InterruptLine, MessageInterrupt};
use dinghy::mem::GuestMemory;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

const MEMORY_BYTES: u64 = 32 << 20;

#[derive(Default)]
pub struct Line(AtomicBool);

impl InterruptLine for Line {
    fn set_level(&self, is_high: bool) {
        self.0.store(is_high, Ordering::SeqCst);
    }
}

#[derive(Default)]
struct Messages(Mutex<Vec<(u64, u32)>>);

impl MessageInterrupt for Messages {
    fn send(&self, address: u64, data: u32) {
        self.0.lock().unwrap().push((address, data));
    }
}

pub struct Platform {
    pub memory: GuestMemory,
    pub root: PciRoot,
    lines: [Arc<Line>; 8],
    messages: Arc<Messages>,
}

impl Platform {
    pub fn new() -> Self {
        let memory = GuestMemory::new(MEMORY_BYTES).unwrap();
        hal::use_memory(&memory);
        let lines: [Arc<Line>; 8] = std::array::from_fn(|_| Arc::default());
        let messages = Arc::new(Messages::default());
        let inputs = lines.clone().map(|line| line as Arc<dyn InterruptLine>);
        let root = PciRoot::new(messages.clone(), inputs);
        Self { memory, root, lines, messages }
    }

    /// Puts a function on the bus and gives the driver's way to it.
    pub fn attach(&self, function: SharedFunction) -> RegisterTransport {
        let slot = self.root.add(function).unwrap();
        RegisterTransport::find(&self.root, slot)
    }

    /// Puts a function on the bus under a driver that works by hand.
    pub fn attach_raw(&self, function: SharedFunction, features: u64) -> RawDriver {
        RawDriver::start(self.attach(function), self.memory.clone(), features)
    }

    /// The level of the interrupt line that `slot` uses.
    pub fn line(&self, slot: u8) -> bool {
        self.lines[usize::from(slot) & 7].0.load(Ordering::SeqCst)
    }

    /// The messages since the last call.
    pub fn take_messages(&self) -> Vec<(u64, u32)> {
        std::mem::take(&mut *self.messages.0.lock().unwrap())
    }
}
