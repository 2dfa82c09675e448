use super::*;

const NEW: NewFile = NewFile { permissions: 0o644, user: 7, group: 8 };
const READ_WRITE: OpenMode =
    OpenMode { is_readable: true, is_writable: true, is_truncating: false, is_synchronous: false };

fn name(text: &str) -> Name<'_> {
    Name::new(text.as_bytes()).unwrap()
}

fn tree() -> MemoryTree {
    MemoryTree::new(1 << 20)
}

fn names(tree: &mut MemoryTree, directory: NodeId) -> Vec<String> {
    let handle = tree.open(directory, OpenMode { is_readable: true, ..OpenMode::default() }).unwrap();
    let mut names = Vec::new();
    tree.read_directory(handle, 0, &mut |entry| {
        names.push(String::from_utf8(entry.name.to_vec()).unwrap());
        true
    })
    .unwrap();
    tree.close(handle);
    names
}

#[test]
fn a_removed_file_lives_as_long_as_it_is_held() {
    let mut tree = tree();
    let (node, _, handle) = tree.create(ROOT, name("a"), READ_WRITE, NEW).unwrap();
    assert_eq!(tree.write(handle, 0, b"hello"), Ok(5));
    tree.remove_file(ROOT, name("a")).unwrap();
    assert_eq!(tree.attributes(node).unwrap().links, 0);
    assert_eq!(tree.link(node, ROOT, name("again")), Err(FileError::NotFound));
    let mut buffer = [0; 8];
    assert_eq!(tree.read(handle, 0, &mut buffer), Ok(5));
    tree.forget(node);
    assert!(tree.attributes(node).is_ok(), "the handle holds it");
    tree.close(handle);
    assert_eq!(tree.attributes(node), Err(FileError::BadHandle));
    assert_eq!(tree.used_bytes, 0);
}

#[test]
fn a_full_tree_refuses_and_keeps_what_it_has() {
    let mut tree = MemoryTree::new(FILE_BYTES + 2 * PAGE_BYTES);
    let (_, _, handle) = tree.create(ROOT, name("a"), READ_WRITE, NEW).unwrap();
    assert_eq!(tree.write(handle, 0, &[1; 8192]), Ok(8192));
    assert_eq!(tree.write(handle, 8192, &[1]), Err(FileError::NoSpace));
    assert_eq!(tree.create(ROOT, name("b"), READ_WRITE, NEW).map(|_| ()), Err(FileError::NoSpace));
    assert_eq!(names(&mut tree, ROOT), [".", "..", "a"]);
    tree.resize(tree.handles[&handle].node, 4096).unwrap();
    assert_eq!(tree.write(handle, 100_000, &[1]), Ok(1));
}

#[test]
fn names_take_room_too() {
    let mut tree = MemoryTree::new(3 * FILE_BYTES);
    let (node, ..) = tree.create(ROOT, name("a"), READ_WRITE, NEW).unwrap();
    assert_eq!(tree.link(node, ROOT, name("b")), Ok(()));
    assert_eq!(tree.link(node, ROOT, name("c")), Ok(()));
    assert_eq!(tree.link(node, ROOT, name("d")), Err(FileError::NoSpace));
    assert_eq!(tree.remove_file(ROOT, name("a")), Ok(()));
    assert_eq!(tree.link(node, ROOT, name("d")), Ok(()));
    for text in ["b", "c", "d"] {
        assert_eq!(tree.remove_file(ROOT, name(text)), Ok(()));
    }
    assert_eq!(tree.used_bytes, FILE_BYTES, "it is still open");
}

#[test]
fn a_rename_replaces_only_its_like() {
    let mut tree = tree();
    let (folder, _) = tree.make_directory(ROOT, name("folder"), NEW).unwrap();
    let (other, _) = tree.make_directory(ROOT, name("other"), NEW).unwrap();
    tree.write_file("folder/file", b"1", 0o600).unwrap();
    tree.write_file("file", b"2", 0o600).unwrap();
    let mut rename = |from, old, to, new| tree.rename(from, name(old), to, name(new));
    assert_eq!(rename(ROOT, "file", ROOT, "folder"), Err(FileError::IsDirectory));
    assert_eq!(rename(ROOT, "folder", ROOT, "file"), Err(FileError::NotDirectory));
    assert_eq!(rename(ROOT, "other", ROOT, "folder"), Err(FileError::NotEmpty));
    assert_eq!(rename(ROOT, "folder", folder, "x"), Err(FileError::Invalid));
    assert_eq!(rename(ROOT, "none", folder, "x"), Err(FileError::NotFound));
    assert_eq!(rename(ROOT, "file", folder, "file"), Ok(()));
    assert_eq!(rename(ROOT, "folder", ROOT, "other"), Ok(()));
    assert_eq!(names(&mut tree, ROOT), [".", "..", "other"]);
    assert_eq!(tree.attributes(ROOT).unwrap().links, 3);
    assert_eq!(tree.attributes(other).unwrap().links, 0);
    assert_eq!(tree.create(other, name("x"), READ_WRITE, NEW).map(|_| ()), Err(FileError::NotFound));
    assert_eq!(names(&mut tree, folder), [".", "..", "file"]);
}

