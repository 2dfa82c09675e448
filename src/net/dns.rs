//! The name server (RFC 1035): answers for the network's own names, passes other questions on.

use super::flow::{NameResolver, QueryId};
use super::subnet;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// The port of name servers.
pub const PORT: u16 = 53;

/// Questions that wait for the outside; older ones are forgotten for new ones.
const MAX_WAITING: usize = 512;
/// How long an answer is waited for. Resolvers ask again after 5 s and give up after a few times.
const PATIENCE_NS: u64 = 15_000_000_000;
/// How long the network's own names may be remembered, in seconds.
const OWN_TTL: u32 = 300;

const HEADER: usize = 12;
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;

/// Bits of the second word of the header.
mod flag {
    pub const RESPONSE: u16 = 1 << 15;
    pub const OPCODE: u16 = 0xf << 11;
    pub const AUTHORITATIVE: u16 = 1 << 10;
    /// In the upper byte of the flags.
    pub const TRUNCATED: u8 = 1 << 1;
    pub const RECURSION_DESIRED: u16 = 1 << 8;
    pub const RECURSION_AVAILABLE: u16 = 1 << 7;
}

/// Response codes.
mod code {
    pub const SERVER_FAILURE: u16 = 2;
    pub const NO_SUCH_NAME: u16 = 3;
    pub const REFUSED: u16 = 5;
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// Where the answer goes.
    pub address: SocketAddr,
    /// Where the question went.
    pub asked: SocketAddr,
}

/// A question that the outside was asked.
#[derive(Debug)]
struct Waiting {
    asker: Asker,
    /// The start of the question's message, to answer if nothing else comes.
    question: Vec<u8>,
    asked_ns: u64,
}

/// The name server.
#[derive(Debug, Default)]
pub struct NameServer {
    waiting: BTreeMap<QueryId, Waiting>,
    asked: u64,
}

impl NameServer {
    /// Answers `message` of `asker` at once, or passes it on.
    pub fn answer(
        &mut self,
        asker: Asker,
        message: &[u8],
        now_ns: u64,
        resolver: &mut dyn NameResolver,
    ) -> Option<Vec<u8>> {
        let question = Question::parse(message)?;
        if question.opcode != 0 {
            return Some(question.reply(code::REFUSED, None));
        }
        match own_address(&question.name) {
            OwnName::Address(address) => Some(question.reply(0, Some(address))),
            OwnName::Unknown => Some(question.reply(code::NO_SUCH_NAME, None)),
            OwnName::Foreign => {
                if self.waiting.len() >= MAX_WAITING {
                    self.waiting.pop_first();
                }
                self.asked += 1;
                let id = QueryId(self.asked);
                let question = message.get(..question.end).unwrap_or_default().to_vec();
                self.waiting.insert(id, Waiting { asker, question, asked_ns: now_ns });
                resolver.ask(id, message);
                None
            }
        }
    }

    /// The next answer that came from outside, and to whom it goes.
    pub fn next_answer(&mut self, resolver: &mut dyn NameResolver) -> Option<(Asker, Vec<u8>)> {
        while let Some((id, answer)) = resolver.next_answer() {
            let Some(waiting) = self.waiting.remove(&id) else { continue };
            let failure = || Some(Question::parse(&waiting.question)?.reply(code::SERVER_FAILURE, None));
            if let Some(mut answer) = answer.or_else(failure)
                && let (Some(id), Some(asked)) = (answer.get_mut(..2), waiting.question.get(..2))
            {
                id.copy_from_slice(asked);
                return Some((waiting.asker, answer));
            }
        }
        None
    }

    /// Forgets what nobody waits for any more.
    pub fn forget_old(&mut self, now_ns: u64) {
        self.waiting.retain(|_, waiting| now_ns.saturating_sub(waiting.asked_ns) < PATIENCE_NS);
    }
}

/// The answer as it fits into `limit` bytes: whole, or its question with the mark that there is more.
pub fn fit(answer: &[u8], limit: usize) -> Vec<u8> {
    if answer.len() <= limit {
        return answer.to_vec();
    }
    let mut header = answer.get(..HEADER).unwrap_or_default().to_vec();
    let question = answer.get(HEADER..).unwrap_or_default();
    // The question ends after its name, type and class; answers, and what else is counted, are left out.
    let end = read_name(answer).map_or(0, |(_, end)| end + 4 - HEADER);
    for (at, byte) in header.iter_mut().enumerate() {
        match at {
            2 => *byte |= flag::TRUNCATED,
            5 => *byte = u8::from(end > 0),
            4 | 6.. => *byte = 0,
            _ => {}
        }
    }
    header.extend(question.get(..end).unwrap_or_default());
    header
}

