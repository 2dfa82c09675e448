use super::*;
use crate::storage::tree::FileError::{Exists, InputOutput, NotFound, Pending};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

const NEW: NewFile = NewFile { permissions: 0o640, user: 0, group: 0 };
const READ_WRITE: OpenMode =
    OpenMode { is_readable: true, is_writable: true, is_truncating: false, is_synchronous: false };

#[derive(Default)]
struct Asked {
    /// What is not answered yet.
    open: Vec<(OperationId, Operation, Vec<u8>)>,
    /// All that was asked.
    operations: Vec<Operation>,
}

/// A provider that answers when the test says so, from files in memory.
#[derive(Clone, Default)]
struct Later(Arc<Mutex<Asked>>);

impl Provider for Later {
    fn ask(&mut self, id: OperationId, operation: &Operation, data: &[u8]) -> Result<(), FileError> {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.operations.push(operation.clone());
        if id != 0 {
            asked.open.push((id, operation.clone(), data.to_vec()));
        }
        Ok(())
    }
}

struct Bench {
    tree: ProvidedTree,
    provider: Later,
    inbox: AnswerInbox,
    files: BTreeMap<String, Vec<u8>>,
    handles: BTreeMap<u64, String>,
    request: u64,
}

fn name(text: &str) -> Name<'_> {
    Name::new(text.as_bytes()).unwrap()
}

impl Bench {
    fn new() -> Self {
        let (provider, inbox) = (Later::default(), AnswerInbox::default());
        let tree = ProvidedTree::new(Box::new(provider.clone()), inbox.clone());
        let (files, handles) = (BTreeMap::new(), BTreeMap::new());
        Self { tree, provider, inbox, files, handles, request: 0 }
    }

    fn asked(&self) -> usize {
        self.provider.0.lock().unwrap().operations.len()
    }

    fn last(&self) -> Option<Operation> {
        self.provider.0.lock().unwrap().operations.last().cloned()
    }

    /// Answers all that was asked.
    fn answer(&mut self) {
        let open = std::mem::take(&mut self.provider.0.lock().unwrap().open);
        for (id, operation, data) in open {
            let answer = self.outcome(&operation, &data);
            self.inbox.complete(id, answer);
        }
    }

