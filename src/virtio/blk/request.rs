//! One request: its parsing, and its progress piece by piece (virtio 1.2 §5.2.6).

use super::config::{RANGE_SECTORS_MAX, RANGES_MAX};
use super::{REQUEST_QUEUE, SECTOR_BYTES};
use crate::host::{BlockSource, Progress};
use crate::virtio::{DescriptorChain, DeviceError, QueueError};
use std::task::Poll;

const HEADER_BYTES: u64 = 16;
const RANGE_BYTES: u64 = 16;
const SERIAL_BYTES: usize = 20;

/// Most bytes moved in one call of the source. A waiting request resumes at the piece it waits for,
/// so that it progresses even when the source can keep only little at hand. Half a chunk of an
/// image: a piece then touches two chunks at most.
const PIECE_BYTES: u64 = 128 * 1024;

/// Request types.
mod kind {
    pub const READ: u32 = 0;
    pub const WRITE: u32 = 1;
    pub const FLUSH: u32 = 4;
    pub const GET_ID: u32 = 8;
    pub const DISCARD: u32 = 11;
    pub const WRITE_ZEROES: u32 = 13;
}

/// Segment flag of a write-zeroes request: the device may deallocate the range.
const UNMAP: u32 = 1;

/// The status byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Status {
    Done = 0,
    IoError = 1,
    Unsupported = 2,
}

/// The disk's serial number, zero-padded.
pub(super) struct Serial([u8; SERIAL_BYTES]);

impl Serial {
    pub(super) fn new(text: &str) -> Self {
        let mut bytes = [0; SERIAL_BYTES];
        for (byte, value) in bytes.iter_mut().zip(text.bytes()) {
            *byte = value;
        }
        Self(bytes)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    /// Fill the guest's buffers from this byte of the disk.
    Read {
        offset: u64,
    },
    /// Store the guest's buffers at this byte of the disk.
    Write {
        offset: u64,
    },
    Flush,
    GetId,
    /// Make the ranges that the buffers list read as zeroes.
    Clear {
        allowed_flags: u32,
    },
    /// Known to be impossible before it starts.
    Refused(Status),
}

/// A request on its way.
pub(super) struct Request {
    chain: DescriptorChain,
    operation: Operation,
    /// Bytes of data, without header and status.
    length: u64,
    /// Bytes of data that are finished.
    finished: u64,
}

impl Request {
    /// Reads the header of the request in `chain`.
    ///
    /// # Errors
    /// When the chain has no room for a header that the device can read and a status that it can write.
    pub(super) fn parse(chain: DescriptorChain, is_read_only: bool) -> Result<Self, DeviceError> {
        let head = chain.head();
        let malformed = |problem| DeviceError::Request { queue: REQUEST_QUEUE, head, problem };
        let Some(readable) = chain.readable_bytes().checked_sub(HEADER_BYTES) else {
            return Err(malformed("has no 16 readable bytes of header"));
        };
        let Some(writable) = chain.writable_bytes().checked_sub(1) else {
            return Err(malformed("has no writable status byte"));
        };
        let mut header = [0; HEADER_BYTES as usize];
        chain.read(0, &mut header).map_err(DeviceError::in_queue(REQUEST_QUEUE))?;
        let header = u128::from_le_bytes(header);
        let (kind, sector) = (header as u32, (header >> 64) as u64);
        // A sector that has no byte address lies outside any disk.
        let offset = sector.checked_mul(SECTOR_BYTES).ok_or(Status::IoError);
        let whole_sectors =
            |length: u64| if length.is_multiple_of(SECTOR_BYTES) { Ok(()) } else { Err(Status::IoError) };
        let to_writable_disk = if is_read_only { Err(Status::IoError) } else { Ok(()) };
        let (operation, length) = match kind {
            kind::READ => {
                (whole_sectors(writable).and(offset).map(|offset| Operation::Read { offset }), writable)
            }
            kind::WRITE => {
                let operation = to_writable_disk.and(whole_sectors(readable)).and(offset);
                (operation.map(|offset| Operation::Write { offset }), readable)
            }
            kind::FLUSH => (Ok(Operation::Flush), 0),
            kind::GET_ID => (Ok(Operation::GetId), writable),
            kind::DISCARD | kind::WRITE_ZEROES => {
                let allowed_flags = if kind == kind::WRITE_ZEROES { UNMAP } else { 0 };
                let is_whole = readable % RANGE_BYTES == 0 && readable / RANGE_BYTES <= RANGES_MAX.into();
                let form = if is_whole { Ok(()) } else { Err(Status::IoError) };
                (to_writable_disk.and(form).map(|()| Operation::Clear { allowed_flags }), readable)
            }
            _ => (Err(Status::Unsupported), 0),
        };
        let operation = operation.unwrap_or_else(Operation::Refused);
        Ok(Self { chain, operation, length, finished: 0 })
    }

