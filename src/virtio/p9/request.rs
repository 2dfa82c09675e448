//! One request of the guest: a message to read, and room for the answer.

use super::REQUEST_QUEUE;
use super::server::MESSAGE_BYTES_MAX;
use super::wire::{ERROR_BYTES, HEADER_BYTES, Reply, header};
use crate::storage::tree::FileError;
use crate::virtio::{DescriptorChain, DeviceContext, DeviceError};

/// Linux's EINTR: the client has asked for the end of its own request.
const INTERRUPTED: FileError = FileError::Host(4);

/// A request that is not answered yet.
pub(super) struct Request {
    chain: DescriptorChain,
    /// Tells it from all others of its device.
    number: u64,
}

impl Request {
    /// Takes `chain` for request `number`.
    ///
    /// # Errors
    /// When there is no room for any answer: then nothing can be told to the client.
    pub(super) fn new(chain: DescriptorChain, number: u64) -> Result<Self, DeviceError> {
        if chain.writable_bytes() < ERROR_BYTES as u64 {
            let (queue, head) = (REQUEST_QUEUE, chain.head());
            let problem = "has no 11 writable bytes for an answer";
            return Err(DeviceError::Request { queue, head, problem });
        }
        Ok(Self { chain, number })
    }

    /// Tells it from all others of its device.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// First descriptor of the request.
    pub(super) fn head(&self) -> u16 {
        self.chain.head()
    }

    /// Bytes that the answer may have.
    pub(super) fn room(&self) -> usize {
        usize::try_from(self.chain.writable_bytes()).unwrap_or(usize::MAX)
    }

    /// Copies the message to `buffer`. One that is too long is copied in part; its header tells.
    ///
    /// # Errors
    /// When guest RAM cannot be read.
    pub(super) fn read(&self, buffer: &mut Vec<u8>) -> Result<(), DeviceError> {
        let length = self.chain.readable_bytes().min(MESSAGE_BYTES_MAX.into());
        buffer.resize(length as usize, 0);
        self.chain.read(0, buffer).map_err(DeviceError::in_queue(REQUEST_QUEUE))
    }

    /// The type and the tag of the message, as far as it has them.
    fn kind_and_tag(&self) -> Result<Option<(u8, u16)>, DeviceError> {
        let mut bytes = [0; HEADER_BYTES];
        if self.chain.readable_bytes() < HEADER_BYTES as u64 {
            return Ok(None);
        }
        self.chain.read(0, &mut bytes).map_err(DeviceError::in_queue(REQUEST_QUEUE))?;
        Ok(header(&bytes).map(|(_, kind, tag)| (kind, tag)))
    }

    /// Whether the message has this tag.
    ///
    /// # Errors
    /// When guest RAM cannot be read.
    pub(super) fn has_tag(&self, tag: u16) -> Result<bool, DeviceError> {
        Ok(self.kind_and_tag()?.is_some_and(|(_, own)| own == tag))
    }

    /// Gives the request back with an answer, or with an error in place of one that does not fit.
    ///
    /// # Errors
    /// When guest RAM cannot be written.
    pub(super) fn answer(
        &self,
        reply: &mut Reply,
        context: &mut DeviceContext<'_>,
    ) -> Result<(), DeviceError> {
        if let Err(error) = reply.finish() {
            let tag = self.kind_and_tag()?.map_or(super::wire::NO_TAG, |(_, tag)| tag);
            reply.begin(0, tag, ERROR_BYTES);
            reply.fail(tag, error);
        }
        let bytes = reply.finish().unwrap_or_default();
        self.chain.write(0, bytes).map_err(DeviceError::in_queue(REQUEST_QUEUE))?;
        context.push_used(REQUEST_QUEUE, self.head(), bytes.len() as u32)
    }

    /// Gives the request back unfinished. Linux takes an answer after that to the flush for another request's.
    ///
    /// # Errors
    /// As for [`answer`](Self::answer).
    pub(super) fn cancel(
        &self,
        reply: &mut Reply,
        context: &mut DeviceContext<'_>,
    ) -> Result<(), DeviceError> {
        let tag = self.kind_and_tag()?.map_or(super::wire::NO_TAG, |(_, tag)| tag);
        reply.begin(0, tag, ERROR_BYTES);
        reply.fail(tag, INTERRUPTED);
        self.answer(reply, context)
    }
}
