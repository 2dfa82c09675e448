//! MSI-X: the table, the pending bits, and masking (PCI 3.0 §6.8.2).

use super::ConfigSpace;
use crate::devices::MessageInterrupt;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Bytes of one table entry.
pub const MSIX_ENTRY_BYTES: u64 = 16;

const CAPABILITY_ID: u8 = 0x11;
const CONTROL_ENABLE: u16 = 1 << 15;
const CONTROL_FUNCTION_MASK: u16 = 1 << 14;
const VECTOR_MASKED: u32 = 1;

/// One entry of the table: the message, and whether it is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MsixEntry {
    /// Address of the message's memory write.
    pub address: u64,
    /// Data of the message's memory write.
    pub data: u32,
    /// Whether the vector is masked. Vectors start masked.
    pub is_masked: bool,
}

impl MsixEntry {
    const AT_RESET: Self = Self { address: 0, data: 0, is_masked: true };

    fn to_bytes(self) -> [u8; 16] {
        let control = if self.is_masked { VECTOR_MASKED } else { 0 };
        let high = u64::from(control) << 32 | u64::from(self.data);
        (u128::from(high) << 64 | u128::from(self.address)).to_le_bytes()
    }

    fn from_bytes(bytes: [u8; 16]) -> Self {
        let value = u128::from_le_bytes(bytes);
        Self {
            // The two low address bits are reserved: messages are dword writes.
            address: value as u64 & !3,
            data: (value >> 64) as u32,
            is_masked: (value >> 96) as u32 & VECTOR_MASKED != 0,
        }
    }
}

/// The part of an MSI-X table that a snapshot keeps; the message control word is in configuration space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MsixState {
    /// The table.
    pub entries: Vec<MsixEntry>,
    /// Which vectors have an interrupt that waits for unmasking.
    pub pending: Vec<bool>,
}

/// A function's MSI-X vectors.
pub struct MsixTable {
    capability: u8,
    entries: Vec<MsixEntry>,
    pending: Vec<bool>,
    is_enabled: bool,
    is_function_masked: bool,
    messages: Option<Arc<dyn MessageInterrupt>>,
}

impl MsixTable {
    /// Adds the capability to `config`: `vectors` (1 to 2048) entries at `table_offset` in BAR `bar`,
    /// the pending bits at `pending_offset` (both multiples of 8).
    pub fn new(
        config: &mut ConfigSpace,
        vectors: u16,
        bar: u8,
        table_offset: u32,
        pending_offset: u32,
    ) -> Self {
        let vectors = vectors.clamp(1, 2048);
        let mut body = Vec::with_capacity(10);
        body.extend_from_slice(&(vectors - 1).to_le_bytes());
        body.extend_from_slice(&(table_offset | u32::from(bar)).to_le_bytes());
        body.extend_from_slice(&(pending_offset | u32::from(bar)).to_le_bytes());
        let control = CONTROL_ENABLE | CONTROL_FUNCTION_MASK;
        let capability = config.add_capability(CAPABILITY_ID, &body, &control.to_le_bytes());
        Self {
            capability,
            entries: vec![MsixEntry::AT_RESET; vectors.into()],
            pending: vec![false; vectors.into()],
            is_enabled: false,
            is_function_masked: false,
            messages: None,
        }
    }

    /// Connects the table to where messages go.
    pub fn connect(&mut self, messages: Arc<dyn MessageInterrupt>) {
        self.messages = Some(messages);
    }

    /// Number of vectors.
    pub fn vectors(&self) -> u16 {
        self.entries.len() as u16
    }

    /// Whether the guest uses MSI-X in place of INTx.
    pub fn is_enabled(&self) -> bool {
        self.is_enabled
    }

    /// Takes over the message control word after a write to configuration space.
    pub fn control_written(&mut self, config: &ConfigSpace) {
        let control = config.read_u16(u16::from(self.capability) + 2);
        self.is_enabled = control & CONTROL_ENABLE != 0;
        self.is_function_masked = control & CONTROL_FUNCTION_MASK != 0;
        for vector in 0..self.entries.len() {
            self.send_if_pending(vector);
        }
    }

    /// Raises `vector`: sends its message, or notes it as pending while it is masked.
    /// A vector outside the table, or any while MSI-X is off, has no effect.
    pub fn trigger(&mut self, vector: u16) {
        if !self.is_enabled {
            return;
        }
        if let Some(pending) = self.pending.get_mut(usize::from(vector)) {
            *pending = true;
            self.send_if_pending(vector.into());
        }
    }

    fn send_if_pending(&mut self, vector: usize) {
        let (Some(entry), Some(pending)) = (self.entries.get(vector), self.pending.get_mut(vector)) else {
            return;
        };
        if *pending && self.is_enabled && !self.is_function_masked && !entry.is_masked {
            *pending = false;
            if let Some(messages) = &self.messages {
                messages.send(entry.address, entry.data);
            }
        }
    }

    /// Reads the table at `offset`; reads zero beyond its end.
    pub fn read_table(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        let (index, within) = Self::locate(offset);
        if let Some(entry) = self.entries.get(index) {
            for (byte, value) in data.iter_mut().zip(&entry.to_bytes()[within..]) {
                *byte = *value;
            }
        }
    }

    /// Writes the table at `offset`; unmasking a vector that is pending sends its message.
    pub fn write_table(&mut self, offset: u64, data: &[u8]) {
        let (index, within) = Self::locate(offset);
        let Some(entry) = self.entries.get_mut(index) else { return };
        let mut bytes = entry.to_bytes();
        for (byte, value) in bytes[within..].iter_mut().zip(data) {
            *byte = *value;
        }
        *entry = MsixEntry::from_bytes(bytes);
        self.send_if_pending(index);
    }

