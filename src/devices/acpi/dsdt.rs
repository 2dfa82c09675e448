//! The differentiated system description table: what the guest cannot find by probing.
//!
//! Its one method tells what an event is about. Interpreting AML costs the guest much, and all else that there is
//! to say is constant.

use super::generation::GENERATION_ID_ADDRESS;
use super::registers::{PM_BLOCK_LENGTH, PM_BLOCK_PORT, SLEEP_TYPE_SOFT_OFF};
use super::tables::PciLayout;
use super::{OEM_ID, OEM_REVISION, OEM_TABLE_ID};
use crate::devices::isa::{CLOCK_LINE, GENERATION_LINE, SERIAL_LINE};
use crate::devices::serial::{SERIAL_PORT, SERIAL_PORT_COUNT};
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, Device, EISAName, IO, Interrupt, Memory32Fixed, Method, Name,
    Notify, Package, PackageBuilder, Path, ResourceTemplate, Scope,
};
use acpi_tables::sdt::Sdt;
use acpi_tables::{Aml, AmlSink};

/// Configuration address and data ports of PCI.
const PCI_CONFIG_PORT: u16 = 0xcf8;

/// The whole table.
pub fn dsdt(pci: &PciLayout) -> Vec<u8> {
    let mut aml = Vec::new();
    let sleep_type = SLEEP_TYPE_SOFT_OFF;
    Name::new("_S5_".into(), &Package::new(vec![&sleep_type, &sleep_type, &0_u8, &0_u8]))
        .to_aml_bytes(&mut aml);
    let scope_body: [fn(&PciLayout, &mut dyn AmlSink); 6] =
        [host_bridge, motherboard, serial_port, real_time_clock, generation_id, generic_events];
    let devices = scope_body.map(|device| Emitted { pci, device });
    Scope::new("_SB_".into(), devices.iter().map(|device| device as &dyn Aml).collect())
        .to_aml_bytes(&mut aml);

    let mut table = Sdt::new(*b"DSDT", 36, 2, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    table.append_slice(&aml);
    table.as_slice().to_vec()
}

/// A device object, made when the scope around it is.
struct Emitted<'a> {
    pci: &'a PciLayout,
    device: fn(&PciLayout, &mut dyn AmlSink),
}

impl Aml for Emitted<'_> {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        (self.device)(self.pci, sink);
    }
}

fn io_range(port: u16, count: u16) -> IO {
    IO::new(port, port, 1, count as u8)
}

/// An edge-triggered, active-high ISA interrupt of its own.
fn isa_interrupt(line: u8) -> Interrupt {
    Interrupt::new(true, true, false, false, u32::from(line))
}

fn host_bridge(pci: &PciLayout, sink: &mut dyn AmlSink) {
    let mut routes = PackageBuilder::new();
    for slot in 0..pci.slot_count {
        let address = u32::from(slot) << 16 | 0xffff;
        let interrupt = pci.interrupt_of_slot(slot);
        // Source 0: the last element is a global system interrupt (ACPI 6.5 §6.2.13).
        routes.add_element(&Package::new(vec![&address, &0_u8, &0_u8, &interrupt]));
    }
    let last_memory = pci.memory_base + (pci.memory_length - 1);
    Device::new(
        "PCI0".into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0A08")),
            &Name::new("_CID".into(), &EISAName::new("PNP0A03")),
            &Name::new("_UID".into(), &0_u8),
            &Name::new("_SEG".into(), &0_u8),
            &Name::new("_BBN".into(), &0_u8),
            &Name::new(
                "_CRS".into(),
                &ResourceTemplate::new(vec![
                    &AddressSpace::new_bus_number(0_u16, 0),
                    &io_range(PCI_CONFIG_PORT, 8),
                    &AddressSpace::new_io(0_u16, PCI_CONFIG_PORT - 1, None),
                    &AddressSpace::new_io(PCI_CONFIG_PORT + 8, u16::MAX, None),
                    &AddressSpace::new_memory(
                        AddressSpaceCacheable::NotCacheable,
                        true,
                        pci.memory_base,
                        last_memory,
                        None,
                    ),
                ]),
            ),
            &Name::new("_PRT".into(), &routes),
        ],
    )
    .to_aml_bytes(sink);
}

/// Ranges that are taken but belong to no driver. Linux uses the ECAM only if it is among them.
fn motherboard(pci: &PciLayout, sink: &mut dyn AmlSink) {
    Device::new(
        "MBRD".into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0C02")),
            &Name::new("_UID".into(), &0_u8),
            &Name::new(
                "_CRS".into(),
                &ResourceTemplate::new(vec![
                    &Memory32Fixed::new(true, pci.ecam_base, pci.ecam_length),
                    &io_range(PM_BLOCK_PORT, PM_BLOCK_LENGTH),
                ]),
            ),
        ],
    )
    .to_aml_bytes(sink);
}

fn serial_port(_: &PciLayout, sink: &mut dyn AmlSink) {
    Device::new(
        "COM1".into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0501")),
            &Name::new("_UID".into(), &0_u8),
            &Name::new(
                "_CRS".into(),
                &ResourceTemplate::new(vec![
                    &io_range(SERIAL_PORT, SERIAL_PORT_COUNT),
                    &isa_interrupt(SERIAL_LINE),
                ]),
            ),
        ],
    )
    .to_aml_bytes(sink);
}

fn real_time_clock(_: &PciLayout, sink: &mut dyn AmlSink) {
    Device::new(
        "RTC_".into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0B00")),
            &Name::new(
                "_CRS".into(),
                &ResourceTemplate::new(vec![&io_range(0x70, 2), &isa_interrupt(CLOCK_LINE)]),
            ),
        ],
    )
    .to_aml_bytes(sink);
}

/// The virtual machine generation ID (Microsoft, "Virtual Machine Generation ID", version 1.0).
fn generation_id(_: &PciLayout, sink: &mut dyn AmlSink) {
    let address = GENERATION_ID_ADDRESS as u32;
    Device::new(
        "VGEN".into(),
        vec![
            &Name::new("_HID".into(), &"VMGENCTR"),
            &Name::new("_CID".into(), &"VM_Gen_Counter"),
            &Name::new("_DDN".into(), &"VM_Gen_Counter"),
            // The lower and the upper half.
            &Name::new("ADDR".into(), &Package::new(vec![&address, &0_u32])),
        ],
    )
    .to_aml_bytes(sink);
}

/// The generic event device (ACPI 6.5 §5.6.9), whose one event is that the generation ID has changed.
fn generic_events(_: &PciLayout, sink: &mut dyn AmlSink) {
    const STATUS_CHANGE: u8 = 0x80;
    Device::new(
        "GED_".into(),
        vec![
            &Name::new("_HID".into(), &"ACPI0013"),
            &Name::new("_UID".into(), &0_u8),
            &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&isa_interrupt(GENERATION_LINE)])),
            &Method::new(
                "_EVT".into(),
                1,
                true,
                vec![&Notify::new(&Path::new("\\_SB_.VGEN"), &STATUS_CHANGE)],
            ),
        ],
    )
    .to_aml_bytes(sink);
}