    fn status(&self, path: &str) -> Answer {
        let json = match self.files.get(path) {
            None if path.is_empty() => r#"{"kind":"directory","size":0}"#.to_owned(),
            None => return Err(NotFound),
            Some(file) => format!(r#"{{"kind":"file","size":{},"modified":1500.25}}"#, file.len()),
        };
        Ok((json, Vec::new()))
    }

    fn outcome(&mut self, operation: &Operation, data: &[u8]) -> Answer {
        let done = Ok(("null".to_owned(), Vec::new()));
        match operation {
            Operation::Stat { path: Some(path), .. } => self.status(path),
            Operation::Stat { handle: Some(handle), .. } => self.status(&self.handles[handle].clone()),
            Operation::Open { path, handle, .. } => {
                self.handles.insert(*handle, path.clone());
                if self.files.contains_key(path) { done } else { Err(NotFound) }
            }
            Operation::Create { path, handle, .. } => {
                if self.files.contains_key(path) {
                    return Err(Exists);
                }
                self.files.insert(path.clone(), Vec::new());
                self.handles.insert(*handle, path.clone());
                self.status(path)
            }
            Operation::Write { handle, offset, .. } => {
                let file = self.files.get_mut(&self.handles[handle]).unwrap();
                file.truncate(*offset as usize);
                file.extend_from_slice(data);
                done
            }
            Operation::Read { handle, offset, length } => {
                let file = &self.files[&self.handles[handle]];
                let start = (*offset as usize).min(file.len());
                let end = (start + *length as usize).min(file.len());
                Ok(("null".to_owned(), file[start..end].to_vec()))
            }
            Operation::List { .. } => {
                let items: Vec<_> =
                    self.files.keys().map(|name| format!(r#"{{"name":"{name}","kind":"file"}}"#)).collect();
                Ok((format!("[{}]", items.join(",")), Vec::new()))
            }
            Operation::Rename { path, to } => {
                let file = self.files.remove(path).ok_or(NotFound)?;
                self.files.insert(to.clone(), file);
                self.handles.values_mut().filter(|open| *open == path).for_each(|open| open.clone_from(to));
                done
            }
            Operation::Remove { path } => {
                let file = self.files.remove(path).ok_or(NotFound)?;
                // Those who have it open keep it.
                self.files.insert(format!("gone:{path}"), file);
                let gone = format!("gone:{path}");
                self.handles
                    .values_mut()
                    .filter(|open| *open == path)
                    .for_each(|open| open.clone_from(&gone));
                done
            }
            _ => Err(FileError::NotSupported),
        }
    }

    /// Puts a request until it is answered.
    fn run<T>(
        &mut self,
        request: impl Fn(&mut ProvidedTree) -> Result<T, FileError>,
    ) -> Result<T, FileError> {
        self.request += 1;
        let number = self.request;
        for _ in 0..8 {
            self.tree.begin_request(number);
            let outcome = request(&mut self.tree);
            if !matches!(outcome, Err(Pending)) {
                self.tree.end_request(number);
                return outcome;
            }
            self.answer();
        }
        panic!("the request does not come to an end");
    }
}

#[test]
fn a_request_that_is_put_again_asks_nothing_twice() {
    let mut bench = Bench::new();
    bench.files.insert("a".to_owned(), b"hello".to_vec());
    let (root, _) = bench.run(|tree| tree.root()).unwrap();
    let (node, attributes) = bench.run(|tree| tree.look_up(root, name("a"))).unwrap();
    assert_eq!((attributes.size, attributes.modified.unix_ns), (5, 1_500_250_000));
    let before = bench.asked();
    let handle = bench
        .run(|tree| {
            tree.attributes(node)?;
            tree.open(node, READ_WRITE)
        })
        .unwrap();
    assert_eq!(bench.asked(), before + 2, "one question for each operation");
    let mut buffer = [0; 8];
    let tree = &mut bench;
    tree.request += 1;
    tree.tree.begin_request(tree.request);
    assert_eq!(tree.tree.read(handle, 1, &mut buffer), Err(Pending));
    assert_eq!(tree.tree.read(handle, 1, &mut buffer), Err(Pending), "not answered yet");
    tree.answer();
    tree.tree.begin_request(tree.request);
    assert_eq!(tree.tree.read(handle, 1, &mut buffer), Ok(4));
    assert_eq!(&buffer[..4], b"ello");
}

#[test]
fn files_keep_their_contents_through_renames_and_removal() {
    let mut bench = Bench::new();
    let (root, _) = bench.run(|tree| tree.root()).unwrap();
    let (node, _, handle) = bench.run(|tree| tree.create(root, name("a"), READ_WRITE, NEW)).unwrap();
    assert_eq!(bench.run(|tree| tree.create(root, name("a"), READ_WRITE, NEW)), Err(Exists));
    assert_eq!(bench.run(|tree| tree.write(handle, 0, b"text")), Ok(4));
    bench.run(|tree| tree.rename(root, name("a"), root, name("b"))).unwrap();
    assert_eq!(bench.tree.known_path(node), Ok(Some(vec![b"b".to_vec()])));
    assert_eq!(bench.run(|tree| tree.attributes(node)).unwrap().size, 4);
    bench.run(|tree| tree.remove_file(root, name("b"))).unwrap();
    assert_eq!(bench.tree.known_path(node), Ok(None));
    assert_eq!(bench.run(|tree| tree.attributes(node)).unwrap().links, 0);
    let mut buffer = [0; 4];
    let read = bench.run(|tree| {
        let mut buffer = [0; 4];
        tree.read(handle, 0, &mut buffer).map(|_| buffer)
    });
    buffer.copy_from_slice(&read.unwrap());
    assert_eq!(&buffer, b"text");
    bench.tree.close(handle);
    assert!(matches!(bench.last(), Some(Operation::Close { .. })));
    bench.tree.forget(node);
    assert_eq!(bench.tree.places.count(), 1, "the top directory is all that is left");
}

#[test]
fn entries_are_read_on_from_where_they_were_left() {
    let mut bench = Bench::new();
    for file in ["a", "b", "c"] {
        bench.files.insert(file.to_owned(), Vec::new());
    }
    let (root, _) = bench.run(|tree| tree.root()).unwrap();
    let mode = OpenMode { is_readable: true, ..OpenMode::default() };
    let handle = bench.run(|tree| tree.open(root, mode)).unwrap();
    let read = |bench: &mut Bench, from, most: usize| {
        bench.run(|tree| {
            let mut entries = Vec::new();
            tree.read_directory(handle, from, &mut |entry| {
                let has_room = entries.len() < most;
                if has_room {
                    entries.push((String::from_utf8_lossy(entry.name).into_owned(), entry.cookie));
                }
                has_room
            })?;
            Ok(entries)
        })
    };
    let first = read(&mut bench, 0, 3).unwrap();
    assert_eq!(first.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), [".", "..", "a"]);
    // What comes meanwhile does not disturb the reading.
    bench.files.insert("0".to_owned(), Vec::new());
    let rest = read(&mut bench, first[2].1, 9).unwrap();
    assert_eq!(rest.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["b", "c"]);
    assert_eq!(read(&mut bench, 0, 9).unwrap().len(), 6);
}

#[test]
fn a_request_that_is_given_up_leaves_nothing_open() {
    let mut bench = Bench::new();
    let (root, _) = bench.run(|tree| tree.root()).unwrap();
    bench.tree.begin_request(100);
    assert_eq!(bench.tree.create(root, name("a"), READ_WRITE, NEW), Err(Pending));
    assert!(!bench.tree.is_settled(), "whether the file is made is not known");
    bench.tree.end_request(100);
    assert!(bench.tree.is_settled());
    assert!(matches!(bench.last(), Some(Operation::Close { .. })));
    let open = std::mem::take(&mut bench.provider.0.lock().unwrap().open);
    bench.inbox.complete(open[0].0, Ok(("null".to_owned(), Vec::new())));
    assert!(bench.run(|tree| tree.look_up(root, name("b"))).is_err(), "the late answer is nobody's");
}

#[test]
fn answers_that_make_no_sense_are_errors() {
    let mut bench = Bench::new();
    let (root, _) = bench.run(|tree| tree.root()).unwrap();
    for json in ["", "null", "{}", r#"{"kind":"cat","size":1}"#, r#"{"kind":"file","size":"1"}"#, "[[["] {
        bench.request += 1;
        bench.tree.begin_request(bench.request);
        assert_eq!(bench.tree.look_up(root, name("a")), Err(Pending));
        let open = std::mem::take(&mut bench.provider.0.lock().unwrap().open);
        bench.inbox.complete(open[0].0, Ok((json.to_owned(), Vec::new())));
        assert_eq!(bench.tree.look_up(root, name("a")), Err(InputOutput), "{json}");
        bench.tree.end_request(bench.request);
    }
    bench.files.insert("a".to_owned(), vec![7; 100]);
    let (node, _) = bench.run(|tree| tree.look_up(root, name("a"))).unwrap();
    let handle = bench.run(|tree| tree.open(node, READ_WRITE)).unwrap();
    bench.tree.begin_request(0);
    assert_eq!(bench.tree.read(handle, 0, &mut [0; 4]), Err(Pending));
    let open = std::mem::take(&mut bench.provider.0.lock().unwrap().open);
    bench.inbox.complete(open[0].0, Ok(("null".to_owned(), vec![0; 5])));
    assert_eq!(bench.tree.read(handle, 0, &mut [0; 4]), Err(InputOutput), "more than there is room for");
    let latin = Name::new(b"\xe4").unwrap();
    assert_eq!(bench.tree.look_up(root, latin), Err(FileError::Host(84)));
}

#[test]
fn a_restored_session_finds_its_files_without_waiting() {
    let mut bench = Bench::new();
    bench.files.insert("a".to_owned(), b"kept".to_vec());
    bench.tree.set_restoring(true);
    let (root, _) = bench.tree.root().unwrap();
    let (node, _) = bench.tree.look_up(root, name("a")).unwrap();
    let handle = bench.tree.open(node, READ_WRITE).unwrap();
    let (missing, _) = bench.tree.look_up(root, name("b")).unwrap();
    bench.tree.set_restoring(false);
    bench.handles.insert(handle.0, "a".to_owned());
    let read = bench.run(|tree| {
        let mut buffer = [0; 8];
        tree.read(handle, 0, &mut buffer).map(|length| buffer[..length].to_vec())
    });
    assert_eq!(read.unwrap(), b"kept");
    assert_eq!(bench.run(|tree| tree.attributes(node)).unwrap().kind, FileKind::Regular);
    assert_eq!(bench.run(|tree| tree.attributes(missing)), Err(NotFound));
}
