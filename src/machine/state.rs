//! What a snapshot keeps of a machine, and how its devices get it back.

use super::platform::Platform;
use crate::cpu::{CpuModel, VcpuState};
use crate::devices::acpi::PowerManagementState;
use crate::devices::bus::lock;
use crate::devices::i8042::KeyboardState;
use crate::devices::ioapic::IoApicState;
use crate::devices::lapic::LocalApicState;
use crate::devices::pic::PicState;
use crate::devices::pit::PitState;
use crate::devices::rtc::RtcState;
use crate::devices::serial::SerialState;
use crate::snapshot::SnapshotError;
use crate::storage::tree::FileError;
use crate::virtio::blk::BlkState;
use crate::virtio::console::ConsoleState;
use crate::virtio::net::NetState;
use crate::virtio::p9::P9State;
use crate::virtio::{DeviceError, VirtioDevice, VirtioPci, VirtioPciState};
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::sync::Mutex;

/// By what a disk is known again.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct SavedDisk {
    /// In bytes.
    pub size: u64,
    /// The SHA-256 of its image, where that is known.
    pub image: Option<[u8; 32]>,
}

impl SavedDisk {
    /// Whether `other` is not for sure another disk.
    fn may_be(&self, other: &Self) -> bool {
        let is_other_image = self.image.zip(other.image).is_some_and(|(image, other)| image != other);
        self.size == other.size && !is_other_image
    }
}

/// What a machine is made of. A snapshot goes into a machine that is made of the same.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Configuration {
    pub memory_bytes: u64,
    pub cpu_model: CpuModel,
    pub disks: Vec<SavedDisk>,
    pub has_network: bool,
    /// The tags of the shares.
    pub shares: Vec<String>,
    /// The machine's time when it was saved.
    pub now_ns: u64,
    /// Instructions retired until then.
    pub instructions: u64,
}

impl Configuration {
    /// Checks that the machine `other`, which is at hand, is made of the same.
    ///
    /// # Errors
    /// A sentence, if it is not.
    pub fn check(&self, other: &Self) -> Result<(), SnapshotError> {
        let mismatch = |sentence| Err(SnapshotError::Mismatch(sentence));
        let sizes = |disks: &[SavedDisk]| disks.iter().map(|disk| disk.size).collect::<Vec<_>>();
        let (saved, found) = (sizes(&self.disks), sizes(&other.disks));
        if saved != found {
            return mismatch(format!(
                "it was saved with disks of {saved:?} bytes, these are of {found:?}; give it the same disks",
            ));
        }
        if self.disks.iter().zip(&other.disks).any(|(saved, found)| !saved.may_be(found)) {
            return mismatch("it was saved with another disk image; give it the same disks".to_owned());
        }
        if self.has_network != other.has_network {
            let which = if self.has_network { "with" } else { "without" };
            return mismatch(format!("it was saved {which} a network card; restore it {which} one"));
        }
        if self.shares != other.shares {
            return mismatch(format!(
                "it was saved with the shares {:?}; give it those instead of {:?}",
                self.shares, other.shares
            ));
        }
        Ok(())
    }
}

/// Processor and devices.
#[derive(Serialize, Deserialize)]
pub(super) struct MachineState {
    pub vcpu: VcpuState,
    pub look_at: u64,
    /// Whether something asked the run loop to look.
    pub has_attention: bool,
    /// Where the sources of entropy have come to, if they repeat: the processor's and the device's.
    pub entropy_positions: [Option<u64>; 2],
    /// What the serial port and the virtio console have shown last.
    pub shown: [Vec<u8>; 2],
    /// Whether the guest listens on its serial port.
    pub is_listening: bool,
    pub devices: DevicesState,
}

/// A virtio device: its transport and itself.
#[derive(Serialize, Deserialize)]
pub(super) struct VirtioState<T> {
    transport: VirtioPciState,
    device: T,
}

/// All devices.
#[derive(Serialize, Deserialize)]
pub(super) struct DevicesState {
    console: VirtioState<ConsoleState>,
    rng: VirtioState<()>,
    disks: Vec<VirtioState<BlkState>>,
    network: Option<VirtioState<NetState>>,
    shares: Vec<VirtioState<P9State>>,
    config_address: u32,
    serial: SerialState,
    serial_backlog: Vec<u8>,
    pit: PitState,
    rtc: RtcState,
    keyboard: KeyboardState,
    power_management: PowerManagementState,
    pic: PicState,
    io_apic: IoApicState,
    local_apic: LocalApicState,
}

fn state_of<D: VirtioDevice, S>(device: &Mutex<VirtioPci<D>>, state: impl FnOnce(&D) -> S) -> VirtioState<S> {
    let device = lock(device);
    VirtioState { transport: device.state(), device: state(device.device()) }
}

fn failed(device: &'static str) -> impl Fn(DeviceError) -> SnapshotError {
    move |error| SnapshotError::Device { device, problem: error.to_string() }
}

