//! Docker's image store, written as Docker 20.10 itself keeps it: the guest starts with one image,
//! `busybox:latest`, without a registry or a daemon at build time.
//!
//! The store names everything by hashes: the layer by the hash of its archive, the image by the hash of
//! its configuration. The layer is kept unpacked; `tar-split.json.gz` beside it holds the archive's
//! headers, from which `docker save` makes the same archive again.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc::{CRC_64_GO_ISO, Crc};
use flate2::{Compression, GzBuilder};
use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

use super::{IMAGE_TIME, tree};

/// The configuration's form of [`IMAGE_TIME`].
const CREATED: &str = "2026-01-01T00:00:00Z";
/// The name of the layer's short link, in Docker's alphabet and length.
const LAYER_LINK: &str = "BUSYBOXLAYERFORTHEGUEST234";

/// One member of the layer.
enum Member<'a> {
    Folder { mode: u32 },
    File { mode: u32, contents: &'a [u8] },
    Link { target: &'a str },
}

/// The layer while it is written: unpacked in a folder, as an archive's hash, and as the split archive.
struct Layer<'a> {
    folder: &'a Path,
    archive: Sha256,
    /// Bytes of the archive since the last file's contents.
    segment: Vec<u8>,
    split: Vec<u8>,
    position: u64,
    /// Bytes of all files.
    size: u64,
}

/// Writes the image `busybox:latest`, made from the busybox in `root`, into the Docker store of `root`.
///
/// # Errors
/// If a file cannot be read or written.
pub fn store_busybox(root: &Path) -> Result<()> {
    let store = root.join("var/lib/docker");
    let images = store.join("image/overlay2");
    let unfinished = store.join("overlay2/layer");
    let busybox = fs::read(root.join("usr/bin/busybox")).context("cannot read the unpacked busybox")?;
    let applets = tree::applets(root)?;

    let difference = unfinished.join("diff");
    fs::create_dir_all(&difference)?;
    let mut layer = Layer {
        folder: &difference,
        archive: Sha256::new(),
        segment: Vec::new(),
        split: Vec::new(),
        position: 0,
        size: 0,
    };
    layer.add("bin", &Member::Folder { mode: 0o755 })?;
    layer.add("bin/busybox", &Member::File { mode: 0o755, contents: &busybox })?;
    for name in &applets {
        layer.add(&format!("bin/{name}"), &Member::Link { target: "busybox" })?;
    }
    layer.add("etc", &Member::Folder { mode: 0o755 })?;
    for (name, contents) in [
        ("etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"),
        ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n"),
    ] {
        layer.add(name, &Member::File { mode: 0o644, contents: contents.as_bytes() })?;
    }
    for (name, mode) in [("home", 0o755), ("root", 0o700), ("tmp", 0o1777), ("usr", 0o755), ("var", 0o755)] {
        layer.add(name, &Member::Folder { mode })?;
    }
    layer.add("usr/bin", &Member::Link { target: "../bin" })?;
    layer.add("usr/sbin", &Member::Link { target: "../bin" })?;
    layer.add("sbin", &Member::Link { target: "bin" })?;
    let (difference_id, split, size) = layer.finish()?;

    // The lowest layer's chain is itself. Its folder in overlay2 may have any name of this form.
    let folder_id = hexadecimal(&Sha256::digest(difference_id.as_bytes()));
    fs::write(unfinished.join("link"), LAYER_LINK)?;
    fs::rename(&unfinished, store.join("overlay2").join(&folder_id))?;
    fs::create_dir_all(store.join("overlay2/l"))?;
    symlink(format!("../{folder_id}/diff"), store.join("overlay2/l").join(LAYER_LINK))?;

    let chain = images.join("layerdb/sha256").join(&difference_id);
    fs::create_dir_all(&chain)?;
    fs::write(chain.join("cache-id"), &folder_id)?;
    fs::write(chain.join("diff"), format!("sha256:{difference_id}"))?;
    fs::write(chain.join("size"), size.to_string())?;
    fs::write(chain.join("tar-split.json.gz"), split)?;

    let configuration = serde_json::to_vec(&json!({
        "architecture": "amd64",
        "config": {
            "Cmd": ["sh"],
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        },
        "created": CREATED,
        "history": [{ "created": CREATED, "created_by": "busybox of Debian 12" }],
        "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{difference_id}")] },
    }))?;
    let image = hexadecimal(&Sha256::digest(&configuration));
    let contents = images.join("imagedb/content/sha256");
    fs::create_dir_all(&contents)?;
    fs::create_dir_all(images.join("imagedb/metadata/sha256"))?;
    fs::write(contents.join(&image), configuration)?;
    let repositories =
        json!({ "Repositories": { "busybox": { "busybox:latest": format!("sha256:{image}") } } });
    fs::write(images.join("repositories.json"), serde_json::to_vec(&repositories)?)?;
    Ok(())
}