    fn locate(offset: u64) -> (usize, usize) {
        let index = usize::try_from(offset / MSIX_ENTRY_BYTES).unwrap_or(usize::MAX);
        (index, (offset % MSIX_ENTRY_BYTES) as usize)
    }

    /// Reads the pending bit array at `offset`. It is read-only to the guest.
    pub fn read_pending(&self, offset: u64, data: &mut [u8]) {
        for (index, byte) in data.iter_mut().enumerate() {
            let first = offset.saturating_add(index as u64).saturating_mul(8);
            let first = usize::try_from(first).unwrap_or(usize::MAX);
            let bits = self.pending.iter().skip(first).take(8).enumerate();
            *byte = bits.fold(0, |byte, (bit, is_pending)| byte | u8::from(*is_pending) << bit);
        }
    }

    /// The table and pending bits, to be saved.
    pub fn state(&self) -> MsixState {
        MsixState { entries: self.entries.clone(), pending: self.pending.clone() }
    }

    /// Puts a saved table back; entries beyond this table's size are dropped. The caller restores
    /// configuration space first. Sends nothing.
    pub fn restore(&mut self, state: &MsixState, config: &ConfigSpace) {
        for (entry, saved) in self.entries.iter_mut().zip(&state.entries) {
            *entry = *saved;
        }
        self.pending.fill(false);
        self.control_written(config);
        for (pending, saved) in self.pending.iter_mut().zip(&state.pending) {
            *pending = *saved;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::FunctionIdentity;
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Sent(Mutex<Vec<(u64, u32)>>);

    impl MessageInterrupt for Sent {
        fn send(&self, address: u64, data: u32) {
            self.0.lock().unwrap().push((address, data));
        }
    }

    struct Fixture {
        config: ConfigSpace,
        table: MsixTable,
        sent: Arc<Sent>,
    }

    impl Fixture {
        fn new() -> Self {
            let identity = FunctionIdentity {
                vendor: 1,
                device: 2,
                revision: 0,
                class: 0,
                subsystem_vendor: 0,
                subsystem: 0,
            };
            let mut config = ConfigSpace::new(identity);
            let mut table = MsixTable::new(&mut config, 3, 0, 0x6000, 0x7000);
            let sent = Arc::new(Sent::default());
            table.connect(sent.clone());
            table.write_table(16, &0xfee0_1000u64.to_le_bytes());
            table.write_table(24, &0x41u32.to_le_bytes());
            Self { config, table, sent }
        }

        fn set_control(&mut self, control: u16) {
            self.config.write(u16::from(self.table.capability) + 2, &control.to_le_bytes());
            self.table.control_written(&self.config);
        }

        fn pending(&self) -> u8 {
            let mut byte = [0];
            self.table.read_pending(0, &mut byte);
            byte[0]
        }

        fn sent(&self) -> Vec<(u64, u32)> {
            std::mem::take(&mut *self.sent.0.lock().unwrap())
        }
    }

    #[test]
    fn an_unmasked_vector_sends_its_message() {
        let mut fixture = Fixture::new();
        fixture.set_control(CONTROL_ENABLE);
        fixture.table.write_table(28, &0u32.to_le_bytes());
        fixture.table.trigger(1);
        assert_eq!(fixture.sent(), [(0xfee0_1000, 0x41)]);
        assert_eq!(fixture.pending(), 0);
    }

    #[test]
    fn a_masked_vector_waits_and_sends_once_when_unmasked() {
        let mut fixture = Fixture::new();
        fixture.set_control(CONTROL_ENABLE);
        fixture.table.trigger(1);
        fixture.table.trigger(1);
        assert_eq!(fixture.sent(), []);
        assert_eq!(fixture.pending(), 0b10);
        fixture.table.write_table(28, &0u32.to_le_bytes());
        assert_eq!(fixture.sent(), [(0xfee0_1000, 0x41)]);
        assert_eq!(fixture.pending(), 0);
    }

    #[test]
    fn the_function_mask_holds_every_vector_back() {
        let mut fixture = Fixture::new();
        fixture.table.write_table(28, &0u32.to_le_bytes());
        fixture.set_control(CONTROL_ENABLE | CONTROL_FUNCTION_MASK);
        fixture.table.trigger(1);
        assert_eq!(fixture.sent(), []);
        assert_eq!(fixture.pending(), 0b10);
        fixture.set_control(CONTROL_ENABLE);
        assert_eq!(fixture.sent(), [(0xfee0_1000, 0x41)]);
    }

    #[test]
    fn nothing_is_sent_or_pending_while_disabled_or_out_of_range() {
        let mut fixture = Fixture::new();
        fixture.table.trigger(1);
        fixture.set_control(CONTROL_ENABLE);
        fixture.table.trigger(3);
        fixture.table.trigger(u16::MAX);
        assert_eq!(fixture.pending(), 0);
        assert_eq!(fixture.sent(), []);
        fixture.table.write_table(u64::MAX, &[1]);
        let mut data = [1; 8];
        fixture.table.read_table(48, &mut data);
        assert_eq!(data, [0; 8]);
        fixture.table.read_pending(u64::MAX, &mut data[..1]);
    }

    #[test]
    fn a_saved_table_comes_back_with_its_pending_bits() {
        let mut fixture = Fixture::new();
        fixture.set_control(CONTROL_ENABLE);
        fixture.table.trigger(1);
        let state = fixture.table.state();
        let mut other = Fixture::new();
        other.config.restore_registers(&fixture.config.registers());
        other.table.restore(&state, &other.config);
        assert!(other.table.is_enabled());
        assert_eq!(other.table.state(), state);
        other.table.write_table(28, &0u32.to_le_bytes());
        assert_eq!(other.sent(), [(0xfee0_1000, 0x41)]);
    }
}
