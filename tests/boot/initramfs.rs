//! Initramfs images: cpio archives of the kind "newc" (Linux `Documentation/driver-api/early-userspace/
//! buffer-format.rst`).

const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;

/// An archive in the making.
#[derive(Default)]
pub struct Initramfs {
    bytes: Vec<u8>,
    entries: u32,
}

impl Initramfs {
    /// An archive with `/init` and the folders that programs mount file systems on.
    pub fn with_init(program: &[u8]) -> Self {
        let mut archive = Self::default();
        for folder in ["dev", "proc", "sys"] {
            archive.add(folder, DIRECTORY, &[]);
        }
        archive.file("init", program)
    }

    /// Adds a folder; `path` has no slash in front.
    pub fn directory(mut self, path: &str) -> Self {
        self.add(path, DIRECTORY, &[]);
        self
    }

    /// Adds an executable file; `path` has no slash in front.
    pub fn file(mut self, path: &str, contents: &[u8]) -> Self {
        self.add(path, EXECUTABLE, contents);
        self
    }

    /// The image.
    pub fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn add(&mut self, path: &str, mode: u32, contents: &[u8]) {
        self.entries += 1;
        let (links, size, path_size) = (1, contents.len() as u32, path.len() as u32 + 1);
        // Inode, mode, owner, group, links, time, size, four device numbers, length of the name, checksum.
        let fields = [self.entries, mode, 0, 0, links, 0, size, 0, 0, 0, 0, path_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
