//! Configuration space with a type 0 header (PCI 3.0 §6.1, §6.2).

/// Bytes of a conventional configuration space.
const CONFIG_BYTES: usize = 256;
/// First byte after the type 0 header, where capabilities start.
const FIRST_CAPABILITY: u8 = 0x40;
/// Base address registers of a type 0 header.
const BARS: usize = 6;

mod register {
    pub const VENDOR: usize = 0x00;
    pub const DEVICE: usize = 0x02;
    pub const COMMAND: usize = 0x04;
    pub const STATUS: usize = 0x06;
    pub const REVISION: usize = 0x08;
    pub const CLASS: usize = 0x09;
    pub const CACHE_LINE: usize = 0x0c;
    pub const BAR0: usize = 0x10;
    pub const SUBSYSTEM_VENDOR: usize = 0x2c;
    pub const SUBSYSTEM: usize = 0x2e;
    pub const CAPABILITIES: usize = 0x34;
    pub const INTERRUPT_LINE: usize = 0x3c;
    pub const INTERRUPT_PIN: usize = 0x3d;
}

const STATUS_INTERRUPT: u8 = 1 << 3;
const STATUS_CAPABILITIES: u8 = 1 << 4;
const BAR_MEMORY_64: u8 = 0b100;

bitflags::bitflags! {
    /// The command register's bits that our functions act on (PCI 3.0 §6.2.2).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Command: u16 {
        /// The function answers in its memory BARs.
        const MEMORY_SPACE = 1 << 1;
        /// The function may access memory and send messages.
        const BUS_MASTER = 1 << 2;
        /// The function must not assert INTx.
        const INTERRUPT_DISABLE = 1 << 10;
    }
}

/// The fixed identity registers of a function.
#[derive(Debug, Clone, Copy)]
pub struct FunctionIdentity {
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Revision ID.
    pub revision: u8,
    /// Class, subclass and programming interface: `0xCCSSPP`.
    pub class: u32,
    /// Subsystem vendor ID.
    pub subsystem_vendor: u16,
    /// Subsystem ID.
    pub subsystem: u16,
}

/// How a memory base address register decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BarWidth {
    /// Anywhere below 4 GiB; one register.
    Bits32,
    /// Anywhere; this register and the next.
    Bits64,
}

#[derive(Debug, Clone, Copy)]
struct Bar {
    size: u64,
    width: BarWidth,
}

/// Where a base address register lies in guest-physical memory just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappedBar {
    /// Index of the (lower) register.
    pub bar: u8,
    /// First guest-physical address.
    pub base: u64,
    /// Bytes.
    pub size: u64,
}

/// 256 bytes of registers, each bit writable or not.
///
/// Sizing a BAR needs no case of its own: the address bits below the size are not writable, so
/// that writing ones reads back as the size mask (PCI 3.0 §6.2.5.1).
pub struct ConfigSpace {
    bytes: [u8; CONFIG_BYTES],
    writable: [u8; CONFIG_BYTES],
    bars: [Option<Bar>; BARS],
    next_capability: u8,
    last_capability: Option<u8>,
}

impl ConfigSpace {
    /// A type 0 header with no BARs and no capabilities.
    pub fn new(identity: FunctionIdentity) -> Self {
        let mut space = Self {
            bytes: [0; CONFIG_BYTES],
            writable: [0; CONFIG_BYTES],
            bars: [None; BARS],
            next_capability: FIRST_CAPABILITY,
            last_capability: None,
        };
        space.put(register::VENDOR, &identity.vendor.to_le_bytes());
        space.put(register::DEVICE, &identity.device.to_le_bytes());
        space.put(register::REVISION, &[identity.revision]);
        space.put(register::CLASS, &identity.class.to_le_bytes()[..3]);
        space.put(register::SUBSYSTEM_VENDOR, &identity.subsystem_vendor.to_le_bytes());
        space.put(register::SUBSYSTEM, &identity.subsystem.to_le_bytes());
        let command = Command::all().bits().to_le_bytes();
        space.allow(register::COMMAND, &command);
        space.allow(register::CACHE_LINE, &[0xff]);
        space.allow(register::INTERRUPT_LINE, &[0xff]);
        space
    }

    fn put(&mut self, at: usize, values: &[u8]) {
        for (byte, value) in self.bytes.iter_mut().skip(at).zip(values) {
            *byte = *value;
        }
    }

