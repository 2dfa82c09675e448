//! A client that writes messages field by field.

use crate::storage::tree::{FileTree, MemoryTree};
use crate::virtio::p9::server::{Cancelled, Outcome, Server};
use crate::virtio::p9::wire::{Fields, NO_FID, Reply};

/// One field of a message.
pub enum Field<'a> {
    Byte(u8),
    Word16(u16),
    Word32(u32),
    Word64(u64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

use Field::{Byte, Bytes, Text, Word16, Word32, Word64};

pub const OK: u16 = 0;
pub const EPERM: u16 = 1;
pub const ENOENT: u16 = 2;
pub const EBADF: u16 = 9;
pub const EBUSY: u16 = 16;
pub const EEXIST: u16 = 17;
pub const ENOTDIR: u16 = 20;
pub const EISDIR: u16 = 21;
pub const EINVAL: u16 = 22;
pub const ENOSPC: u16 = 28;
pub const EROFS: u16 = 30;
pub const ENAMETOOLONG: u16 = 36;
pub const ENOTEMPTY: u16 = 39;
pub const ELOOP: u16 = 40;
pub const ENODATA: u16 = 61;
pub const EPROTO: u16 = 71;
pub const EMSGSIZE: u16 = 90;
pub const EOPNOTSUPP: u16 = 95;

/// The fid of the top directory.
pub const TOP: u32 = 1;
pub const READ_ONLY: u32 = 0;
pub const WRITE_ONLY: u32 = 1;
pub const READ_WRITE: u32 = 2;

/// What `Rgetattr` tells, as far as tests look at it.
#[derive(Debug, PartialEq, Eq)]
pub struct Stat {
    pub inode: u64,
    pub mode: u32,
    pub user: u32,
    pub group: u32,
    pub links: u64,
    pub device: u64,
    pub size: u64,
    pub modified: (u64, u64),
}

pub fn message(kind: u8, tag: u16, fields: &[Field<'_>]) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.push(kind);
    bytes.extend(tag.to_le_bytes());
    for field in fields {
        match field {
            Byte(value) => bytes.push(*value),
            Word16(value) => bytes.extend(value.to_le_bytes()),
            Word32(value) => bytes.extend(value.to_le_bytes()),
            Word64(value) => bytes.extend(value.to_le_bytes()),
            Text(text) => {
                bytes.extend((text.len() as u16).to_le_bytes());
                bytes.extend(text.as_bytes());
            }
            Bytes(raw) => bytes.extend(*raw),
        }
    }
    let size = bytes.len() as u32;
    bytes[..4].copy_from_slice(&size.to_le_bytes());
    bytes
}

pub struct Client {
    pub server: Server,
}

impl Client {
    /// A client whose fid 1 is the top of `tree`.
    pub fn with_tree(tree: impl FileTree + 'static, is_read_only: bool) -> Self {
        let mut client = Self { server: Server::new(Box::new(tree), is_read_only) };
        let version = client.call(100, &[Word32(8192), Text("9P2000.L")]).unwrap();
        assert_eq!(version, b"\0\x20\0\0\x08\09P2000.L");
        client.attach(TOP, 0);
        client
    }

    pub fn new() -> Self {
        Self::with_tree(MemoryTree::new(16 << 20), false)
    }

    /// What the server makes of `bytes`: its outcome and the whole answer.
    pub fn raw(&mut self, bytes: &[u8], may_wait: bool) -> (Outcome, Vec<u8>) {
        let mut reply = Reply::default();
        let outcome = self.server.answer(bytes, 8192, may_wait, &mut reply);
        (outcome, if outcome == Outcome::Waiting { Vec::new() } else { reply.finish().unwrap().to_vec() })
    }

    /// The fields of the answer, or the error.
    pub fn call(&mut self, kind: u8, fields: &[Field<'_>]) -> Result<Vec<u8>, u16> {
        let (outcome, answer) = self.raw(&message(kind, 77, fields), true);
        assert_ne!(outcome, Outcome::Waiting);
        assert_eq!(answer[..4], (answer.len() as u32).to_le_bytes());
        assert_eq!(answer[5..7], [77, 0]);
        let (kind_of_answer, fields) = (answer[4], answer[7..].to_vec());
        if kind_of_answer == 7 {
            assert_eq!(fields.len(), 4);
            return Err(u16::from_le_bytes([fields[0], fields[1]]));
        }
        assert_eq!(kind_of_answer, kind + 1);
        Ok(fields)
    }

    /// The error of a call, or [`OK`].
    pub fn outcome(&mut self, kind: u8, fields: &[Field<'_>]) -> u16 {
        self.call(kind, fields).err().unwrap_or(OK)
    }

    pub fn attach(&mut self, fid: u32, user: u32) {
        self.call(104, &[Word32(fid), Word32(NO_FID), Text("somebody"), Text(""), Word32(user)]).unwrap();
    }

    /// The answer's error, or how many names were walked.
    pub fn walk(&mut self, fid: u32, new_fid: u32, names: &[&str]) -> Result<u16, u16> {
        let mut fields = vec![Word32(fid), Word32(new_fid), Word16(names.len() as u16)];
        fields.extend(names.iter().map(|name| Text(name)));
        let answer = self.call(110, &fields)?;
        let count = u16::from_le_bytes([answer[0], answer[1]]);
        assert_eq!(answer.len(), 2 + 13 * usize::from(count));
        Ok(count)
    }

    /// Walks from the top.
    pub fn find(&mut self, fid: u32, names: &[&str]) {
        assert_eq!(self.walk(TOP, fid, names), Ok(names.len() as u16));
    }

    pub fn open(&mut self, fid: u32, flags: u32) -> u16 {
        self.outcome(12, &[Word32(fid), Word32(flags)])
    }

    /// Makes a file in the top directory; `fid` is open afterwards.
    pub fn create(&mut self, fid: u32, name: &str) {
        self.find(fid, &[]);
        let fields = [Word32(fid), Text(name), Word32(READ_WRITE), Word32(0o100_644), Word32(5)];
        self.call(14, &fields).unwrap();
    }

    pub fn make_directory(&mut self, fid: u32, name: &str) -> u16 {
        self.outcome(72, &[Word32(fid), Text(name), Word32(0o40_755), Word32(5)])
    }

    pub fn write(&mut self, fid: u32, offset: u64, data: &[u8]) -> Result<u32, u16> {
        let count = Word32(data.len() as u32);
        let answer = self.call(118, &[Word32(fid), Word64(offset), count, Bytes(data)])?;
        Ok(u32::from_le_bytes(answer.try_into().unwrap()))
    }

    pub fn read(&mut self, fid: u32, offset: u64, count: u32) -> Result<Vec<u8>, u16> {
        let answer = self.call(116, &[Word32(fid), Word64(offset), Word32(count)])?;
        assert_eq!(answer[..4], (answer.len() as u32 - 4).to_le_bytes());
        Ok(answer[4..].to_vec())
    }

    /// Names, types and cookies of entries.
    pub fn read_directory(
        &mut self,
        fid: u32,
        offset: u64,
        count: u32,
    ) -> Result<Vec<(String, u8, u64)>, u16> {
        let answer = self.call(40, &[Word32(fid), Word64(offset), Word32(count)])?;
        assert!(answer.len() <= count as usize + 4);
        let mut fields = Fields::new(&answer[4..]);
        let mut entries = Vec::new();
        while fields.end().is_err() {
            fields.bytes(13).unwrap();
            let (cookie, kind) = (fields.word64().unwrap(), fields.byte().unwrap());
            let name = String::from_utf8(fields.string().unwrap().to_vec()).unwrap();
            entries.push((name, kind, cookie));
        }
        Ok(entries)
    }

    pub fn names(&mut self, directory: &[&str]) -> Vec<String> {
        self.find(900, directory);
        assert_eq!(self.open(900, READ_ONLY), OK);
        let names = self.read_directory(900, 0, 8000).unwrap().into_iter().map(|(name, ..)| name).collect();
        assert_eq!(self.clunk(900), OK);
        names
    }

    pub fn clunk(&mut self, fid: u32) -> u16 {
        self.outcome(120, &[Word32(fid)])
    }

    pub fn stat(&mut self, fid: u32) -> Result<Stat, u16> {
        let answer = self.call(24, &[Word32(fid), Word64(0x7ff)])?;
        assert_eq!(answer.len(), 8 + 13 + 3 * 4 + 15 * 8);
        let mut fields = Fields::new(&answer);
        let mut word64 = |skip| {
            fields.bytes(skip).unwrap();
            fields.word64().unwrap()
        };
        assert_eq!(word64(0), 0x7ff);
        let inode = word64(5);
        let (mode_and_user, group_and_links) = (word64(0), word64(0));
        let links_and_device = word64(0);
        let device_and_size = word64(0);
        let rest = word64(0);
        let group = group_and_links as u32;
        let join = |low: u64, high: u64| low >> 32 | high << 32;
        let modified = (word64(8 + 8 + 16 - 4), word64(0));
        Ok(Stat {
            inode,
            mode: mode_and_user as u32,
            user: (mode_and_user >> 32) as u32,
            group,
            links: join(group_and_links, links_and_device),
            device: join(links_and_device, device_and_size),
            size: join(device_and_size, rest),
            modified,
        })
    }

    /// The cancelled requests that `bytes` leads to.
    pub fn cancelled(&mut self, bytes: &[u8]) -> Cancelled {
        match self.raw(bytes, true).0 {
            Outcome::Answered(cancelled) => cancelled,
            Outcome::Waiting => panic!("it waits"),
        }
    }
}
