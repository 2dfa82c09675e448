use super::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

const READ: OpenMode =
    OpenMode { is_readable: true, is_writable: false, is_truncating: false, is_synchronous: false };
const READ_WRITE: OpenMode = OpenMode { is_writable: true, ..READ };

/// A folder of one test, removed at its end. The tree shares `inside` of it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> (Self, DirectoryTree, NodeId) {
        let path = std::env::temp_dir().join(format!("dinghy-{name}-{}", std::process::id()));
        std::fs::create_dir_all(path.join("inside")).unwrap();
        std::fs::write(path.join("secret"), "secret").unwrap();
        let mut tree = DirectoryTree::open(&path.join("inside")).unwrap();
        let (root, _) = tree.root().unwrap();
        (Self(path), tree, root)
    }

    fn inside(&self, name: &str) -> PathBuf {
        self.0.join("inside").join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn name(text: &str) -> Name<'_> {
    Name::new(text.as_bytes()).unwrap()
}

/// A new file that belongs to whoever runs the test.
fn new(permissions: u32) -> NewFile {
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    NewFile { permissions, user, group }
}

fn names(tree: &mut DirectoryTree, directory: NodeId) -> Vec<String> {
    let handle = tree.open(directory, READ).unwrap();
    let mut names = Vec::new();
    tree.read_directory(handle, 0, &mut |entry| {
        names.push(String::from_utf8(entry.name.to_vec()).unwrap());
        true
    })
    .unwrap();
    tree.close(handle);
    names.sort();
    names
}

#[test]
fn what_the_guest_does_the_host_finds() {
    let (scratch, mut tree, root) = Scratch::new("work");
    let (directory, _) = tree.make_directory(root, name("a"), new(0o750)).unwrap();
    let (file, attributes, handle) = tree.create(directory, name("file"), READ_WRITE, new(0o666)).unwrap();
    assert_eq!(attributes.permissions, 0o666, "whatever this process's umask is");
    assert_eq!(tree.write(handle, 3, b"hello"), Ok(5));
    assert_eq!(std::fs::read(scratch.inside("a/file")).unwrap(), b"\0\0\0hello");
    let mut buffer = [0; 10];
    assert_eq!(tree.read(handle, 3, &mut buffer), Ok(5));
    assert_eq!(tree.synchronize(handle, true), Ok(()));
    assert_eq!(tree.link(file, root, name("second")), Ok(()));
    assert_eq!(tree.attributes(file).unwrap().links, 2);
    assert_eq!(tree.look_up(root, name("second")).unwrap().0, file, "one file is one node");
    let change = AttributeChange {
        permissions: Some(0o600),
        size: Some(2),
        modified: Some(TimeChange::To(WallTime { unix_ns: 5_000_000_006 })),
        ..AttributeChange::default()
    };
    assert_eq!(tree.set_attributes(file, &change), Ok(()));
    let metadata = std::fs::metadata(scratch.inside("second")).unwrap();
    assert_eq!((metadata.len(), metadata.permissions().mode() & 0o7777), (2, 0o600));
    assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (5, 6));
    let (link, _) = tree.make_symbolic_link(root, name("link"), b"a/file", new(0)).unwrap();
    assert_eq!(tree.read_link(link).unwrap(), b"a/file");
    assert_eq!(std::fs::metadata(scratch.inside("link")).unwrap().len(), 2);
    assert_eq!(names(&mut tree, root), [".", "..", "a", "link", "second"]);
    assert_eq!(tree.remove_directory(root, name("a")), Err(FileError::NotEmpty));
    assert_eq!(tree.remove_file(root, name("a")), Err(FileError::IsDirectory));
    assert_eq!(tree.remove_file(directory, name("file")), Ok(()));
    assert_eq!(tree.remove_directory(root, name("a")), Ok(()));
    assert_eq!(tree.remove_file(root, name("second")), Ok(()));
    assert_eq!(tree.read(handle, 0, &mut buffer), Ok(2), "an open file outlives its names");
    assert!(tree.statistics(root).unwrap().blocks > 0);
}

#[test]
fn no_link_of_the_host_leads_out() {
    let (scratch, mut tree, root) = Scratch::new("links");
    symlink("..", scratch.inside("up")).unwrap();
    symlink("../secret", scratch.inside("file")).unwrap();
    for (link, target) in [("up", "secret"), ("file", "x")] {
        let (node, attributes) = tree.look_up(root, name(link)).unwrap();
        assert_eq!(attributes.kind, FileKind::SymbolicLink);
        assert_eq!(tree.open(node, READ_WRITE), Err(FileError::Loop));
        assert_eq!(tree.look_up(node, name(target)), Err(FileError::NotDirectory));
        let size = AttributeChange { size: Some(0), ..AttributeChange::default() };
        assert_eq!(tree.set_attributes(node, &size), Err(FileError::Invalid));
        assert_eq!(tree.create(node, name("x"), READ, new(0)).map(|_| ()), Err(FileError::NotDirectory));
        let times = AttributeChange { modified: Some(TimeChange::Now), ..AttributeChange::default() };
        assert_eq!(tree.set_attributes(node, &times), Ok(()), "of the link itself");
        let permissions = AttributeChange { permissions: Some(0), ..AttributeChange::default() };
        assert_eq!(tree.set_attributes(node, &permissions), Err(FileError::NotSupported));
        assert_eq!(tree.link(node, root, name(&format!("{link}2"))), Ok(()));
        let copy = std::fs::symlink_metadata(scratch.inside(&format!("{link}2"))).unwrap();
        assert!(copy.is_symlink());
    }
    assert_eq!(tree.create(root, name("file"), READ_WRITE, new(0)).map(|_| ()), Err(FileError::Exists));
    assert_eq!(std::fs::read(scratch.0.join("secret")).unwrap(), b"secret");
}