    fn allow(&mut self, at: usize, masks: &[u8]) {
        for (byte, mask) in self.writable.iter_mut().skip(at).zip(masks) {
            *byte = *mask;
        }
    }

    /// Declares memory BAR `index` of `size` bytes: a power of two, at least 16.
    ///
    /// # Panics
    /// When the index does not exist or the size is no such power: a mistake in the device's code.
    pub fn add_memory_bar(&mut self, index: u8, size: u64, width: BarWidth) {
        assert!(size.is_power_of_two() && size >= 16, "a BAR of {size} bytes");
        let registers = if width == BarWidth::Bits64 { 2 } else { 1 };
        assert!(usize::from(index) + registers <= BARS, "no BAR {index} of that width");
        let at = register::BAR0 + 4 * usize::from(index);
        let mask = (!(size - 1)).to_le_bytes();
        self.allow(at, &mask[..4 * registers]);
        if width == BarWidth::Bits64 {
            self.put(at, &[BAR_MEMORY_64]);
        }
        self.bars[usize::from(index)] = Some(Bar { size, width });
    }

    /// Appends a capability and returns its offset. `body` follows the ID and next-pointer bytes;
    /// `writable` has the writable bits of each byte of the body (missing ones are read-only).
    ///
    /// # Panics
    /// When configuration space is full: a mistake in the device's code.
    pub fn add_capability(&mut self, id: u8, body: &[u8], writable: &[u8]) -> u8 {
        let at = self.next_capability;
        let end = usize::from(at) + 2 + body.len();
        assert!(end <= CONFIG_BYTES, "no room for capability {id:#x}");
        let link = self.last_capability.map_or(register::CAPABILITIES, |last| usize::from(last) + 1);
        self.put(link, &[at]);
        self.put(usize::from(at), &[id, 0]);
        self.put(usize::from(at) + 2, body);
        self.allow(usize::from(at) + 2, writable);
        self.bytes[register::STATUS] |= STATUS_CAPABILITIES;
        self.last_capability = Some(at);
        self.next_capability = end.next_multiple_of(4).min(0xff) as u8;
        at
    }

    /// Reads `data.len()` bytes at `register`; what lies beyond 256 bytes reads as zero.
    pub fn read(&self, register: u16, data: &mut [u8]) {
        let at = usize::from(register);
        for (index, byte) in data.iter_mut().enumerate() {
            *byte = self.bytes.get(at + index).copied().unwrap_or(0);
        }
    }

    /// Writes the writable bits of `data.len()` bytes at `register`.
    pub fn write(&mut self, register: u16, data: &[u8]) {
        let at = usize::from(register);
        let registers = self.bytes.iter_mut().zip(&self.writable).skip(at);
        for ((byte, mask), value) in registers.zip(data) {
            *byte = (*byte & !mask) | (value & mask);
        }
    }

    fn read_u32_at(&self, at: usize) -> u32 {
        let mut word = [0; 4];
        for (byte, value) in word.iter_mut().zip(self.bytes.iter().skip(at)) {
            *byte = *value;
        }
        u32::from_le_bytes(word)
    }

    /// Reads the 16-bit register at `register`.
    pub fn read_u16(&self, register: u16) -> u16 {
        (self.read_u32_at(usize::from(register)) & 0xffff) as u16
    }

    /// Reads the 32-bit register at `register`.
    pub fn read_u32(&self, register: u16) -> u32 {
        self.read_u32_at(usize::from(register))
    }

    /// The command register.
    pub fn command(&self) -> Command {
        Command::from_bits_truncate((self.read_u32_at(register::COMMAND) & 0xffff) as u16)
    }

    /// Sets command bits, as firmware does before the operating system runs.
    pub fn enable(&mut self, command: Command) {
        let value = (self.command() | command).bits();
        self.put(register::COMMAND, &value.to_le_bytes());
    }

    /// Declares that the function uses INTA#, and which input of the interrupt controller it reaches.
    pub fn set_interrupt_route(&mut self, line: u8) {
        self.put(register::INTERRUPT_LINE, &[line]);
        self.put(register::INTERRUPT_PIN, &[1]);
    }

    /// Shows in the status register whether the function wants INTx service.
    pub fn set_interrupt_status(&mut self, is_pending: bool) {
        let status = &mut self.bytes[register::STATUS];
        *status = if is_pending { *status | STATUS_INTERRUPT } else { *status & !STATUS_INTERRUPT };
    }

