//! The network card (virtio 1.2 §5.1): one pair of queues, mergeable buffers, checksum and TCP
//! segmentation left to the other end.
//!
//! ```text
//! eth0 ──> transmit queue ──> NetBackend::send
//! eth0 <── receive queue <─── NetBackend::receive, when the guest has lent buffers
//! ```
//!
//! Frames for which there are no buffers stay with the backend, which holds their senders back.

mod config;
mod control;
mod header;
mod state;

pub use state::NetState;

use super::device::{DeviceContext, DeviceError, DeviceType, VirtioDevice};
use super::{DescriptorChain, VirtioPci, read_config_bytes};
use crate::host::{Acceptance, Frame, NetBackend, Offload};
use header::HEADER_BYTES;
use std::collections::VecDeque;

const QUEUE_SIZE: u16 = 256;
const CONTROL_QUEUE_SIZE: u16 = 64;
const RECEIVE_QUEUE: u16 = 0;
const TRANSMIT_QUEUE: u16 = 1;
const CONTROL_QUEUE: u16 = 2;

/// Largest frame that a driver sends: a segment of 64 KiB behind an Ethernet header with a VLAN tag.
const MAX_FRAME: usize = 65_535 + 18;

/// Feature bits of the network card (§5.1.3).
mod feature_bit {
    pub const CHECKSUM: u64 = 1 << 0;
    pub const GUEST_CHECKSUM: u64 = 1 << 1;
    pub const ADDRESS: u64 = 1 << 5;
    pub const GUEST_SEGMENT_TCP4: u64 = 1 << 7;
    pub const HOST_SEGMENT_TCP4: u64 = 1 << 11;
    pub const MERGEABLE_BUFFERS: u64 = 1 << 15;
    pub const STATUS: u64 = 1 << 16;
    pub const CONTROL_QUEUE: u64 = 1 << 17;
    pub const CONTROL_RECEIVE: u64 = 1 << 18;
}

/// A network card.
pub struct NetDevice {
    backend: Box<dyn NetBackend>,
    /// What the driver has accepted; zero while there is none.
    features: u64,
    /// Buffers that the driver has lent and no frame has filled yet.
    lent: VecDeque<DescriptorChain>,
    /// Room of `lent` in bytes.
    lent_bytes: u64,
    /// The frame whose turn it is, while the driver has too few buffers for it.
    waiting: Option<Frame<Vec<u8>>>,
    /// Room for a frame of the guest.
    buffer: Vec<u8>,
    now_ns: u64,
    next_deadline_ns: Option<u64>,
}

impl NetDevice {
    /// A card with its cable in `backend`.
    pub fn new(backend: Box<dyn NetBackend>) -> Self {
        Self {
            backend,
            features: 0,
            lent: VecDeque::new(),
            lent_bytes: 0,
            waiting: None,
            buffer: Vec::new(),
            now_ns: 0,
            next_deadline_ns: None,
        }
    }

    fn has(&self, feature: u64) -> bool {
        self.features & feature == feature
    }

    fn set_features(&mut self, features: u64) {
        self.features = features;
        self.lent.clear();
        self.lent_bytes = 0;
        self.waiting = None;
        self.backend.set_accepted(Acceptance {
            partial_checksum: self.has(feature_bit::GUEST_CHECKSUM),
            segmentation: self.has(feature_bit::GUEST_CHECKSUM | feature_bit::GUEST_SEGMENT_TCP4),
        });
    }

    /// Sends what the driver has queued.
    fn transmit(&mut self, context: &mut DeviceContext<'_>) -> Result<(), DeviceError> {
        while let Some(chain) = context.pop(TRANSMIT_QUEUE)? {
            self.transmit_frame(&chain)?;
            context.push_used(TRANSMIT_QUEUE, chain.head(), 0)?;
        }
        Ok(())
    }

    fn transmit_frame(&mut self, chain: &DescriptorChain) -> Result<(), DeviceError> {
        let mut header = [0; HEADER_BYTES];
        let length =
            usize::try_from(chain.readable_bytes()).ok().and_then(|all| all.checked_sub(HEADER_BYTES));
        let Some(length) = length else {
            let problem = "is too short for its header";
            return Err(DeviceError::Request { queue: TRANSMIT_QUEUE, head: chain.head(), problem });
        };
        chain.read(0, &mut header).map_err(DeviceError::in_queue(TRANSMIT_QUEUE))?;
        let Some(offload) = header::parse(header).filter(|offload| self.may_leave(offload)) else {
            log::debug!("a frame whose header {header:x?} asks for what was not agreed on is lost");
            return Ok(());
        };
        if length > MAX_FRAME {
            log::debug!("a frame of {length} bytes is lost");
            return Ok(());
        }
        self.buffer.resize(length, 0);
        chain.read(HEADER_BYTES as u64, &mut self.buffer).map_err(DeviceError::in_queue(TRANSMIT_QUEUE))?;
        self.backend.send(Frame { bytes: &self.buffer, offload });
        Ok(())
    }

    /// Whether the driver may leave this to us.
    fn may_leave(&self, offload: &Offload) -> bool {
        (offload.checksum.is_none() || self.has(feature_bit::CHECKSUM))
            && (offload.segment.is_none() || self.has(feature_bit::HOST_SEGMENT_TCP4))
    }