#[test]
fn up_ends_at_the_top() {
    let (scratch, mut tree, root) = Scratch::new("up");
    std::fs::create_dir_all(scratch.inside("a/b")).unwrap();
    let (a, _) = tree.look_up(root, name("a")).unwrap();
    let (b, _) = tree.look_up(a, name("b")).unwrap();
    assert_eq!(tree.parent(b).unwrap().0, a);
    assert_eq!(tree.parent(a).unwrap().0, root);
    assert_eq!(tree.parent(root).unwrap().0, root);
    let inode = tree.attributes(root).unwrap().inode;
    let handle = tree.open(root, READ).unwrap();
    tree.read_directory(handle, 0, &mut |entry| {
        assert!(entry.name != b".." || entry.inode == inode, "the host's parent does not show");
        true
    })
    .unwrap();
    // A directory that the guest moves has another parent at once.
    assert_eq!(tree.rename(a, name("b"), root, name("c")), Ok(()));
    assert_eq!(tree.parent(b).unwrap().0, root);
}

#[test]
fn devices_and_pipes_of_the_host_stay_shut() {
    let (_scratch, mut tree, root) = Scratch::new("devices");
    for kind in [FileKind::BlockDevice, FileKind::CharacterDevice] {
        let made = tree.make_node(root, name("device"), kind, (1, 3), new(0o666));
        assert_eq!(made, Err(FileError::NotPermitted));
    }
    let (pipe, attributes) = tree.make_node(root, name("pipe"), FileKind::Fifo, (0, 0), new(0o600)).unwrap();
    assert_eq!((attributes.kind, attributes.permissions), (FileKind::Fifo, 0o600));
    assert_eq!(tree.open(pipe, READ), Err(FileError::NotSupported));
    assert_eq!(names(&mut tree, root), [".", "..", "pipe"]);
}

#[test]
fn only_users_attributes_are_shared() {
    let (_scratch, mut tree, root) = Scratch::new("extended");
    let (file, _, _) = tree.create(root, name("file"), READ_WRITE, new(0o600)).unwrap();
    let set = |tree: &mut DirectoryTree, name: &[u8], value: &[u8], change| {
        tree.set_extended(file, name, value, change)
    };
    for foreign in [b"security.capability".as_slice(), b"trusted.x", b"system.other", b"user"] {
        assert_eq!(set(&mut tree, foreign, b"x", ExtendedChange::Any), Err(FileError::NotSupported));
        assert_eq!(tree.extended(file, foreign), Err(FileError::NoAttribute));
        assert_eq!(tree.remove_extended(file, foreign), Err(FileError::NoAttribute));
    }
    match set(&mut tree, b"user.a", b"value", ExtendedChange::Create) {
        // The file system of the folder for temporary files may have none.
        Err(FileError::NotSupported) => return,
        made => assert_eq!(made, Ok(())),
    }
    assert_eq!(set(&mut tree, b"user.a", b"x", ExtendedChange::Create), Err(FileError::Exists));
    assert_eq!(set(&mut tree, b"user.b", b"", ExtendedChange::Replace), Err(FileError::NoAttribute));
    assert_eq!(tree.extended(file, b"user.a").unwrap(), b"value");
    assert_eq!(tree.extended_names(file).unwrap(), b"user.a\0");
    assert_eq!(tree.remove_extended(file, b"user.a"), Ok(()));
    assert_eq!(tree.extended(file, b"user.a"), Err(FileError::NoAttribute));
}

#[test]
fn nodes_go_with_their_last_holder() {
    let (scratch, mut tree, root) = Scratch::new("holders");
    std::fs::create_dir_all(scratch.inside("a/b/c")).unwrap();
    let mut directory = root;
    let mut found = Vec::new();
    for text in ["a", "b", "c"] {
        directory = tree.look_up(directory, name(text)).unwrap().0;
        found.push(directory);
    }
    let handle = tree.open(directory, READ).unwrap();
    for node in &found {
        tree.forget(*node);
    }
    assert_eq!(tree.nodes.len(), 4, "the open one holds those above it");
    tree.close(handle);
    assert_eq!((tree.nodes.len(), tree.by_file.len(), tree.handles.len()), (1, 1, 0));
    assert_eq!(tree.look_up(directory, name("x")), Err(FileError::BadHandle));
    for _ in 0..5 {
        tree.forget(root);
    }
    assert!(tree.root().is_err() || tree.nodes.len() == 1);
}

#[test]
fn a_large_directory_is_read_whole_in_pieces() {
    let (scratch, mut tree, root) = Scratch::new("large");
    for number in 0..3000 {
        std::fs::write(scratch.inside(&format!("a file with a long name {number:04}")), "").unwrap();
    }
    let handle = tree.open(root, READ).unwrap();
    let (mut cookie, mut seen) = (0, std::collections::BTreeSet::new());
    loop {
        let mut count = 0;
        tree.read_directory(handle, cookie, &mut |entry| {
            if count == 7 {
                return false;
            }
            count += 1;
            cookie = entry.cookie;
            assert!(seen.insert(entry.name.to_vec()), "twice");
            true
        })
        .unwrap();
        if count == 0 {
            break;
        }
    }
    assert_eq!(seen.len(), 3002);
}

#[test]
fn a_directory_that_cannot_be_shared_is_named() {
    for path in ["/nowhere/at/all", "/etc/passwd"] {
        let error = DirectoryTree::open(Path::new(path)).err().unwrap().to_string();
        assert!(error.starts_with(&format!("cannot share {path}: ")), "{error}");
    }
}