    /// The declared BARs: index, size in bytes and width.
    pub fn bars(&self) -> impl Iterator<Item = (u8, u64, BarWidth)> + '_ {
        (0u8..).zip(&self.bars).filter_map(|(index, bar)| bar.map(|bar| (index, bar.size, bar.width)))
    }

    /// Programs BAR `index` with `base`, as firmware does.
    pub fn set_bar_base(&mut self, index: u8, base: u64) {
        let Some(Some(bar)) = self.bars.get(usize::from(index)) else { return };
        let length = if bar.width == BarWidth::Bits64 { 8 } else { 4 };
        self.write(register::BAR0 as u16 + 4 * u16::from(index), &base.to_le_bytes()[..length]);
    }

    /// The BARs at their present addresses; none while memory decoding is off.
    pub fn mapped_bars(&self) -> impl Iterator<Item = MappedBar> + '_ {
        let is_decoding = self.command().contains(Command::MEMORY_SPACE);
        self.bars().filter(move |_| is_decoding).map(|(bar, size, width)| {
            let at = register::BAR0 + 4 * usize::from(bar);
            let low = u64::from(self.read_u32_at(at) & !0xf);
            let high = if width == BarWidth::Bits64 { u64::from(self.read_u32_at(at + 4)) } else { 0 };
            MappedBar { bar, base: high << 32 | low, size }
        })
    }

    /// All registers, to be saved.
    pub fn registers(&self) -> [u8; CONFIG_BYTES] {
        self.bytes
    }

    /// Puts saved registers back. Only writable bits are taken, so that a saved image cannot turn
    /// the function into another one.
    pub fn restore_registers(&mut self, registers: &[u8]) {
        self.write(0, registers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> ConfigSpace {
        ConfigSpace::new(FunctionIdentity {
            vendor: 0x1af4,
            device: 0x1042,
            revision: 1,
            class: 0x01_80_00,
            subsystem_vendor: 0x1af4,
            subsystem: 0x1100,
        })
    }

    #[test]
    fn identity_is_read_only() {
        let mut space = space();
        space.write(0, &[0xff; 4]);
        space.write(8, &[0xff; 4]);
        assert_eq!(space.read_u32(0), 0x1042_1af4);
        assert_eq!(space.read_u32(8), 0x0180_0001);
    }

    #[test]
    fn sizing_a_64_bit_bar_reads_back_its_size_mask() {
        let mut space = space();
        space.add_memory_bar(0, 0x8000, BarWidth::Bits64);
        space.write(0x10, &[0xff; 4]);
        space.write(0x14, &[0xff; 4]);
        assert_eq!(space.read_u32(0x10), 0xffff_8004);
        assert_eq!(space.read_u32(0x14), 0xffff_ffff);
        assert_eq!(space.read_u32(0x18), 0, "a BAR that does not exist");
    }

    #[test]
    fn a_bar_is_mapped_only_while_memory_decoding_is_on() {
        let mut space = space();
        space.add_memory_bar(2, 0x1000, BarWidth::Bits32);
        space.set_bar_base(2, 0xc000_5678);
        assert_eq!(space.mapped_bars().count(), 0);
        space.write(4, &Command::MEMORY_SPACE.bits().to_le_bytes());
        let expected = MappedBar { bar: 2, base: 0xc000_5000, size: 0x1000 };
        assert_eq!(space.mapped_bars().collect::<Vec<_>>(), [expected]);
    }

    #[test]
    fn capabilities_form_a_list() {
        let mut space = space();
        assert_eq!(space.read_u16(6) & 0x10, 0);
        let first = space.add_capability(0x09, &[1, 2, 3], &[]);
        let second = space.add_capability(0x11, &[0; 10], &[0, 0xc0]);
        assert_ne!(space.read_u16(6) & 0x10, 0);
        let mut bytes = [0; 1];
        space.read(0x34, &mut bytes);
        assert_eq!(bytes[0], first);
        assert_eq!(space.read_u16(first.into()), u16::from(second) << 8 | 0x09);
        space.write(u16::from(second) + 2, &[0xff; 2]);
        assert_eq!(space.read_u16(u16::from(second) + 2), 0xc000);
    }

    #[test]
    fn accesses_past_the_end_are_harmless() {
        let mut space = space();
        space.write(254, &[0xff; 4]);
        space.write(4095, &[0xff; 1]);
        assert_eq!(space.read_u32(4095), 0);
    }
}