    /// Lets the backend go on, and moves its frames to the driver while there are both frames and buffers.
    fn advance(&mut self, context: &mut DeviceContext<'_>) -> Result<(), DeviceError> {
        loop {
            self.next_deadline_ns = self.backend.advance_to(self.now_ns);
            // Room that was made lets the backend's senders go on.
            if !self.deliver(context)? {
                return Ok(());
            }
        }
    }

    /// Moves frames to the driver; whether there were any.
    fn deliver(&mut self, context: &mut DeviceContext<'_>) -> Result<bool, DeviceError> {
        let mut has_delivered = false;
        if context.queue(RECEIVE_QUEUE).is_none() {
            return Ok(false);
        }
        while let Some(frame) = self.waiting.take().or_else(|| self.backend.receive()) {
            if !self.receive_frame(&frame, context)? {
                self.waiting = Some(frame);
                break;
            }
            has_delivered = true;
        }
        Ok(has_delivered)
    }

    /// Puts a frame into the driver's buffers; whether there were enough.
    fn receive_frame(
        &mut self,
        frame: &Frame<Vec<u8>>,
        context: &mut DeviceContext<'_>,
    ) -> Result<bool, DeviceError> {
        let needed = (HEADER_BYTES + frame.bytes.len()) as u64;
        let may_merge = self.has(feature_bit::MERGEABLE_BUFFERS);
        while self.lent.is_empty() || may_merge && self.lent_bytes < needed {
            let Some(chain) = context.pop(RECEIVE_QUEUE)? else { return Ok(false) };
            if chain.writable_bytes() < HEADER_BYTES as u64 {
                let problem = "has no room for a header";
                return Err(DeviceError::Request { queue: RECEIVE_QUEUE, head: chain.head(), problem });
            }
            self.lent_bytes += chain.writable_bytes();
            self.lent.push_back(chain);
        }
        if self.lent_bytes < needed {
            log::debug!(
                "a frame of {} bytes does not fit the driver's buffer and is lost",
                frame.bytes.len()
            );
            return Ok(true);
        }
        let mut room = 0;
        let count = self.lent.iter().take_while(|chain| {
            let is_needed = room < needed;
            room += chain.writable_bytes();
            is_needed
        });
        let count = count.count();
        let header = header::structure(frame.offload, count as u16);
        let mut used = Vec::with_capacity(count);
        let mut rest = frame.bytes.as_slice();
        for (index, chain) in self.lent.drain(..count).enumerate() {
            self.lent_bytes -= chain.writable_bytes();
            let skip = if index == 0 { HEADER_BYTES } else { 0 };
            let room = usize::try_from(chain.writable_bytes()).unwrap_or(usize::MAX) - skip;
            let (piece, after) = rest.split_at(room.min(rest.len()));
            chain.write(skip as u64, piece).map_err(DeviceError::in_queue(RECEIVE_QUEUE))?;
            if index == 0 {
                chain.write(0, &header).map_err(DeviceError::in_queue(RECEIVE_QUEUE))?;
            }
            used.push((chain.head(), (skip + piece.len()) as u32));
            rest = after;
        }
        context.push_used_together(RECEIVE_QUEUE, &used)?;
        Ok(true)
    }
}

impl VirtioDevice for NetDevice {
    fn device_type(&self) -> DeviceType {
        DeviceType::Network
    }

    fn pci_class(&self) -> u32 {
        0x02_00_00
    }

    fn features(&self) -> u64 {
        let always = feature_bit::ADDRESS
            | feature_bit::MERGEABLE_BUFFERS
            | feature_bit::STATUS
            | feature_bit::CONTROL_QUEUE
            | feature_bit::CONTROL_RECEIVE;
        let offload = feature_bit::CHECKSUM
            | feature_bit::GUEST_CHECKSUM
            | feature_bit::GUEST_SEGMENT_TCP4
            | feature_bit::HOST_SEGMENT_TCP4;
        if self.backend.finishes_frames() { always | offload } else { always }
    }

    fn queue_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE, QUEUE_SIZE, CONTROL_QUEUE_SIZE]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_config_bytes(&config::structure(self.backend.guest_address()), offset, data);
    }

    fn write_config(&mut self, _offset: u64, _data: &[u8]) {
        // A modern driver has no field to write (§5.1.4.2).
    }

    fn activate(&mut self, features: u64) {
        log::debug!("virtio-net: features {features:#x}");
        self.set_features(features);
    }

    fn queue_notified(&mut self, queue: u16, context: &mut DeviceContext<'_>) -> Result<(), DeviceError> {
        match queue {
            TRANSMIT_QUEUE => self.transmit(context)?,
            CONTROL_QUEUE => {
                while let Some(chain) = context.pop(CONTROL_QUEUE)? {
                    let written = control::execute(&chain)?;
                    context.push_used(CONTROL_QUEUE, chain.head(), written)?;
                }
            }
            _ => {}
        }
        self.advance(context)
    }

    fn reset(&mut self) {
        self.set_features(0);
    }
}

impl VirtioPci<NetDevice> {
    /// Goes on with what waited for the outside or for `now_ns` (nanoseconds of the machine's clock).
    pub fn advance_to(&mut self, now_ns: u64) {
        self.with_device(|card, context| {
            card.now_ns = card.now_ns.max(now_ns);
            card.advance(context)
        });
    }

    /// Goes on with what waited for the outside.
    pub fn resume(&mut self) {
        self.with_device(NetDevice::advance);
    }

    /// When the card wants to go on by itself, in nanoseconds of the machine's clock.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.device().next_deadline_ns
    }
}
