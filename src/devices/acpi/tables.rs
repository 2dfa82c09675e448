//! The static tables (ACPI 6.5 §5.2), laid out in one image for guest memory.

use super::dsdt::dsdt;
use super::generation::GENERATION_ID_ADDRESS;
use super::registers::{
    PM_BLOCK_PORT, PM_TIMER_OFFSET, PM1_CONTROL_OFFSET, PM1_EVENT_OFFSET, RESET_OFFSET, RESET_VALUE,
};
use super::{OEM_ID, OEM_REVISION, OEM_TABLE_ID};
use crate::devices::ioapic::IO_APIC_BASE;
use crate::devices::isa::{ACPI_LINE, TIMER_LINE, TIMER_PIN};
use crate::devices::lapic::LOCAL_APIC_BASE;
use acpi_tables::Aml;
use acpi_tables::facs::FACS;
use acpi_tables::fadt::{FADTBuilder, Flags, PmProfile};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::madt::{EnabledStatus, IoApic, ProcessorLocalApic};
use acpi_tables::mcfg::MCFG;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;

/// Where PCI's windows are, and how its interrupt pins are wired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciLayout {
    /// First byte of the enhanced configuration area of bus 0.
    pub ecam_base: u32,
    /// Its length: 1 MiB a bus.
    pub ecam_length: u32,
    /// First byte of the window for memory BARs.
    pub memory_base: u32,
    /// Its length.
    pub memory_length: u32,
    /// Slots that have an interrupt route. Few, because the guest walks them for each device.
    pub slot_count: u8,
}

impl Default for PciLayout {
    /// One bus; BARs from 0xC000_0000 to 0xE000_0000, the configuration area after them.
    fn default() -> Self {
        Self {
            ecam_base: 0xe000_0000,
            ecam_length: 0x10_0000,
            memory_base: 0xc000_0000,
            memory_length: 0x2000_0000,
            slot_count: 16,
        }
    }
}

impl PciLayout {
    /// The global system interrupt of pin A of a slot: 16 to 23, level-triggered, active low.
    pub fn interrupt_of_slot(&self, slot: u8) -> u8 {
        16 + (slot & 7)
    }
}

/// What the tables depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcpiConfig {
    /// Processors; their APIC ids count from zero.
    pub processor_count: u32,
    /// The PCI host bridge.
    pub pci: PciLayout,
}

impl Default for AcpiConfig {
    /// One processor.
    fn default() -> Self {
        Self { processor_count: 1, pci: PciLayout::default() }
    }
}

/// All tables, as bytes for guest memory from one address on.
#[derive(Clone, Debug)]
pub struct AcpiTables {
    /// What to write at the base address.
    pub image: Vec<u8>,
    /// Guest-physical address of the root system description pointer.
    pub rsdp_address: u64,
}

impl AcpiTables {
    /// Where machines have them: the BIOS area, where a guest without a pointer searches too.
    pub const BASE: u32 = 0xe_0000;
    /// Bytes that they may take.
    pub const CAPACITY: usize = (GENERATION_ID_ADDRESS - Self::BASE as u64) as usize;

    /// The tables for `config`, to be written at `base` (a multiple of 64).
    pub fn new(base: u32, config: &AcpiConfig) -> Self {
        let mut image = vec![0; Rsdp::len()];
        let mut place = |table: &[u8]| {
            // The FACS must be aligned to 64 bytes; the others do not mind.
            image.resize(image.len().next_multiple_of(64), 0);
            let address = base + image.len() as u32;
            image.extend_from_slice(table);
            address
        };
        let facs = place(&bytes(&FACS::new()));
        let dsdt = place(&dsdt(&config.pci));
        let fadt = place(&fadt(facs, dsdt));
        let madt = place(&madt(config.processor_count));
        let mut mcfg = MCFG::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
        mcfg.add_ecam(u64::from(config.pci.ecam_base), 0, 0, 0);
        let mcfg = place(&bytes(&mcfg));
        let mut xsdt = XSDT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
        for table in [fadt, madt, mcfg] {
            xsdt.add_entry(u64::from(table));
        }
        let xsdt = place(&bytes(&xsdt));
        for (target, byte) in image.iter_mut().zip(bytes(&Rsdp::new(OEM_ID, u64::from(xsdt)))) {
            *target = byte;
        }
        Self { image, rsdp_address: u64::from(base) }
    }
}

