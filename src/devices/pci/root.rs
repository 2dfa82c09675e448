//! The bus: slots, configuration access, and the memory window.

use super::interrupt::SharedLine;
use super::{Command, FunctionInterrupts, HostBridge, IntxPin, MappedBar, PciFunction};
use crate::devices::{BusDevice, InterruptLine, MessageInterrupt};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// First guest-physical address of the enhanced configuration access window (PCI Express 7.2.2).
pub const ECAM_BASE: u64 = 0xe000_0000;
/// Bytes of that window: 1 MiB for the one bus.
pub const ECAM_LENGTH: u64 = 1 << 20;
/// First guest-physical address that BARs may take.
pub const MEMORY_WINDOW_BASE: u64 = 0xc000_0000;
/// Bytes that BARs may take.
pub const MEMORY_WINDOW_LENGTH: u64 = 0x2000_0000;
/// First I/O port of configuration mechanism #1 (PCI 3.0 §3.2.2.3.2).
pub const CONFIG_PORTS_BASE: u16 = 0xcf8;
/// I/O ports of configuration mechanism #1.
pub const CONFIG_PORTS_LENGTH: u16 = 8;
/// Interrupt controller input of the first INTx line.
pub const INTX_FIRST_GSI: u8 = 16;
/// INTx lines; slot `s` uses input `16 + (s & 7)`.
pub const INTX_LINES: usize = 8;

const SLOTS: usize = 32;

/// A function as the bus and its owner share it.
pub type SharedFunction = Arc<Mutex<dyn PciFunction>>;

/// Why a function could not be added to the bus.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub enum PciError {
    /// All 32 slots are taken.
    #[error("the PCI bus has no free slot: attach fewer devices")]
    NoFreeSlot,
    /// The memory window cannot hold another BAR of this size.
    #[error("the PCI memory window has no room for {size} more bytes: attach fewer devices")]
    WindowFull {
        /// Bytes of the BAR.
        size: u64,
    },
}

/// The PCI bus. Clones share it.
#[derive(Clone)]
pub struct PciRoot {
    bus: Arc<Mutex<Bus>>,
}

struct Bus {
    slots: [Option<SharedFunction>; SLOTS],
    routes: Vec<Route>,
    next_base: u64,
    intx: [Arc<SharedLine>; INTX_LINES],
    messages: Arc<dyn MessageInterrupt>,
}

