//! The thread that waits for sockets.

use crate::machine::MachineHandle;
use mio::event::Source;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, Thread};

/// Wakes the machine whose network has progressed.
#[derive(Clone, Default)]
pub struct NetworkWaker(Arc<Mutex<Option<(MachineHandle, Thread)>>>);

impl NetworkWaker {
    /// From now on, wakes this machine, and the thread that sleeps while it is idle.
    pub fn connect(&self, machine: MachineHandle, sleeper: Thread) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((machine, sleeper));
    }

    fn wake(&self) {
        // Before there is a machine, nothing sleeps: a machine looks at its network when it begins.
        if let Some((machine, sleeper)) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            machine.network_progressed();
            sleeper.unpark();
        }
    }
}

/// What a socket has become ready for since it was last asked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Readiness {
    pub is_readable: bool,
    pub is_writable: bool,
}

type Ready = BTreeMap<usize, Readiness>;

/// Which sockets are noted where: those of flows by their number, those of the resolver by [`RESOLVER`](Poller::RESOLVER).
#[derive(Default)]
struct Notes {
    flows: Mutex<Ready>,
    resolver: AtomicBool,
    is_over: AtomicBool,
}

/// Waits for registered sockets, each change of readiness once, until it is dropped.
pub(super) struct Poller {
    registry: Registry,
    notes: Arc<Notes>,
    stop: Waker,
    thread: Option<JoinHandle<()>>,
}

/// Most changes that are fetched at a time.
const EVENTS: usize = 256;

impl Poller {
    /// The token of the resolver's socket.
    pub const RESOLVER: usize = usize::MAX - 1;
    const STOP: usize = usize::MAX;
    /// The tokens of listeners begin here and go down from it.
    pub const LAST_LISTENER: usize = usize::MAX - 2;
    /// There are fewer listeners than ports.
    pub const FIRST_LISTENER: usize = Self::LAST_LISTENER - u16::MAX as usize;

    pub fn start(waker: NetworkWaker) -> io::Result<Arc<Self>> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let stop = Waker::new(&registry, Token(Self::STOP))?;
        let notes = Arc::new(Notes::default());
        let noted = notes.clone();
        let thread =
            std::thread::Builder::new().name("network".into()).spawn(move || wait(poll, &noted, &waker))?;
        Ok(Arc::new(Self { registry, notes, stop, thread: Some(thread) }))
    }

    /// Begins to watch a socket, for both directions.
    pub fn watch(&self, source: &mut impl Source, token: usize) -> io::Result<()> {
        self.registry.register(source, Token(token), Interest::READABLE | Interest::WRITABLE)
    }

    /// Begins to watch a socket that only receives.
    pub fn watch_incoming(&self, source: &mut impl Source, token: usize) -> io::Result<()> {
        self.registry.register(source, Token(token), Interest::READABLE)
    }

    /// What has become ready since the last call.
    pub fn take_ready(&self) -> BTreeMap<usize, Readiness> {
        std::mem::take(&mut *lock(&self.notes.flows))
    }

    /// Whether the resolver's socket has become ready since the last call.
    pub fn take_resolver_ready(&self) -> bool {
        self.notes.resolver.swap(false, Ordering::SeqCst)
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.notes.is_over.store(true, Ordering::SeqCst);
        if let Err(error) = self.stop.wake() {
            log::warn!("the network's thread cannot be told to end: {error}");
            return;
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the network's thread has panicked");
        }
    }
}

fn lock(ready: &Mutex<Ready>) -> MutexGuard<'_, Ready> {
    ready.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait(mut poll: Poll, notes: &Notes, waker: &NetworkWaker) {
    let mut events = Events::with_capacity(EVENTS);
    while !notes.is_over.load(Ordering::SeqCst) {
        match poll.poll(&mut events, None) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                log::error!("the network stands still: {error}");
                return;
            }
        }
        let mut ready = lock(&notes.flows);
        for event in &events {
            match event.token().0 {
                Poller::STOP => {}
                Poller::RESOLVER => notes.resolver.store(true, Ordering::SeqCst),
                token => {
                    let noted = ready.entry(token).or_default();
                    let is_closed = event.is_error() || event.is_read_closed();
                    noted.is_readable |= event.is_readable() || is_closed;
                    noted.is_writable |= event.is_writable() || event.is_error() || event.is_write_closed();
                }
            }
        }
        drop(ready);
        waker.wake();
    }
}
