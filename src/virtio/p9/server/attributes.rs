//! What is known of a file beside its contents.

use super::Server;
use super::fid::{Fid, Usage};
use crate::host::WallTime;
use crate::storage::tree::{AttributeChange, ExtendedChange, FileError, PERMISSION_BITS, TimeChange};
use crate::virtio::p9::wire::{Reply, SetAttributes};

/// What `Tgetattr` is answered with, whatever it asks for: all that stat(2) tells.
const BASIC_ATTRIBUTES: u64 = 0x7ff;

/// Which fields of `Tsetattr` count.
mod valid {
    pub const MODE: u32 = 1 << 0;
    pub const USER: u32 = 1 << 1;
    pub const GROUP: u32 = 1 << 2;
    pub const SIZE: u32 = 1 << 3;
    pub const ACCESSED: u32 = 1 << 4;
    pub const MODIFIED: u32 = 1 << 5;
    pub const ACCESSED_TO: u32 = 1 << 7;
    pub const MODIFIED_TO: u32 = 1 << 8;
}

/// The file system's type as statfs(2) tells it: V9FS_MAGIC.
const FILE_SYSTEM_TYPE: u32 = 0x0102_1997;
/// Most bytes of an extended attribute's value (linux/limits.h).
const EXTENDED_BYTES_MAX: u64 = 64 << 10;
/// Flags of `Txattrcreate`: those of setxattr(2).
const EXTENDED_CREATE: u32 = 1;
const EXTENDED_REPLACE: u32 = 2;

const SECOND_NS: u64 = 1_000_000_000;

/// The time that a client means; times before 1970 become its beginning.
fn wall_time((seconds, nanoseconds): (u64, u64)) -> Result<WallTime, FileError> {
    if nanoseconds >= SECOND_NS {
        return Err(FileError::Invalid);
    }
    let seconds = u64::try_from(seconds as i64).unwrap_or(0);
    Ok(WallTime { unix_ns: seconds.saturating_mul(SECOND_NS).saturating_add(nanoseconds) })
}

/// The number of a device as Linux's user space has it (new_encode_dev with 64 bits, linux/kdev_t.h).
fn device_number((major, minor): (u32, u32)) -> u64 {
    let (major, minor) = (u64::from(major), u64::from(minor));
    (minor & 0xff) | major << 8 & 0xf_ff00 | (minor & !0xff) << 12
}

impl Server {
    pub(super) fn attributes(&mut self, fid: u32, reply: &mut Reply) -> Result<(), FileError> {
        let node = self.file(fid)?;
        let attributes = self.tree.attributes(node)?;
        reply.word64(BASIC_ATTRIBUTES);
        reply.identity_of(&attributes);
        reply.word32(attributes.kind as u32 | attributes.permissions);
        reply.word32(attributes.user);
        reply.word32(attributes.group);
        reply.word64(attributes.links);
        reply.word64(device_number(attributes.device));
        reply.word64(attributes.size);
        reply.word64(attributes.block_bytes);
        reply.word64(attributes.blocks);
        for time in [attributes.accessed, attributes.modified, attributes.changed] {
            reply.word64(time.unix_ns / SECOND_NS);
            reply.word64(time.unix_ns % SECOND_NS);
        }
        // Time of birth (two fields), generation and version of the data, none of which is claimed.
        for _ in 0..4 {
            reply.word64(0);
        }
        Ok(())
    }

    pub(super) fn set_attributes(&mut self, fid: u32, set: SetAttributes) -> Result<(), FileError> {
        self.check_writable()?;
        let node = self.file(fid)?;
        let has = |bit| set.valid & bit != 0;
        let time = |bit, to_bit, to| match (has(bit), has(to_bit)) {
            (false, _) => Ok(None),
            (true, false) => Ok(Some(TimeChange::Now)),
            (true, true) => wall_time(to).map(|time| Some(TimeChange::To(time))),
        };
        let change = AttributeChange {
            permissions: has(valid::MODE).then_some(set.mode & PERMISSION_BITS),
            user: has(valid::USER).then_some(set.user),
            group: has(valid::GROUP).then_some(set.group),
            size: has(valid::SIZE).then_some(set.size),
            accessed: time(valid::ACCESSED, valid::ACCESSED_TO, set.accessed)?,
            modified: time(valid::MODIFIED, valid::MODIFIED_TO, set.modified)?,
        };
        self.tree.set_attributes(node, &change)
    }

    pub(super) fn read_link(&mut self, fid: u32, reply: &mut Reply) -> Result<(), FileError> {
        let node = self.file(fid)?;
        let target = self.tree.read_link(node)?;
        reply.string(&target)
    }

    pub(super) fn statistics(&mut self, fid: u32, reply: &mut Reply) -> Result<(), FileError> {
        let node = self.file(fid)?;
        let statistics = self.tree.statistics(node)?;
        reply.word32(FILE_SYSTEM_TYPE);
        reply.word32(statistics.block_bytes);
        reply.word64(statistics.blocks);
        reply.word64(statistics.free_blocks);
        reply.word64(statistics.available_blocks);
        reply.word64(statistics.files);
        reply.word64(statistics.free_files);
        // The file system has no number.
        reply.word64(0);
        reply.word32(statistics.name_bytes_max);
        Ok(())
    }

    pub(super) fn read_extended(
        &mut self,
        fid: u32,
        new_fid: u32,
        name: &[u8],
        reply: &mut Reply,
    ) -> Result<(), FileError> {
        let node = self.file(fid)?;
        let user = self.fid(fid)?.user;
        self.check_free(new_fid)?;
        let value =
            if name.is_empty() { self.tree.extended_names(node) } else { self.tree.extended(node, name) }?;
        reply.word64(value.len() as u64);
        let usage = Usage::ExtendedRead(value);
        self.tree.hold(node)?;
        if let Err(error) = self.reserve_extended(&usage) {
            self.tree.forget(node);
            return Err(error);
        }
        self.fids.insert(new_fid, Fid { node, entry: None, user, usage });
        Ok(())
    }

    pub(super) fn write_extended(
        &mut self,
        fid: u32,
        name: &[u8],
        size: u64,
        flags: u32,
    ) -> Result<(), FileError> {
        self.check_writable()?;
        let change = match flags {
            0 => ExtendedChange::Any,
            EXTENDED_CREATE => ExtendedChange::Create,
            EXTENDED_REPLACE => ExtendedChange::Replace,
            _ => return Err(FileError::Invalid),
        };
        if size > EXTENDED_BYTES_MAX {
            return Err(FileError::NoSpace);
        }
        if name.is_empty() {
            return Err(FileError::OutOfRange);
        }
        if self.fid(fid)?.usage != Usage::Path {
            return Err(FileError::BadHandle);
        }
        let (name, value) = (name.to_vec(), Vec::new());
        let usage = Usage::ExtendedWrite { name, value, size: size as usize, change };
        self.reserve_extended(&usage)?;
        self.fid_mut(fid)?.usage = usage;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_and_not_before_1970() {
        assert_eq!(wall_time((2, 5)).unwrap().unix_ns, 2_000_000_005);
        assert_eq!(wall_time((u64::MAX, 5)).unwrap().unix_ns, 5);
        assert_eq!(wall_time((0, SECOND_NS)), Err(FileError::Invalid));
        assert_eq!(wall_time((i64::MAX as u64, 0)).unwrap().unix_ns, u64::MAX);
    }

    #[test]
    fn device_numbers_are_those_of_linux() {
        assert_eq!(device_number((1, 3)), 0x103);
        assert_eq!(device_number((0xabc, 0x12345)), 0x123a_bc45);
    }
}
