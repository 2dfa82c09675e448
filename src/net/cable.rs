//! The TCP stack's view of the cable: one packet in, packets for the guest out.

use super::link::{ETHERNET_HEADER, Link, MTU};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, PacketMeta, RxToken, TxToken};
use smoltcp::time::Instant;
use std::num::NonZeroUsize;

/// Largest packet that the guest cuts into smaller ones, in bytes. The length field of IPv4 ends at 65,535.
const LARGEST_PACKET: NonZeroUsize = NonZeroUsize::new(61_440).unwrap();

/// A device for one call of the stack.
pub struct Cable<'a> {
    /// The packet to take in, until it is taken.
    pub incoming: Option<&'a [u8]>,
    /// Where packets go.
    pub link: &'a mut Link,
}

impl Device for Cable<'_> {
    type RxToken<'t>
        = Incoming<'t>
    where
        Self: 't;
    type TxToken<'t>
        = Outgoing<'t>
    where
        Self: 't;

    fn receive(&mut self, _timestamp: Instant) -> Option<(Incoming<'_>, Outgoing<'_>)> {
        let packet = self.incoming.take()?;
        // An answer is smaller than what it answers; the link drops it if it is far too full.
        Some((Incoming(packet), Outgoing { link: self.link, segment_bytes: None }))
    }

    fn transmit(&mut self, _timestamp: Instant) -> Option<Outgoing<'_>> {
        self.link.has_room().then_some(Outgoing { link: self.link, segment_bytes: None })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let accepted = self.link.accepted();
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        // What comes in came by memory, and its checksum may have been left to us.
        capabilities.checksum.tcp = if accepted.partial_checksum { Checksum::None } else { Checksum::Tx };
        capabilities.checksum.ipv4 = Checksum::Tx;
        if accepted.partial_checksum && accepted.segmentation {
            capabilities.segmentation.tcpv4 = Some(LARGEST_PACKET);
        }
        capabilities
    }
}

/// A packet of the guest.
pub struct Incoming<'a>(&'a [u8]);

impl RxToken for Incoming<'_> {
    fn consume<R, F>(self, f: F) -> R
    where
        F: FnOnce(&[u8]) -> R,
    {
        f(self.0)
    }
}

/// Room for a packet to the guest.
pub struct Outgoing<'a> {
    link: &'a mut Link,
    segment_bytes: Option<u16>,
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F>(self, len: usize, f: F) -> R
    where
        F: FnOnce(&mut [u8]) -> R,
    {
        let mut bytes = vec![0; ETHERNET_HEADER + len];
        let (_, packet) = bytes.split_at_mut(ETHERNET_HEADER);
        let result = f(packet);
        self.link.send_tcp(bytes, self.segment_bytes);
        result
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.segment_bytes = meta.segmentation_offload_size.map(Into::into);
    }
}