    /// First descriptor of the request.
    pub(super) fn head(&self) -> u16 {
        self.chain.head()
    }

    /// Bytes of data that are finished, to be saved.
    pub(super) fn finished(&self) -> u64 {
        self.finished
    }

    /// Goes on after `finished` bytes of data, as saved.
    pub(super) fn resume_at(&mut self, finished: u64) {
        self.finished = finished.min(self.length);
    }

    /// Goes on as far as the source lets it. Returns the bytes written to the guest when the request
    /// has ended, well or badly, or `None` when it must wait.
    ///
    /// # Errors
    /// When the guest's buffers cannot be accessed.
    pub(super) fn advance(
        &mut self,
        source: &mut dyn BlockSource,
        serial: &Serial,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<u32>, QueueError> {
        let status = match self.operation {
            Operation::Read { offset } => self.read(source, offset, buffer)?,
            Operation::Write { offset } => self.write(source, offset, buffer)?,
            Operation::Flush => status_of(source.flush()),
            Operation::GetId => {
                let length = serial.0.len().min(self.length as usize);
                self.chain.write(0, serial.0.get(..length).unwrap_or_default())?;
                self.finished = length as u64;
                Some(Status::Done)
            }
            Operation::Clear { allowed_flags } => self.clear(source, allowed_flags)?,
            Operation::Refused(status) => Some(status),
        };
        status.map(|status| self.finish(status)).transpose()
    }

    fn finish(&self, status: Status) -> Result<u32, QueueError> {
        // The status is the last writable byte, wherever the data ended (§5.2.6).
        self.chain.write(self.chain.writable_bytes() - 1, &[status as u8])?;
        let data = match self.operation {
            Operation::Read { .. } | Operation::GetId => self.finished,
            _ => 0,
        };
        Ok(u32::try_from(data + 1).unwrap_or(u32::MAX))
    }

    fn is_within(&self, source: &dyn BlockSource, offset: u64) -> bool {
        offset.checked_add(self.length).is_some_and(|end| end <= source.size())
    }

    fn next_piece(&self) -> usize {
        (self.length - self.finished).min(PIECE_BYTES) as usize
    }

    fn read(
        &mut self,
        source: &mut dyn BlockSource,
        offset: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<Status>, QueueError> {
        if !self.is_within(source, offset) {
            return Ok(Some(Status::IoError));
        }
        while self.finished < self.length {
            buffer.resize(self.next_piece(), 0);
            match status_of(source.read(offset + self.finished, buffer)) {
                Some(Status::Done) => self.chain.write(self.finished, buffer)?,
                other => return Ok(other),
            }
            self.finished += buffer.len() as u64;
        }
        Ok(Some(Status::Done))
    }

    fn write(
        &mut self,
        source: &mut dyn BlockSource,
        offset: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<Status>, QueueError> {
        if !self.is_within(source, offset) {
            return Ok(Some(Status::IoError));
        }
        while self.finished < self.length {
            buffer.resize(self.next_piece(), 0);
            self.chain.read(HEADER_BYTES + self.finished, buffer)?;
            match status_of(source.write(offset + self.finished, buffer)) {
                Some(Status::Done) => self.finished += buffer.len() as u64,
                other => return Ok(other),
            }
        }
        Ok(Some(Status::Done))
    }

    fn clear(
        &mut self,
        source: &mut dyn BlockSource,
        allowed_flags: u32,
    ) -> Result<Option<Status>, QueueError> {
        while self.finished < self.length {
            let mut range = [0; RANGE_BYTES as usize];
            self.chain.read(HEADER_BYTES + self.finished, &mut range)?;
            let range = u128::from_le_bytes(range);
            let (sector, sectors, flags) = (range as u64, (range >> 64) as u32, (range >> 96) as u32);
            if flags & !allowed_flags != 0 {
                return Ok(Some(Status::Unsupported));
            }
            let length = u64::from(sectors) * SECTOR_BYTES;
            let offset = sector.checked_mul(SECTOR_BYTES);
            let is_within = offset
                .and_then(|offset| offset.checked_add(length))
                .is_some_and(|end| end <= source.size() && sectors <= RANGE_SECTORS_MAX);
            let (Some(offset), true) = (offset, is_within) else { return Ok(Some(Status::IoError)) };
            match status_of(source.discard(offset, length)) {
                Some(Status::Done) => self.finished += RANGE_BYTES,
                other => return Ok(other),
            }
        }
        Ok(Some(Status::Done))
    }
}

/// The status that a source's answer stands for; `None` while it must be asked again.
fn status_of(progress: Progress) -> Option<Status> {
    match progress {
        Poll::Ready(Ok(())) => Some(Status::Done),
        Poll::Ready(Err(error)) => {
            log::warn!("virtio-blk: {error}");
            Some(Status::IoError)
        }
        Poll::Pending => None,
    }
}
