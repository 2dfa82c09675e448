//! A directory shared with the guest: 9P2000.L over virtio (virtio 1.2 §5.9).
//!
//! The device takes messages from its queue, its server answers them from a [`FileTree`], and
//! requests that must wait are kept and put to the server again.

mod config;
mod request;
mod server;
mod state;
mod wire;

pub use config::{ShareTag, ShareTagError};
pub use server::{FidState, LockState, ServerState, UsageState};
pub use state::{P9RestoreError, P9State};

use super::DescriptorChain;
use super::device::{DeviceContext, DeviceError, DeviceType, VirtioDevice};
use super::{VirtioPci, read_config_bytes};
use crate::host::{Clock, WallTime};
use crate::storage::tree::FileTree;
use request::Request;
use server::{Cancelled, Outcome, Server};
use std::sync::Arc;
use wire::Reply;

/// Linux puts up to 128 pages into a message, for which it has 128 descriptors.
const QUEUE_SIZE: u16 = 128;
const REQUEST_QUEUE: u16 = 0;
/// Feature bit: the configuration has a tag (§5.9.3).
const MOUNT_TAG: u64 = 1 << 0;
/// Most requests that wait for others' locks. Each takes room in the queue, through which the unlocking must
/// come; further clients are told to try again.
const WAITING_FOR_LOCKS_MAX: usize = 16;

/// What is shared with a guest, and under which name.
pub struct Share {
    /// The name by which the guest mounts it.
    pub tag: ShareTag,
    /// The files.
    pub tree: Box<dyn FileTree>,
    /// Whether the guest may only read.
    pub is_read_only: bool,
}

/// The device for one share.
pub struct P9Device {
    tag: ShareTag,
    clock: Arc<dyn Clock>,
    server: Server,
    /// Requests that wait, in the order of their arrival.
    waiting: Vec<Request>,
    /// Requests that have come.
    requests: u64,
    /// Whether the tree has progressed while the device might not use its queue.
    is_resume_due: bool,
    message: Vec<u8>,
    reply: Reply,
}

impl P9Device {
    /// A device for `share`, whose files get their times from `clock`.
    pub fn new(share: Share, clock: Arc<dyn Clock>) -> Self {
        Self {
            tag: share.tag,
            clock,
            server: Server::new(share.tree, share.is_read_only),
            waiting: Vec::new(),
            requests: 0,
            is_resume_due: false,
            message: Vec::new(),
            reply: Reply::default(),
        }
    }

    /// The name by which the guest mounts it.
    pub fn tag(&self) -> &str {
        self.tag.as_str()
    }

    /// Requests that wait for the tree or for a lock.
    pub fn waiting_requests(&self) -> usize {
        self.waiting.len()
    }

    /// Takes `chain` for a request.
    fn take(&mut self, chain: DescriptorChain) -> Result<Request, DeviceError> {
        self.requests += 1;
        Request::new(chain, self.requests)
    }

    /// Puts `request` to the server; keeps it if it must wait.
    fn advance(&mut self, request: Request, context: &mut DeviceContext<'_>) -> Result<(), DeviceError> {
        request.read(&mut self.message)?;
        let may_wait = self.waiting.len() < WAITING_FOR_LOCKS_MAX;
        self.server.begin_request(request.number());
        match self.server.answer(&self.message, request.room(), may_wait, &mut self.reply) {
            Outcome::Waiting => self.waiting.push(request),
            Outcome::Answered(cancelled) => {
                self.server.end_request(request.number());
                self.cancel(cancelled, context)?;
                request.answer(&mut self.reply, context)?;
            }
        }
        Ok(())
    }

    /// Gives requests back that nobody wants answered any more.
    fn cancel(&mut self, cancelled: Cancelled, context: &mut DeviceContext<'_>) -> Result<(), DeviceError> {
        if cancelled == Cancelled::None || self.waiting.is_empty() {
            return Ok(());
        }
        let mut reply = Reply::default();
        for request in std::mem::take(&mut self.waiting) {
            let is_cancelled = match cancelled {
                Cancelled::None => false,
                Cancelled::One(tag) => request.has_tag(tag)?,
                Cancelled::All => true,
            };
            if is_cancelled {
                self.server.end_request(request.number());
                request.cancel(&mut reply, context)?;
            } else {
                self.waiting.push(request);
            }
        }
        Ok(())
    }

    /// Forgets the requests that wait.
    fn drop_waiting(&mut self) {
        for request in std::mem::take(&mut self.waiting) {
            self.server.end_request(request.number());
        }
    }

    fn retry(&mut self, context: &mut DeviceContext<'_>) -> Result<(), DeviceError> {
        for request in std::mem::take(&mut self.waiting) {
            self.advance(request, context)?;
        }
        Ok(())
    }

    /// Lets requests go on that waited for locks, which free further ones at times.
    fn retry_for_locks(&mut self, context: &mut DeviceContext<'_>) -> Result<(), DeviceError> {
        while self.server.take_freed_locks() && !self.waiting.is_empty() {
            self.retry(context)?;
        }
        Ok(())
    }

    fn set_time(&mut self) {
        let started_ns = self.clock.started_at().unix_ns;
        self.server.set_time(WallTime { unix_ns: started_ns.saturating_add(self.clock.now_ns()) });
    }

    fn resume(&mut self, context: &mut DeviceContext<'_>) -> Result<(), DeviceError> {
        // A stopped device must not touch the guest's buffers; it is notified when it runs again.
        self.is_resume_due = context.queue(REQUEST_QUEUE).is_none();
        if self.is_resume_due {
            return Ok(());
        }
        self.set_time();
        self.retry(context)?;
        self.retry_for_locks(context)
    }
}

impl VirtioDevice for P9Device {
    fn device_type(&self) -> DeviceType {
        DeviceType::Plan9
    }

    fn pci_class(&self) -> u32 {
        0x00_ff_00
    }

    fn features(&self) -> u64 {
        MOUNT_TAG
    }

    fn queue_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_config_bytes(&self.tag.structure(), offset, data);
    }

    fn write_config(&mut self, _offset: u64, _data: &[u8]) {
        // The tag is the host's choice.
    }

    fn activate(&mut self, _features: u64) {
        // No feature changes what the device does.
    }

    fn queue_notified(&mut self, queue: u16, context: &mut DeviceContext<'_>) -> Result<(), DeviceError> {
        if self.is_resume_due {
            self.resume(context)?;
        }
        self.set_time();
        while let Some(chain) = context.pop(queue)? {
            let request = self.take(chain)?;
            self.advance(request, context)?;
            self.retry_for_locks(context)?;
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.drop_waiting();
        self.server.reset();
        self.is_resume_due = false;
    }
}

impl VirtioPci<P9Device> {
    /// Goes on with the requests that wait, after the host has reported progress.
    pub fn resume(&mut self) {
        self.with_device(P9Device::resume);
    }
}