#[test]
fn a_moved_directory_has_another_parent() {
    let mut tree = tree();
    let (a, _) = tree.make_directory(ROOT, name("a"), NEW).unwrap();
    let (b, _) = tree.make_directory(a, name("b"), NEW).unwrap();
    assert_eq!(tree.parent(b).unwrap().0, a);
    tree.rename(a, name("b"), ROOT, name("c")).unwrap();
    assert_eq!(tree.parent(b).unwrap().0, ROOT);
    assert_eq!(tree.parent(ROOT).unwrap().0, ROOT);
    assert_eq!(tree.attributes(a).unwrap().links, 2);
}

#[test]
fn reading_goes_on_at_the_right_place_while_entries_go() {
    let mut tree = MemoryTree::new(64 << 20);
    for number in 0..1000 {
        tree.write_file(&format!("file{number}"), b"", 0o644).unwrap();
    }
    let handle = tree.open(ROOT, OpenMode { is_readable: true, ..OpenMode::default() }).unwrap();
    let (mut cookie, mut removed) = (2, 0);
    loop {
        let mut seen = Vec::new();
        tree.read_directory(handle, cookie, &mut |entry| {
            if seen.len() == 10 {
                return false;
            }
            seen.push(entry.name.to_vec());
            cookie = entry.cookie;
            true
        })
        .unwrap();
        if seen.is_empty() {
            break;
        }
        for seen in seen {
            tree.remove_file(ROOT, Name::new(&seen).unwrap()).unwrap();
            removed += 1;
        }
    }
    assert_eq!(removed, 1000);
    assert_eq!(tree.used_bytes, 0);
}

#[test]
fn extended_attributes_are_made_replaced_and_removed() {
    let mut tree = tree();
    let (node, ..) = tree.create(ROOT, name("a"), READ_WRITE, NEW).unwrap();
    assert_eq!(
        tree.set_extended(node, b"user.a", b"1", ExtendedChange::Replace),
        Err(FileError::NoAttribute)
    );
    assert_eq!(tree.set_extended(node, b"user.a", b"12", ExtendedChange::Create), Ok(()));
    assert_eq!(tree.set_extended(node, b"user.a", b"1", ExtendedChange::Create), Err(FileError::Exists));
    assert_eq!(tree.set_extended(node, b"user.a", b"1", ExtendedChange::Any), Ok(()));
    assert_eq!(tree.set_extended(node, b"user.b", b"", ExtendedChange::Any), Ok(()));
    assert_eq!(tree.extended(node, b"user.a").unwrap(), b"1");
    assert_eq!(tree.extended_names(node).unwrap(), b"user.a\0user.b\0");
    assert_eq!(tree.remove_extended(node, b"user.a"), Ok(()));
    assert_eq!(tree.extended(node, b"user.a"), Err(FileError::NoAttribute));
    let huge = vec![0; EXTENDED_BYTES_MAX + 1];
    assert_eq!(tree.set_extended(node, b"user.a", &huge, ExtendedChange::Any), Err(FileError::MessageSize));
}

#[test]
fn only_files_and_directories_open() {
    let mut tree = tree();
    let (link, _) = tree.make_symbolic_link(ROOT, name("link"), b"/etc/passwd", NEW).unwrap();
    let (pipe, _) = tree.make_node(ROOT, name("pipe"), FileKind::Fifo, (0, 0), NEW).unwrap();
    assert_eq!(tree.open(link, READ_WRITE), Err(FileError::Loop));
    assert_eq!(tree.open(pipe, READ_WRITE), Err(FileError::NotSupported));
    assert_eq!(tree.open(ROOT, READ_WRITE), Err(FileError::IsDirectory));
    assert_eq!(tree.read_link(link).unwrap(), b"/etc/passwd");
    assert_eq!(tree.read_link(ROOT), Err(FileError::Invalid));
}