enum OwnName {
    Address(IpAddr),
    /// In our domain, but not there.
    Unknown,
    Foreign,
}

fn own_address(name: &str) -> OwnName {
    match name {
        "gateway" | "gateway.dinghy.internal" => OwnName::Address(subnet::GATEWAY.into()),
        "host.dinghy.internal" | "host.docker.internal" => OwnName::Address(subnet::HOST.into()),
        "registry.dinghy.internal" => OwnName::Address(subnet::SERVICES.into()),
        // Names of their own: who asks for the others by habit and has no IPv6 (a container) must not be led astray.
        "gateway.ipv6.dinghy.internal" => OwnName::Address(subnet::GATEWAY_V6.into()),
        "host.ipv6.dinghy.internal" => OwnName::Address(subnet::HOST_V6.into()),
        "registry.ipv6.dinghy.internal" => OwnName::Address(subnet::SERVICES_V6.into()),
        "dinghy.internal" | "ipv6.dinghy.internal" => OwnName::Unknown,
        _ if name.ends_with(".dinghy.internal") => OwnName::Unknown,
        _ => OwnName::Foreign,
    }
}

/// A message with one question, as far as we look at it.
struct Question<'a> {
    message: &'a [u8],
    flags: u16,
    opcode: u16,
    /// In lower case, with dots between the labels.
    name: String,
    record_type: u16,
    class: u16,
    /// Where the question ends in the message.
    end: usize,
}

impl<'a> Question<'a> {
    fn parse(message: &'a [u8]) -> Option<Self> {
        let word = |at: usize| -> Option<u16> {
            Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?))
        };
        let flags = word(2)?;
        if flags & flag::RESPONSE != 0 || word(4)? != 1 {
            return None;
        }
        let (name, at) = read_name(message)?;
        let opcode = (flags & flag::OPCODE) >> 11;
        Some(Self { message, flags, opcode, name, record_type: word(at)?, class: word(at + 2)?, end: at + 4 })
    }

    /// An answer of our own. Questions for other records of an address' name have an empty one.
    fn reply(&self, code: u16, address: Option<IpAddr>) -> Vec<u8> {
        let record_type = |address: &IpAddr| if address.is_ipv4() { TYPE_A } else { TYPE_AAAA };
        let is_asked = |address: &IpAddr| self.record_type == record_type(address) && self.class == CLASS_IN;
        let address = address.filter(is_asked);
        let kept = self.flags & (flag::OPCODE | flag::RECURSION_DESIRED);
        let flags = kept | flag::RESPONSE | flag::AUTHORITATIVE | flag::RECURSION_AVAILABLE | code;
        let mut reply = self.message.get(..2).unwrap_or_default().to_vec();
        for word in [flags, 1, address.is_some().into(), 0, 0] {
            reply.extend(word.to_be_bytes());
        }
        reply.extend(self.message.get(HEADER..self.end).unwrap_or_default());
        if let Some(address) = address {
            // The name is the one at the header's end.
            for word in [0xc000 | HEADER as u16, self.record_type, CLASS_IN] {
                reply.extend(word.to_be_bytes());
            }
            reply.extend(OWN_TTL.to_be_bytes());
            match address {
                IpAddr::V4(address) => reply.extend([&[0, 4][..], &address.octets()].concat()),
                IpAddr::V6(address) => reply.extend([&[0, 16][..], &address.octets()].concat()),
            }
        }
        reply
    }
}

