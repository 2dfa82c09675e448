//! What no honest client sends.

use super::client::Field::{Bytes, Text, Word16, Word32};
use super::client::*;
use crate::host::Entropy;
use crate::host::RepeatableEntropy;
use crate::virtio::p9::server::Outcome;

/// Every message that the server knows.
const KINDS: [u8; 29] = [
    8, 12, 14, 16, 18, 20, 22, 24, 26, 30, 32, 40, 50, 52, 54, 70, 72, 74, 76, 100, 102, 104, 108, 110, 116,
    118, 120, 122, 6,
];

#[test]
fn unknown_messages_and_answers_are_refused() {
    let mut client = Client::new();
    for kind in (0..=255).filter(|kind| !KINDS.contains(kind) || *kind == 6) {
        let (_, answer) = client.raw(&message(kind, 5, &[]), true);
        assert_eq!(answer, [11, 0, 0, 0, 7, 5, 0, EOPNOTSUPP as u8, 0, 0, 0], "{kind}");
    }
}

#[test]
fn a_message_that_ends_too_soon_or_too_late_is_refused() {
    let mut client = Client::new();
    let whole = message(72, 5, &[Word32(TOP), Text("name"), Word32(0), Word32(0)]);
    let refusal = [11, 0, 0, 0, 7, 5, 0, EPROTO as u8, 0, 0, 0];
    for length in 7..whole.len() {
        // Cut off, with a size that tells so, and with one that does not.
        assert_eq!(client.raw(&whole[..length], true).1, refusal, "{length}");
        let mut short = whole[..length].to_vec();
        short[0] = length as u8;
        assert_eq!(client.raw(&short, true).1, refusal, "{length}");
    }
    let mut long = message(72, 5, &[Word32(TOP), Text("name"), Word32(0), Word32(0), Bytes(b"x")]);
    assert_eq!(client.raw(&long, true).1, refusal);
    // Bytes behind the message do not count; nor does a size that cannot be.
    long[0] -= 1;
    assert_eq!(client.raw(&long, true).1[4], 73);
    for size in [0, 6, 8193, u32::MAX] {
        long[..4].copy_from_slice(&size.to_le_bytes());
        let error = if size > 8192 { EMSGSIZE } else { EPROTO };
        assert_eq!(client.raw(&long, true).1, [11, 0, 0, 0, 7, 5, 0, error as u8, 0, 0, 0]);
    }
    for length in 0..7 {
        assert_eq!(client.raw(&long[..length], true).1[4..7], [7, 0xff, 0xff]);
    }
    assert_eq!(client.names(&[]), [".", "..", "name"]);
}

#[test]
fn counts_that_lie_are_refused() {
    let mut client = Client::new();
    client.create(2, "file");
    let lie = [Word32(2), Field::Word64(0), Word32(u32::MAX), Bytes(b"abc")];
    assert_eq!(client.outcome(118, &lie), EPROTO);
    assert_eq!(client.outcome(110, &[Word32(TOP), Word32(3), Word16(2), Text("a")]), EPROTO);
    assert_eq!(client.outcome(22, &[Bytes(b"\x01\0\0")]), EPROTO);
}

#[test]
fn an_answer_that_does_not_fit_is_an_error() {
    let mut client = Client::new();
    assert_eq!(client.outcome(16, &[Word32(TOP), Text("link"), Text(&"x".repeat(4000)), Word32(0)]), OK);
    client.find(2, &["link"]);
    let mut reply = crate::virtio::p9::wire::Reply::default();
    let outcome = client.server.answer(&message(22, 1, &[Word32(2)]), 100, true, &mut reply);
    assert!(matches!(outcome, Outcome::Answered(_)));
    assert_eq!(reply.finish(), Err(crate::storage::tree::FileError::MessageSize));
}

/// Random messages, some with the form of a real one: whatever they are, each gets one whole answer.
#[test]
fn every_message_is_answered() {
    let mut entropy = RepeatableEntropy::new(9);
    let mut random = move || {
        let mut bytes = [0; 8];
        entropy.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    };
    let names = ["a", "b", "..", ".", "", "a/b", "c"];
    let mut client = Client::new();
    let mut answered = 0;
    for round in 0..60_000_u64 {
        if round % 1000 == 0 {
            client = Client::new();
        }
        let kind = KINDS[(random() % 28) as usize];
        if kind == 100 {
            continue;
        }
        let mut body = Vec::new();
        for _ in 0..random() % 9 {
            match random() % 5 {
                0 => body.extend((random() as u32 % 6).to_le_bytes()),
                1 => body.extend((random() % 5000).to_le_bytes()),
                2 => body.push(random() as u8 % 4),
                3 => {
                    let name = names[(random() % 7) as usize];
                    body.extend((name.len() as u16).to_le_bytes());
                    body.extend(name.as_bytes());
                }
                _ => body.extend(random().to_le_bytes()),
            }
        }
        let (outcome, answer) = client.raw(&message(kind, 5, &[Bytes(&body)]), false);
        assert!(matches!(outcome, Outcome::Answered(_)));
        assert_eq!(answer[..4], (answer.len() as u32).to_le_bytes());
        assert!(answer[4] == 7 || answer[4] == kind + 1);
        answered += u32::from(answer[4] != 7);
    }
    assert!(answered > 1000, "only {answered} were well-formed");
}
