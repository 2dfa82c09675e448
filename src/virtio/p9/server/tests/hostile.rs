//! What no honest client sends.

use super::client::Field::{Bytes, Text, Word16, Word32};
use super::client::*;
use crate::host::Entropy;
use crate::host::RepeatableEntropy;
use crate::virtio::p9::server::Outcome;

/// Every message that the server knows.
const KINDS: [u8; 28] = [
    8, 12, 14, 16, 18, 20, 22, 24, 26, 30, 32, 40, 50, 52, 54, 70, 72, 74, 76, 100, 102, 104, 108, 110, 116,
    118, 120, 122,
];

#[test]
fn unknown_messages_and_answers_are_refused() {
    let mut client = Client::new();
    for kind in (0..=255).filter(|kind| !KINDS.contains(kind)) {
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

/// The fields of the messages: b, h, w, d for 1, 2, 4, 8 bytes, s for a string, n for names, x for data.
const FORMS: [(u8, &str); 26] = [
    (8, "w"),
    (12, "ww"),
    (14, "wswww"),
    (16, "wssw"),
    (18, "wswwww"),
    (20, "wws"),
    (22, "w"),
    (24, "wd"),
    (26, "wwwwwddddd"),
    (30, "wws"),
    (32, "wsdw"),
    (40, "wdw"),
    (50, "ww"),
    (52, "wbwddws"),
    (54, "wbddws"),
    (70, "wws"),
    (72, "wsww"),
    (74, "wsws"),
    (76, "wsw"),
    (102, "wssw"),
    (108, "h"),
    (110, "wwn"),
    (116, "wdw"),
    (118, "wdx"),
    (120, "w"),
    (122, "w"),
];

/// Random messages, most with the form of a real one: whatever they are, each gets one whole answer, and the
/// server lives on.
#[test]
fn every_message_is_answered() {
    let mut entropy = RepeatableEntropy::new(9);
    let mut random = move || {
        let mut bytes = [0; 8];
        entropy.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    };
    let names = ["a", "b", "..", ".", "", "a/b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    let mut client = Client::new();
    let mut well_done = std::collections::BTreeSet::new();
    for round in 0..100_000_u64 {
        if round % 2000 == 0 {
            client = Client::new();
        }
        if round % 5 == 0 {
            // Most fids do not live long here; whether this one still does, does not matter.
            client.outcome(104, &[Word32(TOP), Word32(u32::MAX), Text(""), Text(""), Word32(0)]);
        }
        let (kind, form) = FORMS[(random() % FORMS.len() as u64) as usize];
        // Fids must live long enough for something to happen to them.
        if matches!(kind, 120 | 122) && !random().is_multiple_of(5) {
            continue;
        }
        let mut body = Vec::new();
        for field in form.chars() {
            let string = |body: &mut Vec<u8>, name: &str| {
                body.extend((name.len() as u16).to_le_bytes());
                body.extend(name.as_bytes());
            };
            match field {
                'b' => body.push(random() as u8 % 4),
                'h' => body.extend((random() as u16).to_le_bytes()),
                'w' if random().is_multiple_of(20) => body.extend((random() as u32).to_le_bytes()),
                'w' => body.extend((random() as u32 % 7).to_le_bytes()),
                'd' if random().is_multiple_of(5) => body.extend(random().to_le_bytes()),
                'd' => body.extend((random() % 10).to_le_bytes()),
                's' => string(&mut body, names[(random() % 16) as usize]),
                'n' => {
                    let count = random() % 3;
                    body.extend((count as u16).to_le_bytes());
                    (0..count).for_each(|_| string(&mut body, names[(random() % 16) as usize]));
                }
                _ => {
                    let length = random() % 10;
                    body.extend((length as u32).to_le_bytes());
                    body.extend(vec![7; length as usize]);
                }
            }
        }
        if random().is_multiple_of(20) {
            body.resize((random() % 40) as usize, 0xff);
        }
        let (outcome, answer) = client.raw(&message(kind, 5, &[Bytes(&body)]), false);
        assert!(matches!(outcome, Outcome::Answered(_)));
        assert_eq!(answer[..4], (answer.len() as u32).to_le_bytes());
        assert!(answer[4] == 7 || answer[4] == kind + 1);
        if answer[4] != 7 {
            well_done.insert(kind);
        }
    }
    // All but the one that is never granted.
    let expected: Vec<u8> = FORMS.iter().map(|(kind, _)| *kind).filter(|kind| *kind != 102).collect();
    assert_eq!(well_done.into_iter().collect::<Vec<_>>(), expected);
}