/// The name in the first question, and where it ends.
fn read_name(message: &[u8]) -> Option<(String, usize)> {
    let mut at = HEADER;
    let mut name = String::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((name, at));
        }
        // A question's name is never compressed.
        if length > 63 || name.len() > 255 {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        let label = message.get(at..at + length)?;
        name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[derive(Default)]
    struct Outside {
        asked: Vec<(QueryId, Vec<u8>)>,
        answers: VecDeque<(QueryId, Option<Vec<u8>>)>,
    }

    impl NameResolver for Outside {
        fn ask(&mut self, id: QueryId, query: &[u8]) {
            self.asked.push((id, query.to_vec()));
        }

        fn stream_server(&self) -> Option<std::net::SocketAddrV4> {
            None
        }

        fn next_answer(&mut self) -> Option<(QueryId, Option<Vec<u8>>)> {
            self.answers.pop_front()
        }
    }

    fn query(name: &str, record_type: u16) -> Vec<u8> {
        let mut message = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            message.push(label.len() as u8);
            message.extend(label.bytes());
        }
        message.push(0);
        message.extend(record_type.to_be_bytes());
        message.extend([0, 1]);
        message
    }

    fn asker() -> Asker {
        let address = "10.86.0.2:4000".parse().unwrap();
        Asker { address, asked: "10.86.0.1:53".parse().unwrap() }
    }

    #[test]
    fn own_names_are_answered_without_the_outside() {
        let (mut server, mut outside) = (NameServer::default(), Outside::default());
        let mut ask =
            |name, record_type| server.answer(asker(), &query(name, record_type), 0, &mut outside).unwrap();
        let answer = ask("Host.Dinghy.Internal", 1);
        assert_eq!(answer[..4], [0xab, 0xcd, 0x85, 0x80]);
        assert_eq!(answer[4..8], [0, 1, 0, 1]);
        assert_eq!(answer[answer.len() - 4..], [10, 86, 0, 254]);
        let other_record = ask("gateway", 28);
        assert_eq!((other_record[3] & 0xf, other_record[7]), (0, 0));
        let by_ipv6 = ask("registry.ipv6.dinghy.internal", 28);
        assert_eq!(by_ipv6[by_ipv6.len() - 18..by_ipv6.len() - 12], [0, 16, 0xfd, 0x86, 0x64, 0x69]);
        assert_eq!(by_ipv6.last(), Some(&0xfd));
        assert_eq!(ask("registry.ipv6.dinghy.internal", 1)[7], 0);
        assert_eq!(ask("no.such.dinghy.internal", 1)[3] & 0xf, 3);
        assert!(outside.asked.is_empty());
    }

    #[test]
    fn other_names_are_asked_outside_and_answered_to_the_asker() {
        let (mut server, mut outside) = (NameServer::default(), Outside::default());
        let question = query("example.org", 1);
        assert_eq!(server.answer(asker(), &question, 0, &mut outside), None);
        let (id, asked) = outside.asked[0].clone();
        assert_eq!(asked, question);
        outside.answers.push_back((QueryId(id.0 + 100), Some(vec![0; 20])));
        outside.answers.push_back((id, Some([&[0, 0], &question[2..], &[9; 8]].concat())));
        let (to, answer) = server.next_answer(&mut outside).unwrap();
        assert_eq!((to, &answer[..2], &answer[answer.len() - 8..]), (asker(), &question[..2], &[9; 8][..]));
        assert_eq!(server.next_answer(&mut outside), None);
    }

    #[test]
    fn a_question_that_fails_is_answered_so() {
        let (mut server, mut outside) = (NameServer::default(), Outside::default());
        server.answer(asker(), &query("example.org", 1), 0, &mut outside);
        outside.answers.push_back((outside.asked[0].0, None));
        assert_eq!(server.next_answer(&mut outside).unwrap().1[3] & 0xf, 2);
    }

    #[test]
    fn questions_do_not_pile_up() {
        let (mut server, mut outside) = (NameServer::default(), Outside::default());
        for _ in 0..2 * MAX_WAITING {
            server.answer(asker(), &query("example.org", 1), 0, &mut outside);
        }
        assert_eq!(server.waiting.len(), MAX_WAITING);
        server.forget_old(PATIENCE_NS);
        assert!(server.waiting.is_empty());
    }

    #[test]
    fn what_is_no_question_is_not_answered() {
        let (mut server, mut outside) = (NameServer::default(), Outside::default());
        let whole = query("example.org", 1);
        for length in 0..whole.len() {
            assert_eq!(server.answer(asker(), &whole[..length], 0, &mut outside), None);
        }
        let mut compressed = whole.clone();
        compressed[12] = 0xc0;
        assert_eq!(server.answer(asker(), &compressed, 0, &mut outside), None);
        assert!(outside.asked.is_empty());
    }
}