struct Route {
    slot: u8,
    mapped: MappedBar,
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PciRoot {
    /// A bus with its host bridge in slot 0. `intx` are the interrupt controller's inputs 16 to 23.
    pub fn new(messages: Arc<dyn MessageInterrupt>, intx: [Arc<dyn InterruptLine>; INTX_LINES]) -> Self {
        let mut slots = [const { None }; SLOTS];
        let bridge: SharedFunction = Arc::new(Mutex::new(HostBridge::default()));
        slots[0] = Some(bridge);
        let intx = intx.map(|line| Arc::new(SharedLine::new(line)));
        let bus = Bus { slots, routes: Vec::new(), next_base: MEMORY_WINDOW_BASE, intx, messages };
        Self { bus: Arc::new(Mutex::new(bus)) }
    }

    /// Puts `function` into the next free slot, assigns its BARs, turns memory decoding on and
    /// connects its interrupts. Returns the slot (the device number).
    ///
    /// # Errors
    /// When no slot is free or the memory window is full.
    pub fn add(&self, function: SharedFunction) -> Result<u8, PciError> {
        let mut bus = lock(&self.bus);
        let free = bus.slots.iter().position(Option::is_none).ok_or(PciError::NoFreeSlot)?;
        let slot = free as u8;
        let line = free % INTX_LINES;
        {
            let mut function = lock(&function);
            let mut next_base = bus.next_base;
            let bars: Vec<_> = function.config_space().bars().collect();
            let window_end = MEMORY_WINDOW_BASE + MEMORY_WINDOW_LENGTH;
            for (bar, size, _) in bars {
                let base = next_base.next_multiple_of(size);
                next_base = base
                    .checked_add(size)
                    .filter(|end| *end <= window_end)
                    .ok_or(PciError::WindowFull { size })?;
                function.config_space_mut().set_bar_base(bar, base);
            }
            let config = function.config_space_mut();
            config.set_interrupt_route(INTX_FIRST_GSI + line as u8);
            config.enable(Command::MEMORY_SPACE);
            bus.next_base = next_base;
            let intx = IntxPin::new(bus.intx[line].clone(), slot);
            function.connect_interrupts(FunctionInterrupts { intx, messages: bus.messages.clone() });
            bus.update_routes(slot, &*function);
        }
        bus.slots[free] = Some(function);
        Ok(slot)
    }

    /// The device for the ECAM window ([`ECAM_BASE`]).
    pub fn ecam(&self) -> EcamWindow {
        EcamWindow { root: self.clone() }
    }

    /// The device for the configuration ports ([`CONFIG_PORTS_BASE`]).
    pub fn config_ports(&self) -> ConfigPorts {
        ConfigPorts { root: self.clone(), address: 0 }
    }

    /// The device for the memory window ([`MEMORY_WINDOW_BASE`]).
    pub fn memory_window(&self) -> MemoryWindow {
        MemoryWindow { root: self.clone() }
    }

    /// Follows the base addresses that functions have in their registers, after those were restored
    /// from a snapshot.
    pub fn refresh_routes(&self) {
        let mut bus = lock(&self.bus);
        for slot in 0..SLOTS {
            if let Some(function) = bus.slots[slot].clone() {
                bus.update_routes(slot as u8, &*lock(&function));
            }
        }
    }

    /// Reads configuration space of `slot`. An absent function reads as ones.
    pub fn read_config(&self, slot: u8, register: u16, data: &mut [u8]) {
        let bus = lock(&self.bus);
        match bus.slots.get(usize::from(slot)) {
            Some(Some(function)) => lock(function).read_config(register, data),
            _ => data.fill(0xff),
        }
    }

    /// Writes configuration space of `slot`. A write to an absent function is lost.
    pub fn write_config(&self, slot: u8, register: u16, data: &[u8]) {
        // The bus stays locked meanwhile, so that routes change in the order of the writes.
        let mut bus = lock(&self.bus);
        if let Some(Some(function)) = bus.slots.get(usize::from(slot)).cloned() {
            let mut function = lock(&function);
            function.write_config(register, data);
            bus.update_routes(slot, &*function);
        }
    }

    /// The function that decodes the whole access at guest-physical `address`, its BAR, and the
    /// offset there.
    fn route(&self, address: u64, length: usize) -> Option<(SharedFunction, u8, u64)> {
        let bus = lock(&self.bus);
        let route = bus.routes.iter().find(|route| {
            let MappedBar { base, size, .. } = route.mapped;
            address.checked_sub(base).is_some_and(|offset| offset + length as u64 <= size)
        })?;
        let function = bus.slots.get(usize::from(route.slot))?.clone()?;
        Some((function, route.mapped.bar, address - route.mapped.base))
    }

    /// Reads BAR memory at guest-physical `address`; what no BAR decodes reads as ones.
    pub fn read_memory(&self, address: u64, data: &mut [u8]) {
        match self.route(address, data.len()) {
            Some((function, bar, offset)) => lock(&function).read_bar(bar, offset, data),
            None => data.fill(0xff),
        }
    }

    /// Writes BAR memory at guest-physical `address`; a write that no BAR decodes is lost.
    pub fn write_memory(&self, address: u64, data: &[u8]) {
        if let Some((function, bar, offset)) = self.route(address, data.len()) {
            lock(&function).write_bar(bar, offset, data);
        }
    }
}

impl Bus {
    fn update_routes(&mut self, slot: u8, function: &dyn PciFunction) {
        self.routes.retain(|route| route.slot != slot);
        self.routes.extend(function.config_space().mapped_bars().map(|mapped| Route { slot, mapped }));
    }
}

/// Memory-mapped configuration access: address bits 12–14 select the function, 15–19 the slot.
pub struct EcamWindow {
    root: PciRoot,
}

fn ecam_target(offset: u64) -> Option<(u8, u16)> {
    let is_on_bus = offset < ECAM_LENGTH && (offset >> 12) & 7 == 0;
    is_on_bus.then_some(((offset >> 15) as u8 & 31, offset as u16 & 0xfff))
}

impl BusDevice for EcamWindow {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        match ecam_target(offset) {
            Some((slot, register)) => self.root.read_config(slot, register, data),
            None => data.fill(0xff),
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        if let Some((slot, register)) = ecam_target(offset) {
            self.root.write_config(slot, register, data);
        }
    }
}

/// Configuration mechanism #1: a dword address register at CF8h, a data window at CFCh.
pub struct ConfigPorts {
    root: PciRoot,
    address: u32,
}

impl ConfigPorts {
    /// The address register, to be saved.
    pub fn address(&self) -> u32 {
        self.address
    }

    /// Puts a saved address register back.
    pub fn set_address(&mut self, address: u32) {
        self.address = address & !Self::RESERVED;
    }

    const ENABLE: u32 = 1 << 31;
    const RESERVED: u32 = 0x7f00_0003;
    const BUS_AND_FUNCTION: u32 = 0x00ff_0700;
    const DATA: u64 = 4;

    /// Slot and register for an access to the data window, when the address names function 0 of bus 0.
    fn target(&self, offset: u64) -> Option<(u8, u16)> {
        let is_on_bus = self.address & Self::ENABLE != 0 && self.address & Self::BUS_AND_FUNCTION == 0;
        let register = (self.address & 0xfc) as u16 | (offset & 3) as u16;
        is_on_bus.then_some(((self.address >> 11) as u8 & 31, register))
    }
}

impl BusDevice for ConfigPorts {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        match (offset, data.len()) {
            (0, 4) => data.copy_from_slice(&self.address.to_le_bytes()),
            (Self::DATA.., _) => match self.target(offset) {
                Some((slot, register)) => self.root.read_config(slot, register, data),
                None => data.fill(0xff),
            },
            // Only dword accesses reach the address register (PCI 3.0 §3.2.2.3.2).
            _ => data.fill(0xff),
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        match (offset, data) {
            (0, &[a, b, c, d]) => self.address = u32::from_le_bytes([a, b, c, d]) & !Self::RESERVED,
            (Self::DATA.., _) => {
                if let Some((slot, register)) = self.target(offset) {
                    self.root.write_config(slot, register, data);
                }
            }
            _ => {}
        }
    }
}

/// The memory window, where the functions' BARs are.
pub struct MemoryWindow {
    root: PciRoot,
}

impl BusDevice for MemoryWindow {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        self.root.read_memory(MEMORY_WINDOW_BASE.saturating_add(offset), data);
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        self.root.write_memory(MEMORY_WINDOW_BASE.saturating_add(offset), data);
    }
}