fn bytes(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

fn io_register(offset: u16, bits: u8, access: AccessSize) -> GAS {
    GAS::new(AddressSpace::SystemIo, bits, 0, access, u64::from(PM_BLOCK_PORT + offset))
}

/// Fixed ACPI description table (ACPI 6.5 §5.2.9).
fn fadt(facs: u32, dsdt: u32) -> Vec<u8> {
    const LEGACY_DEVICES: u16 = 1 << 0;
    const NO_VGA: u16 = 1 << 2;
    const NO_ASPM: u16 = 1 << 4;

    let port = |offset| u32::from(PM_BLOCK_PORT + offset);
    let mut fadt = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION)
        .preferred_pm_profile(PmProfile::Desktop)
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        // There is no sleep button; the power button is fixed hardware. The clock wakes nobody.
        .flag(Flags::SlpButton)
        .flag(Flags::FixRtc)
        .flag(Flags::TmrValExt)
        .flag(Flags::ResetRegSup);
    fadt.firmware_ctrl = facs.into();
    fadt.dsdt = dsdt.into();
    fadt.x_dsdt = u64::from(dsdt).into();
    fadt.sci_int = u16::from(ACPI_LINE).into();
    fadt.pm1a_evt_blk = port(PM1_EVENT_OFFSET).into();
    fadt.pm1_evt_len = 4;
    fadt.x_pm1a_evt_blk = io_register(PM1_EVENT_OFFSET, 32, AccessSize::WordAccess);
    fadt.pm1a_cnt_blk = port(PM1_CONTROL_OFFSET).into();
    fadt.pm1_cnt_len = 2;
    fadt.x_pm1a_cnt_blk = io_register(PM1_CONTROL_OFFSET, 16, AccessSize::WordAccess);
    fadt.pm_tmr_blk = port(PM_TIMER_OFFSET).into();
    fadt.pm_tmr_len = 4;
    fadt.x_pm_tmr_blk = io_register(PM_TIMER_OFFSET, 32, AccessSize::DwordAccess);
    fadt.reset_reg = io_register(RESET_OFFSET, 8, AccessSize::ByteAccess);
    fadt.reset_value = RESET_VALUE;
    // Latencies that mean: no C2, no C3.
    fadt.p_lvl2_lat = 0xffff.into();
    fadt.p_lvl3_lat = 0xffff.into();
    fadt.century = 0x32;
    // The keyboard controller is not announced: it can only reset, and probing it costs the guest time.
    fadt.iapc_boot_arch = (LEGACY_DEVICES | NO_VGA | NO_ASPM).into();
    bytes(&fadt.finalize())
}