fn missing(device: &'static str) -> SnapshotError {
    SnapshotError::Device { device, problem: "it is not in the snapshot".to_owned() }
}

impl Platform {
    /// All devices, to be saved between two runs of the processor.
    ///
    /// Requests of disks and shares that wait are saved as such, and done again from where they were. Connections
    /// of the network are not saved.
    ///
    /// # Errors
    /// When a share cannot tell where its files are.
    pub fn state(&self) -> Result<DevicesState, SnapshotError> {
        let mut shares = Vec::new();
        for share in &self.shares {
            let mut share = lock(share);
            let device = share.device_mut().state().map_err(|error| match error {
                FileError::Pending => {
                    SnapshotError::NotNow("a shared directory is being read; try again".to_owned())
                }
                error => SnapshotError::NotNow(format!("a shared directory does not answer: {error}")),
            })?;
            shares.push(VirtioState { transport: share.state(), device });
        }
        Ok(DevicesState {
            console: state_of(&self.console, |console| console.state()),
            rng: state_of(&self.rng, |_| ()),
            disks: self.disks.iter().map(|disk| state_of(disk, |disk| disk.state())).collect(),
            network: self.network.as_ref().map(|network| state_of(network, |network| network.state())),
            shares,
            config_address: lock(&self.config_ports).address(),
            serial: lock(&self.serial).state(),
            serial_backlog: self.serial_backlog.clone(),
            pit: lock(&self.pit).state(),
            rtc: lock(&self.rtc).state(),
            keyboard: lock(&self.keyboard).state(),
            power_management: lock(&self.power_management).state(),
            pic: lock(&self.pic).state(),
            io_apic: lock(&self.io_apic).state(),
            local_apic: lock(&self.local_apic).state(),
        })
    }

    /// Prints on the serial port and on the virtio console, in place of the guest.
    pub fn print(&self, serial: &[u8], console: &[u8]) {
        lock(&self.serial).print(serial);
        lock(&self.console).device_mut().print(console);
    }

    /// Puts saved devices back. RAM and the disks are as they were saved. Returns whether requests wait for their
    /// disk or share.
    ///
    /// # Errors
    /// When a device cannot take its state.
    pub fn restore(&mut self, state: DevicesState) -> Result<bool, SnapshotError> {
        let mut has_waiting = false;
        let restored = lock(&self.console).restore(&state.console.transport, |console, _| {
            console.restore(&state.console.device);
            Ok(())
        });
        restored.map_err(failed("the console"))?;
        lock(&self.rng).restore(&state.rng.transport, |_, _| Ok(())).map_err(failed("the entropy device"))?;
        for (index, disk) in self.disks.iter().enumerate() {
            let saved = state.disks.get(index).ok_or_else(|| missing("a disk"))?;
            let mut disk = lock(disk);
            disk.restore(&saved.transport, |disk, context| disk.restore(&saved.device, context))
                .map_err(failed("a disk"))?;
            has_waiting |= disk.device().waiting_requests() > 0;
        }
        if let Some(network) = &self.network {
            let saved = state.network.as_ref().ok_or_else(|| missing("the network card"))?;
            lock(network)
                .restore(&saved.transport, |card, context| card.restore(&saved.device, context))
                .map_err(failed("the network card"))?;
        }
        for (index, share) in self.shares.iter().enumerate() {
            let saved = state.shares.get(index).ok_or_else(|| missing("a share"))?;
            let mut outcome = Ok(());
            lock(share)
                .restore(&saved.transport, |share, context| {
                    outcome = share.restore(&saved.device, context);
                    Ok(())
                })
                .map_err(failed("a share"))?;
            let problem =
                |error: &dyn Display| SnapshotError::Device { device: "a share", problem: error.to_string() };
            outcome.map_err(|error| problem(&error))?;
            has_waiting |= !saved.device.waiting.is_empty();
        }
        self.pci.refresh_routes();
        lock(&self.config_ports).set_address(state.config_address);
        lock(&self.serial).restore(state.serial);
        self.serial_backlog = state.serial_backlog;
        lock(&self.pit).restore(state.pit);
        lock(&self.rtc).restore(state.rtc);
        lock(&self.keyboard).restore(state.keyboard);
        lock(&self.power_management).restore(state.power_management);
        // Devices that were put back have driven their lines. What counts is what the controllers had seen.
        lock(&self.pic).restore(state.pic);
        lock(&self.io_apic).restore(state.io_apic);
        lock(&self.local_apic).restore(state.local_apic);
        Ok(has_waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_another_if_its_size_or_its_known_image_is() {
        let disk = |size, image| SavedDisk { size, image };
        let known = disk(512, Some([1; 32]));
        assert!(known.may_be(&known));
        assert!(known.may_be(&disk(512, None)));
        assert!(!known.may_be(&disk(512, Some([2; 32]))));
        assert!(!known.may_be(&disk(1024, Some([1; 32]))));
    }
}
