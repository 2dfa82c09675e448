//! The other end of a network card's cable.

/// A host that exchanges Ethernet frames with a guest's network card.
///
/// Its methods return at once. Frames may become ready at any time: the host then tells the machine
/// that its network has progressed, and the card asks with [`advance_to`](Self::advance_to) and [`receive`](Self::receive).
pub trait NetBackend: Send {
    /// The card's address, which it keeps for its life.
    fn guest_address(&self) -> [u8; 6];

    /// Whether frames may be left to this end to finish: see [`Offload`]. Without it, every frame that it is
    /// given or gives is complete.
    fn finishes_frames(&self) -> bool;

    /// Which frames the guest accepts from now on. Called when the guest's driver has started, or has stopped
    /// (then with nothing accepted).
    fn set_accepted(&mut self, accepted: Acceptance);

    /// A saved guest goes on over this backend, with the address that it was given before. Called behind
    /// [`set_accepted`](Self::set_accepted).
    fn guest_returned(&mut self) {}

    /// Takes a frame from the guest. What the network has no room for is lost, as on any cable.
    fn send(&mut self, frame: Frame<&[u8]>);

    /// The next frame for the guest. One that is not asked for waits, and the network holds its senders back.
    fn receive(&mut self) -> Option<Frame<Vec<u8>>>;

    /// Goes on with everything that waited for the outside or for `now_ns` (nanoseconds of the machine's
    /// clock); says when it wants to be called again.
    fn advance_to(&mut self, now_ns: u64) -> Option<u64>;
}

/// An Ethernet frame without its check sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<B> {
    /// The frame, from its destination address on.
    pub bytes: B,
    /// What is left to do with it.
    pub offload: Offload,
}

impl<B> Frame<B> {
    /// A frame with nothing left to do.
    pub const fn complete(bytes: B) -> Self {
        Self { bytes, offload: Offload { checksum: None, segment: None } }
    }
}

/// What the sender of a frame has left to the receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The transport checksum is that of the pseudo-header only.
    pub checksum: Option<PartialChecksum>,
    /// The frame holds a TCP segment over IPv4 that is to be cut into several for a real cable.
    pub segment: Option<Segmentation>,
}

/// Where the checksum of an unfinished frame belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialChecksum {
    /// Offset in the frame of the first byte that it covers.
    pub start: u16,
    /// Its own offset from there.
    pub offset: u16,
}

/// How a large TCP segment is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// Bytes of Ethernet, IPv4 and TCP headers.
    pub header_bytes: u16,
    /// Most TCP payload in one piece, in bytes.
    pub payload_bytes: u16,
}

/// Which unfinished frames a guest accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acceptance {
    /// Frames with a [`PartialChecksum`].
    pub partial_checksum: bool,
    /// Frames with a [`Segmentation`].
    pub segmentation: bool,
}
