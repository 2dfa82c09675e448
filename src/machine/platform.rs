//! The devices of a machine and how they are wired.

use super::handle::Inbox;
use super::time::MachineTime;
use crate::devices::acpi::{GenerationId, PM_BLOCK_LENGTH, PM_BLOCK_PORT, PowerManagement};
use crate::devices::apic_bus::{ApicBus, ApicInbox};
use crate::devices::bus::{Bus, BusOverlap, lock};
use crate::devices::fw_cfg::{FW_CFG_PORT, FW_CFG_PORT_COUNT, FirmwareConfig};
use crate::devices::i8042::{COMMAND_PORT, DATA_PORT, KeyboardController, SYSTEM_CONTROL_A_PORT};
use crate::devices::ioapic::{IO_APIC_BASE, IO_APIC_LENGTH, IoApic, IoApicPin};
use crate::devices::isa::{self, IsaLine};
use crate::devices::lapic::{LOCAL_APIC_BASE, LocalApic};
use crate::devices::pci::{
    CONFIG_PORTS_BASE, CONFIG_PORTS_LENGTH, ConfigPorts, ECAM_BASE, ECAM_LENGTH, INTX_FIRST_GSI,
    MEMORY_WINDOW_BASE, MEMORY_WINDOW_LENGTH, PciError, PciRoot,
};
use crate::devices::pic::{self, Pic};
use crate::devices::pit::{PIT_PORT, Pit, SYSTEM_CONTROL_PORT};
use crate::devices::power::{DEBUG_EXIT_PORT, DebugExit, PowerSwitch};
use crate::devices::rtc::{RTC_PORT, RTC_PORT_COUNT, RealTimeClock};
use crate::devices::serial::{SERIAL_PORT, SERIAL_PORT_COUNT, SerialPort};
use crate::devices::{BusDevice, InterruptLine};
use crate::host::{BlockSource, ConsoleOutput, Entropy, NetBackend};
use crate::mem::GuestMemory;
use crate::virtio::VirtioPci;
use crate::virtio::blk::BlkDevice;
use crate::virtio::console::ConsoleDevice;
use crate::virtio::net::NetDevice;
use crate::virtio::p9::{P9Device, Share};
use crate::virtio::rng::RngDevice;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};

/// Bytes of the local APIC's register window.
const LOCAL_APIC_LENGTH: u64 = 0x1000;

/// A device that acts at a point in time.
trait Timed: Send {
    /// When it acts next, in machine nanoseconds.
    fn next_deadline_ns(&self) -> Option<u64>;

    /// Lets it act on what is due.
    fn advance_to(&mut self, now_ns: u64);
}

macro_rules! timed {
    ($($device:ty),*) => {$(
        impl Timed for $device {
            fn next_deadline_ns(&self) -> Option<u64> {
                <$device>::next_deadline_ns(self)
            }

            fn advance_to(&mut self, now_ns: u64) {
                <$device>::advance_to(self, now_ns);
            }
        }
    )*};
}

timed!(Pit, RealTimeClock, PowerManagement, VirtioPci<NetDevice>);

/// What the host gives to the devices.
pub(super) struct Backends {
    pub serial_output: Box<dyn ConsoleOutput>,
    pub console_output: Box<dyn ConsoleOutput>,
    pub console_size: (u16, u16),
    pub disks: Vec<Box<dyn BlockSource>>,
    pub network: Option<Box<dyn NetBackend>>,
    pub shares: Vec<Share>,
    pub entropy: Box<dyn Entropy>,
}

