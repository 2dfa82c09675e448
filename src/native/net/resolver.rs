//! Questions to the name server of this computer.

use super::poller::Poller;
use crate::net::{NameResolver, QueryId};
use mio::net::UdpSocket;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;

/// Largest answer over UDP.
const BUFFER: usize = 65_535;
/// Questions that are remembered; the gateway has given up older ones.
const MAX_WAITING: usize = 1024;

/// Passes questions on over UDP.
pub(super) struct HostResolver {
    socket: Option<UdpSocket>,
    server: Option<SocketAddr>,
    /// Questions by the number under which the server knows them.
    waiting: BTreeMap<u16, QueryId>,
    order: VecDeque<u16>,
    failed: VecDeque<QueryId>,
    next_number: u16,
    /// Whether the socket may have answers.
    is_ready: bool,
    buffer: Vec<u8>,
    poller: Arc<Poller>,
}

impl HostResolver {
    pub fn new(poller: Arc<Poller>, server: Option<SocketAddr>, first_number: u16) -> io::Result<Self> {
        let socket = server.map(|server| {
            let any = match server {
                SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            };
            let mut socket = UdpSocket::bind(any)?;
            // Only this server's answers are received from now on.
            socket.connect(server)?;
            poller.watch_incoming(&mut socket, Poller::RESOLVER)?;
            io::Result::Ok(socket)
        });
        Ok(Self {
            socket: socket.transpose()?,
            server,
            waiting: BTreeMap::new(),
            order: VecDeque::new(),
            failed: VecDeque::new(),
            next_number: first_number,
            is_ready: false,
            buffer: vec![0; BUFFER],
            poller,
        })
    }

    fn send(&mut self, number: u16, query: &[u8]) -> io::Result<()> {
        let socket = self.socket.as_ref().ok_or(ErrorKind::NotConnected)?;
        let mut message = query.to_vec();
        message.get_mut(..2).ok_or(ErrorKind::InvalidInput)?.copy_from_slice(&number.to_be_bytes());
        socket.send(&message).map(|_| ())
    }
}

impl NameResolver for HostResolver {
    fn ask(&mut self, id: QueryId, query: &[u8]) {
        let number = self.next_number;
        // A step that visits every number before it comes back, and is no plain count.
        self.next_number = number.wrapping_add(40_503);
        if let Err(error) = self.send(number, query) {
            log::debug!("the name server cannot be asked: {error}");
            self.failed.push_back(id);
            return;
        }
        if self.order.len() >= MAX_WAITING
            && let Some(oldest) = self.order.pop_front()
        {
            self.waiting.remove(&oldest);
        }
        self.order.push_back(number);
        self.waiting.insert(number, id);
    }

    fn stream_server(&self) -> Option<SocketAddrV4> {
        match self.server? {
            SocketAddr::V4(server) => Some(server),
            SocketAddr::V6(_) => None,
        }
    }

    fn next_answer(&mut self) -> Option<(QueryId, Option<Vec<u8>>)> {
        if let Some(id) = self.failed.pop_front() {
            return Some((id, None));
        }
        self.is_ready |= self.poller.take_resolver_ready();
        while self.is_ready {
            match self.socket.as_ref()?.recv(&mut self.buffer) {
                Ok(length) => {
                    let answer = self.buffer.get(..length).unwrap_or_default();
                    let Some((number, _)) = answer.split_first_chunk() else { continue };
                    let number = u16::from_be_bytes(*number);
                    if let Some(id) = self.waiting.remove(&number) {
                        self.order.retain(|waiting| *waiting != number);
                        return Some((id, Some(answer.to_vec())));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_ready = false,
                // Nobody listens there. Those who wait learn it by their own patience: the error does not
                // say whose question it was about.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    log::debug!("the name server does not listen");
                }
                Err(error) => {
                    log::warn!("no answers from the name server: {error}");
                    self.is_ready = false;
                }
            }
        }
        None
    }
}