impl Layer<'_> {
    /// Adds a member to the folder, the archive and the split archive.
    fn add(&mut self, name: &str, member: &Member<'_>) -> Result<()> {
        let place = self.folder.join(name);
        let mut header = Header::new_ustar();
        header.set_mtime(IMAGE_TIME);
        header.set_uid(0);
        header.set_gid(0);
        let (kind, mode, contents): (_, _, &[u8]) = match *member {
            Member::Folder { mode } => (EntryType::Directory, mode, &[]),
            Member::File { mode, contents } => (EntryType::Regular, mode, contents),
            Member::Link { target } => {
                header.set_link_name(target)?;
                (EntryType::Symlink, 0o777, &[])
            }
        };
        let name = if kind == EntryType::Directory { format!("{name}/") } else { name.to_owned() };
        header.set_path(&name)?;
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(contents.len() as u64);
        header.set_cksum();

        match *member {
            Member::Folder { .. } => fs::create_dir(&place)?,
            Member::File { contents, .. } => fs::write(&place, contents)?,
            Member::Link { target } => symlink(target, &place)?,
        }
        if kind != EntryType::Symlink {
            fs::set_permissions(&place, fs::Permissions::from_mode(mode))?;
        }

        self.append(header.as_bytes());
        self.end_segment()?;
        // Docker's own checksum of a file within a split archive; empty files have none.
        let checksum = Crc::<u64>::new(&CRC_64_GO_ISO).checksum(contents).to_be_bytes();
        let payload = (!contents.is_empty()).then(|| BASE64.encode(checksum));
        let mut entry = json!({ "type": 1, "name": name, "payload": payload });
        if !contents.is_empty() {
            entry["size"] = json!(contents.len());
        }
        self.write_split(entry)?;
        self.archive.update(contents);
        self.segment.extend(vec![0; contents.len().next_multiple_of(512) - contents.len()]);
        self.archive.update(&self.segment);
        self.size += contents.len() as u64;
        Ok(())
    }

    /// Adds bytes of the archive that are not contents of files.
    fn append(&mut self, bytes: &[u8]) {
        self.archive.update(bytes);
        self.segment.extend_from_slice(bytes);
    }

    /// Moves the bytes since the last file's contents to the split archive.
    fn end_segment(&mut self) -> Result<()> {
        let payload = BASE64.encode(std::mem::take(&mut self.segment));
        self.write_split(json!({ "type": 2, "payload": payload }))
    }

    /// Adds an entry to the split archive, with its number.
    fn write_split(&mut self, mut entry: serde_json::Value) -> Result<()> {
        entry["position"] = json!(self.position);
        self.position += 1;
        serde_json::to_writer(&mut self.split, &entry)?;
        self.split.push(b'\n');
        Ok(())
    }

    /// Ends the archive; returns its hash, the compressed split archive, and the size of all files.
    fn finish(mut self) -> Result<(String, Vec<u8>, u64)> {
        self.append(&[0; 1024]);
        self.end_segment()?;
        let mut compressed = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
        compressed.write_all(&self.split)?;
        Ok((hexadecimal(&self.archive.finalize()), compressed.finish()?, self.size))
    }
}

/// Bytes in lower-case hexadecimal.
fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