/// Why the devices could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// Two devices claim the same addresses.
    #[error(transparent)]
    Overlap(#[from] BusOverlap),
    /// A PCI device has no place.
    #[error("too many disks and shares: {0}")]
    Pci(#[from] PciError),
    /// The processor has no local APIC.
    #[error("there is no local APIC for processor {0}")]
    NoApic(u32),
}

/// All devices of a machine.
pub(super) struct Platform {
    pub memory_bus: Arc<Bus>,
    pub port_bus: Arc<Bus>,
    pub local_apic: Arc<Mutex<LocalApic>>,
    pub power: Arc<PowerSwitch>,
    pub generation_id: GenerationId,
    pub(super) pic: Arc<Mutex<Pic>>,
    pub(super) io_apic: Arc<Mutex<IoApic>>,
    pub(super) pit: Arc<Mutex<Pit>>,
    pub(super) rtc: Arc<Mutex<RealTimeClock>>,
    pub(super) keyboard: Arc<Mutex<KeyboardController>>,
    pub(super) pci: PciRoot,
    pub(super) config_ports: Arc<Mutex<ConfigPorts>>,
    pub(super) rng: Arc<Mutex<VirtioPci<RngDevice>>>,
    pub(super) serial: Arc<Mutex<SerialPort>>,
    /// Typed bytes that the serial port had no room for.
    pub(super) serial_backlog: Vec<u8>,
    pub(super) console: Arc<Mutex<VirtioPci<ConsoleDevice>>>,
    pub(super) disks: Vec<Arc<Mutex<VirtioPci<BlkDevice>>>>,
    pub(super) network: Option<Arc<Mutex<VirtioPci<NetDevice>>>>,
    pub(super) shares: Vec<Arc<Mutex<VirtioPci<P9Device>>>>,
    pub(super) power_management: Arc<Mutex<PowerManagement>>,
    timed: Vec<Arc<Mutex<dyn Timed>>>,
}

impl Platform {
    /// Builds and wires all devices. `attention` becomes 1 when a processor must look.
    pub fn new(
        memory: &GuestMemory,
        time: &MachineTime,
        attention: &Arc<AtomicU32>,
        backends: Backends,
    ) -> Result<Self, PlatformError> {
        let clock = time.clock();
        let processors = Arc::new(ApicBus::new(vec![Arc::new(ApicInbox::new(0, attention.clone()))]));
        let io_apic = Arc::new(Mutex::new(IoApic::new(processors.clone())));
        let pic = Arc::new(Mutex::new(Pic::new(processors.clone())));
        let mut local_apic =
            LocalApic::new(0, processors.clone(), clock.clone()).ok_or(PlatformError::NoApic(0))?;
        local_apic.connect_end_of_interrupt(io_apic.clone());
        local_apic.connect_external_interrupts(pic.clone());
        let local_apic = Arc::new(Mutex::new(local_apic));

        let line = |number: u8| -> Arc<dyn InterruptLine> {
            Arc::new(IsaLine::new(pic.clone(), io_apic.clone(), number))
        };
        let power = Arc::new(PowerSwitch::new(attention.clone()));
        let pit = Arc::new(Mutex::new(Pit::new(clock.clone(), line(isa::TIMER_LINE))));
        let rtc = Arc::new(Mutex::new(RealTimeClock::new(clock.clone(), line(isa::CLOCK_LINE))));
        let keyboard = Arc::new(Mutex::new(KeyboardController::new(power.clone())));
        let serial = Arc::new(Mutex::new(SerialPort::new(line(isa::SERIAL_LINE), backends.serial_output)));
        let power_management =
            Arc::new(Mutex::new(PowerManagement::new(clock.clone(), line(isa::ACPI_LINE), power.clone())));

        let intx: [Arc<dyn InterruptLine>; 8] = std::array::from_fn(|pin| -> Arc<dyn InterruptLine> {
            Arc::new(IoApicPin::new(io_apic.clone(), INTX_FIRST_GSI + pin as u8))
        });
        let pci = PciRoot::new(processors, intx);
        let (columns, rows) = backends.console_size;
        let console = ConsoleDevice::new(backends.console_output, columns, rows);
        let console = Arc::new(Mutex::new(VirtioPci::new(memory.clone(), console)));
        pci.add(console.clone())?;
        let rng = Arc::new(Mutex::new(VirtioPci::new(memory.clone(), RngDevice::new(backends.entropy))));
        pci.add(rng.clone())?;
        let generation_line = Box::new(IsaLine::new(pic.clone(), io_apic.clone(), isa::GENERATION_LINE));
        let generation_id = GenerationId::new(memory.clone(), generation_line);
        let config_ports = Arc::new(Mutex::new(pci.config_ports()));
        let mut disks = Vec::new();
        for (index, source) in backends.disks.into_iter().enumerate() {
            let disk = BlkDevice::new(source, &format!("disk{index}"));
            let disk = Arc::new(Mutex::new(VirtioPci::new(memory.clone(), disk)));
            pci.add(disk.clone())?;
            disks.push(disk);
        }
        let network = backends
            .network
            .map(|backend| Arc::new(Mutex::new(VirtioPci::new(memory.clone(), NetDevice::new(backend)))));
        let mut timed: Vec<Arc<Mutex<dyn Timed>>> = vec![pit.clone(), rtc.clone(), power_management.clone()];
        if let Some(network) = &network {
            pci.add(network.clone())?;
            timed.push(network.clone());
        }
        let mut shares = Vec::new();
        for share in backends.shares {
            let share = P9Device::new(share, clock.clone());
            let share = Arc::new(Mutex::new(VirtioPci::new(memory.clone(), share)));
            pci.add(share.clone())?;
            shares.push(share);
        }

        let mut memory_bus = Bus::new("memory");
        let mut at =
            |base, length, device: Arc<Mutex<dyn BusDevice>>| memory_bus.insert(base, length, device);
        at(MEMORY_WINDOW_BASE, MEMORY_WINDOW_LENGTH, Arc::new(Mutex::new(pci.memory_window())))?;
        at(ECAM_BASE, ECAM_LENGTH, Arc::new(Mutex::new(pci.ecam())))?;
        at(IO_APIC_BASE, IO_APIC_LENGTH, io_apic.clone())?;
        at(LOCAL_APIC_BASE, LOCAL_APIC_LENGTH, local_apic.clone())?;

        let mut port_bus = Bus::new("port");
        let mut at =
            |base, length, device: Arc<Mutex<dyn BusDevice>>| port_bus.insert_ports(base, length, device);
        at(pic::FIRST_PORT, 2, pic.clone())?;
        at(pic::SECOND_PORT, 2, pic.clone())?;
        at(pic::EDGE_LEVEL_PORT, 2, pic.clone())?;
        at(PIT_PORT, 4, pit.clone())?;
        at(SYSTEM_CONTROL_PORT, 1, pit.clone())?;
        at(SERIAL_PORT, SERIAL_PORT_COUNT, serial.clone())?;
        at(RTC_PORT, RTC_PORT_COUNT, rtc.clone())?;
        at(DATA_PORT, 1, keyboard.clone())?;
        at(COMMAND_PORT, 1, keyboard.clone())?;
        at(SYSTEM_CONTROL_A_PORT, 1, keyboard.clone())?;
        at(DEBUG_EXIT_PORT, 1, Arc::new(Mutex::new(DebugExit::new(power.clone()))))?;
        port_bus.insert(u64::from(PM_BLOCK_PORT), u64::from(PM_BLOCK_LENGTH), power_management.clone())?;
        port_bus.insert(
            u64::from(CONFIG_PORTS_BASE),
            u64::from(CONFIG_PORTS_LENGTH),
            config_ports.clone(),
        )?;
        let firmware_config = FirmwareConfig::new(memory.size(), 1);
        port_bus.insert(
            u64::from(FW_CFG_PORT),
            u64::from(FW_CFG_PORT_COUNT),
            Arc::new(Mutex::new(firmware_config)),
        )?;

        Ok(Self {
            memory_bus: Arc::new(memory_bus),
            port_bus: Arc::new(port_bus),
            local_apic,
            power,
            generation_id,
            pic,
            io_apic,
            pit,
            rtc,
            keyboard,
            pci,
            config_ports,
            rng,
            serial,
            serial_backlog: Vec::new(),
            console,
            disks,
            network,
            timed,
            shares,
            power_management,
        })
    }

    /// Hands the outside's input to the devices.
    pub fn deliver(&mut self, inbox: Inbox) {
        if !inbox.console_input.is_empty() {
            lock(&self.console).input(&inbox.console_input);
        }
        if let Some((columns, rows)) = inbox.console_size {
            lock(&self.console).resize(columns, rows);
        }
        self.type_on_serial(&inbox.serial_input);
        if inbox.is_power_button_pressed {
            lock(&self.power_management).press_power_button();
        }
        if inbox.has_storage_progressed {
            for disk in &self.disks {
                lock(disk).resume();
            }
            for share in &self.shares {
                lock(share).resume();
            }
        }
        if let Some(network) = &self.network
            && inbox.has_network_progressed
        {
            lock(network).resume();
        }
    }

    /// Types on the serial port, as far as it has room; the rest waits.
    pub fn type_on_serial(&mut self, bytes: &[u8]) {
        self.serial_backlog.extend_from_slice(bytes);
        if !self.serial_backlog.is_empty() {
            let taken = lock(&self.serial).push_input(&self.serial_backlog);
            self.serial_backlog.drain(..taken);
        }
    }

    /// Whether input waits for room in the serial port.
    pub fn has_backlog(&self) -> bool {
        !self.serial_backlog.is_empty()
    }

    /// Lets timers act on what is due; returns when the next is due, in machine nanoseconds.
    pub fn advance_to(&self, now_ns: u64) -> Option<u64> {
        let mut local_apic = lock(&self.local_apic);
        local_apic.advance_to(now_ns);
        let mut next = local_apic.next_timer_deadline_ns();
        drop(local_apic);
        for device in &self.timed {
            let mut device = lock(device);
            device.advance_to(now_ns);
            next = [next, device.next_deadline_ns()].into_iter().flatten().min();
        }
        next
    }
}
