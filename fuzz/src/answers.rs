//! Answers of whoever serves a shared directory's files.

use crate::bytes::Bytes;
use dinghy::storage::tree::provided::{Answer, AnswerInbox, Operation, OperationId, ProvidedTree, Provider};
use dinghy::storage::tree::{FileError, FileTree, HandleId, Name, NewFile, NodeId, OpenMode};
use std::sync::{Arc, Mutex, PoisonError};

/// Times that a request is put again before it is given up, as one that waits forever.
const MOST_ATTEMPTS: usize = 40;
/// Most bytes of a transfer.
const MOST_BYTES: usize = 8192;
const NEW: NewFile = NewFile { permissions: 0o640, user: 1, group: 2 };
const READ_WRITE: OpenMode =
    OpenMode { is_readable: true, is_writable: true, is_truncating: false, is_synchronous: false };

/// Numbers as answers may have them.
const NUMBERS: [&str; 8] = ["0", "1", "4096", "-1", "1e300", "9007199254740993", "null", "\"7\""];
const KINDS: [&str; 6] = ["file", "directory", "link", "fifo", "block-device", "door"];
const NAMES: [&str; 6] = ["a", "b", "..", "", "x/y", "\\u0000"];

/// A provider that answers what the fuzzer wants, at once.
struct Hostile {
    bytes: Arc<Mutex<Vec<u8>>>,
    inbox: AnswerInbox,
}

impl Provider for Hostile {
    fn ask(&mut self, id: OperationId, operation: &Operation, _data: &[u8]) -> Result<(), FileError> {
        let mut left = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = Bytes(&left);
        let answer = answer(operation, &mut bytes);
        *left = bytes.0.to_vec();
        if let Some(answer) = answer {
            self.inbox.complete(id, answer);
        }
        Ok(())
    }
}

fn text<'a>(choices: &[&'a str], bytes: &mut Bytes<'_>) -> &'a str {
    choices[usize::from(bytes.byte()) % choices.len()]
}