/// Multiple APIC description table (ACPI 6.5 §5.2.12).
fn madt(processor_count: u32) -> Vec<u8> {
    const PCAT_COMPAT: u32 = 1;
    const SOURCE_OVERRIDE: u8 = 2;
    const LOCAL_NMI: u8 = 4;
    const LOCAL_X2APIC: u8 = 9;
    const LEVEL_ACTIVE_HIGH: u16 = 0b1101;
    const CONFORMING: u16 = 0;

    let mut body = (LOCAL_APIC_BASE as u32).to_le_bytes().to_vec();
    body.extend(PCAT_COMPAT.to_le_bytes());
    for id in 0..processor_count {
        // APIC ids from 255 on have the longer form only (ACPI 6.5 §5.2.12.12).
        match u8::try_from(id) {
            Ok(id) if id < 255 => {
                body.extend(bytes(&ProcessorLocalApic::new(id, id, EnabledStatus::Enabled)));
            }
            _ => {
                body.extend([LOCAL_X2APIC, 16, 0, 0]);
                for field in [id, 1, id] {
                    body.extend(field.to_le_bytes());
                }
            }
        }
    }
    body.extend(bytes(&IoApic::new(0, IO_APIC_BASE as u32, 0)));
    let overrides = [(TIMER_LINE, TIMER_PIN, CONFORMING), (ACPI_LINE, ACPI_LINE, LEVEL_ACTIVE_HIGH)];
    for (line, pin, flags) in overrides {
        body.extend([SOURCE_OVERRIDE, 10, 0, line]);
        body.extend(u32::from(pin).to_le_bytes());
        body.extend(flags.to_le_bytes());
    }
    // LINT1 of every processor is NMI, as on a PC.
    body.extend([LOCAL_NMI, 6, 0xff, 0, 0, 1]);

    let mut table = Sdt::new(*b"APIC", 36, 5, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    table.append_slice(&body);
    table.as_slice().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn u32_at(bytes: &[u8], offset: usize) -> u32 {
        u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap())
    }

    fn u64_at(bytes: &[u8], offset: usize) -> u64 {
        u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap())
    }

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    /// Walks the tables as a guest does, and checks each checksum on the way.
    fn tables(config: &AcpiConfig) -> Vec<(String, Vec<u8>)> {
        let base = AcpiTables::BASE;
        let AcpiTables { image, rsdp_address } = AcpiTables::new(base, config);
        assert!(image.len() <= AcpiTables::CAPACITY);
        assert_eq!(rsdp_address, u64::from(base));
        assert_eq!(&image[..8], b"RSD PTR ");
        assert_eq!((sum(&image[..20]), sum(&image[..36])), (0, 0));
        let table_at = |address: u64| {
            let start = address as usize - base as usize;
            let length = u32_at(&image, start + 4) as usize;
            let table = image[start..start + length].to_vec();
            (String::from_utf8(table[..4].to_vec()).unwrap(), table)
        };
        let (_, xsdt) = table_at(u64_at(&image, 24));
        let mut found: Vec<_> = xsdt[36..].chunks(8).map(|entry| table_at(u64_at(entry, 0))).collect();
        let fadt = found[0].1.clone();
        found.push(table_at(u64_at(&fadt, 140)));
        for (name, table) in &found {
            assert_eq!(sum(table), 0, "checksum of {name}");
        }
        let facs = u32_at(&fadt, 36) as u64;
        assert_eq!(facs % 64, 0);
        assert_eq!(table_at(facs).0, "FACS");
        found
    }

    #[test]
    fn a_guest_finds_all_tables_with_good_checksums() {
        let names: Vec<_> = tables(&AcpiConfig::default()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["FACP", "APIC", "MCFG", "DSDT"]);
    }

    #[test]
    fn the_fadt_names_the_registers() {
        let fadt = tables(&AcpiConfig::default()).remove(0).1;
        assert_eq!(fadt.len(), 276);
        assert_eq!(u32_at(&fadt, 56), 0x600, "PM1a event block");
        assert_eq!(u32_at(&fadt, 64), 0x604, "PM1a control block");
        assert_eq!(u32_at(&fadt, 76), 0x608, "PM timer");
        assert_eq!((u64_at(&fadt, 120), fadt[128]), (0x60c, 1), "reset register and value");
        assert_eq!(u16::from_le_bytes([fadt[46], fadt[47]]), 9, "SCI");
        assert_ne!(u32_at(&fadt, 112) & 1 << 10, 0, "the reset register is supported");
    }

    #[test]
    fn the_madt_lists_every_processor_and_the_overrides() {
        let config = AcpiConfig { processor_count: 257, ..AcpiConfig::default() };
        let madt = tables(&config).remove(1).1;
        let mut entries = &madt[44..];
        let mut kinds = [0; 16];
        let mut overrides = Vec::new();
        while let [kind, length, ..] = *entries {
            kinds[usize::from(kind)] += 1;
            if kind == 2 {
                overrides.push((entries[3], u32_at(entries, 4)));
            }
            entries = &entries[usize::from(length)..];
        }
        assert_eq!((kinds[0], kinds[1], kinds[2], kinds[4], kinds[9]), (255, 1, 2, 1, 2));
        assert_eq!(overrides, [(0, 2), (9, 9)]);
    }

    #[test]
    fn the_dsdt_is_small_and_has_every_device() {
        let dsdt = tables(&AcpiConfig::default()).remove(3).1;
        assert!(dsdt.len() < 1024, "{} bytes", dsdt.len());
        for name in [b"_S5_", b"PCI0", b"_PRT", b"COM1", b"RTC_", b"MBRD", b"VGEN", b"GED_"] {
            assert!(dsdt.windows(4).any(|window| window == name), "{}", String::from_utf8_lossy(name));
        }
    }
}