/// A status, more or less.
fn status(bytes: &mut Bytes<'_>) -> String {
    let (kind, size, links) = (text(&KINDS, bytes), text(&NUMBERS, bytes), text(&NUMBERS, bytes));
    let (inode, modified) = (text(&NUMBERS, bytes), text(&NUMBERS, bytes));
    format!(r#"{{"kind":"{kind}","size":{size},"links":{links},"inode":{inode},"modified":{modified}}}"#)
}

/// What is answered; nothing is an answer that never comes.
fn answer(operation: &Operation, bytes: &mut Bytes<'_>) -> Option<Answer> {
    let json = match bytes.byte() % 8 {
        0 => return None,
        1 => return Some(Err(FileError::from_errno(i32::from(bytes.byte())))),
        // Any text: what JavaScript gives need not be JSON.
        2 => {
            let (text, rest) =
                bytes.0.split_at(usize::from(bytes.0.first().copied().unwrap_or(0)).min(bytes.0.len()));
            let text = String::from_utf8_lossy(text).into_owned();
            *bytes = Bytes(rest);
            text
        }
        _ => match operation {
            Operation::List { .. } => {
                let items = (0..bytes.byte() % 5).map(|_| {
                    format!(r#"{{"name":"{}","kind":"{}"}}"#, text(&NAMES, bytes), text(&KINDS, bytes))
                });
                format!("[{}]", items.collect::<Vec<_>>().join(","))
            }
            Operation::ReadLink { .. } => format!("\"{}\"", "t".repeat(usize::from(bytes.half() % 5000))),
            Operation::Room { .. } => format!(r#"{{"bytes":{0},"free":{0}}}"#, text(&NUMBERS, bytes)),
            _ => status(bytes),
        },
    };
    // Of data, more may come than was asked for.
    let data = vec![bytes.byte(); usize::from(bytes.half()) % (2 * MOST_BYTES)];
    Some(Ok((json, data)))
}

/// Works in a tree whose provider answers anything: the first half of the bytes says what is done, the other what is
/// answered. What comes back is an error, or what a tree may give.
pub fn answers(data: &[u8]) {
    let (script, answers) = data.split_at(data.len() / 2);
    let inbox = AnswerInbox::default();
    let provider = Hostile { bytes: Arc::new(Mutex::new(answers.to_vec())), inbox: inbox.clone() };
    let mut work = Work {
        tree: ProvidedTree::new(Box::new(provider), inbox),
        nodes: vec![NodeId(0)],
        handles: vec![HandleId(0)],
        request: 0,
    };
    if let Some((root, _)) = work.ask(|tree| tree.root()) {
        work.nodes.push(root);
    }
    let mut script = Bytes(script);
    while !script.is_empty() {
        work.step(&mut script);
    }
    for handle in work.handles {
        work.tree.close(handle);
    }
    for node in work.nodes {
        work.tree.forget(node);
    }
}

struct Work {
    tree: ProvidedTree,
    nodes: Vec<NodeId>,
    handles: Vec<HandleId>,
    request: u64,
}

impl Work {
    /// Puts a request until it is answered.
    fn ask<T>(&mut self, operation: impl Fn(&mut ProvidedTree) -> Result<T, FileError>) -> Option<T> {
        self.request += 1;
        let mut outcome = None;
        for _ in 0..MOST_ATTEMPTS {
            self.tree.begin_request(self.request);
            match operation(&mut self.tree) {
                Err(FileError::Pending) => {}
                ended => {
                    outcome = ended.ok();
                    break;
                }
            }
        }
        self.tree.end_request(self.request);
        outcome
    }

    fn step(&mut self, script: &mut Bytes<'_>) {
        let (kind, which) = (script.byte(), usize::from(script.byte()));
        let node = self.nodes[which % self.nodes.len()];
        let other = self.nodes[which / 16 % self.nodes.len()];
        let handle = self.handles[which % self.handles.len()];
        let offset = script.number(0);
        let text = ["a", "b", "note"][which % 3].as_bytes();
        let Ok(name) = Name::new(text) else { return };
        match kind % 16 {
            0 | 1 => {
                let found = self.ask(|tree| tree.look_up(node, name));
                self.nodes.extend(found.map(|(node, _)| node));
            }
            2 => {
                let parent = self.ask(|tree| tree.parent(node));
                self.nodes.extend(parent.map(|(node, _)| node));
            }
            3 => {
                let _ = self.ask(|tree| tree.attributes(node));
            }
            4 => {
                let target = self.ask(|tree| tree.read_link(node));
                assert!(target.is_none_or(|target| target.len() < 4096), "no path is as long");
            }
            5 => {
                let opened = self.ask(|tree| tree.open(node, READ_WRITE));
                self.handles.extend(opened);
            }
            6 => {
                if let Some((node, _, handle)) = self.ask(|tree| tree.create(node, name, READ_WRITE, NEW)) {
                    self.nodes.push(node);
                    self.handles.push(handle);
                }
            }
            7 | 8 => {
                let length = which * 64 % MOST_BYTES;
                let read = self.ask(|tree| {
                    let mut buffer = vec![0; length];
                    tree.read(handle, offset, &mut buffer)
                });
                assert!(read.is_none_or(|read| read <= length), "more than was asked for");
            }
            9 => {
                let written = self.ask(|tree| tree.write(handle, offset, &[7; 100]));
                assert!(written.is_none_or(|written| written <= 100), "more than there was");
            }
            10 => drop(self.ask(|tree| {
                tree.read_directory(handle, offset, &mut |entry| {
                    let is_own = entry.name == b"." || entry.name == b"..";
                    assert!(is_own || Name::new(entry.name).is_ok(), "a name of {:?}", entry.name);
                    true
                })
            })),
            11 => {
                let made = self.ask(|tree| tree.make_directory(node, name, NEW));
                self.nodes.extend(made.map(|(node, _)| node));
            }
            12 => drop(self.ask(|tree| tree.rename(node, name, other, name))),
            13 => drop(self.ask(|tree| tree.link(node, other, name))),
            14 => drop(self.ask(|tree| match which % 2 {
                0 => tree.remove_file(node, name),
                _ => tree.remove_directory(node, name),
            })),
            _ => {
                let _ = self.ask(|tree| tree.statistics(node));
                self.tree.forget(node);
            }
        }
    }
}
