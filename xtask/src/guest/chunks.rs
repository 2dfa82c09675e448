//! Writing the image in chunks: what the page fetches instead of the image itself. The reader, and the
//! format, are in `src/storage/chunks` of the emulator.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result, bail};
use serde_json::json;
use sha2::{Digest, Sha256};

/// Bytes of a chunk.
const CHUNK_BYTES: usize = 256 * 1024;
/// A pack is closed when it has this many bytes. Static hosts refuse files of more than some 25 MB.
const PACK_BYTES: usize = 16 << 20;
/// zstd's level: unpacking costs the same at any, and the image is packed once.
const LEVEL: i32 = 19;

/// A chunk that is not all zeroes.
struct Chunk {
    index: usize,
    stored: Vec<u8>,
}

/// Writes `image` as `manifest.json` and packs into the new folder `folder`. Chunks that `prefetch`
/// names come first, in its order; the others follow in theirs.
///
/// # Errors
/// If the image cannot be read, the folder not be written, or `prefetch` names what is not there.
pub fn write(image: &Path, prefetch: &[usize], folder: &Path) -> Result<()> {
    fs::create_dir(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let (size, digest, chunks) = pack(image)?;
    let stored: HashSet<usize> = chunks.iter().map(|chunk| chunk.index).collect();
    // What a boot has read may have been zeroes, of which there are no bytes.
    let prefetch: Vec<usize> = prefetch.iter().copied().filter(|index| stored.contains(index)).collect();
    let mut order: Vec<&Chunk> = chunks.iter().collect();
    order.sort_by_key(|chunk| {
        (prefetch.iter().position(|index| *index == chunk.index).unwrap_or(usize::MAX), chunk.index)
    });
    let mut packs = Vec::new();
    let mut listed = Vec::new();
    let mut pack: Vec<u8> = Vec::new();
    for (place, chunk) in order.iter().enumerate() {
        let stored = &chunk.stored;
        listed.push((
            chunk.index,
            packs.len(),
            pack.len(),
            stored.len(),
            hexadecimal(&Sha256::digest(stored)),
        ));
        pack.extend_from_slice(stored);
        if pack.len() >= PACK_BYTES || place + 1 == order.len() {
            // The digest in the name keeps packs of two images apart, wherever they are cached.
            let digest = hexadecimal(&Sha256::digest(&pack));
            let name = format!("{}-{}.pack", packs.len(), &digest[..16]);
            fs::write(folder.join(&name), &pack)?;
            packs.push(name);
            pack.clear();
        }
    }
    listed.sort_unstable_by_key(|(index, ..)| *index);
    let manifest = json!({
        "format": "dinghy-chunks",
        "version": 1,
        "size": size,
        "chunkBytes": CHUNK_BYTES,
        "image": digest,
        "packs": packs,
        "chunks": listed,
        "prefetch": prefetch,
    });
    let mut file = File::create(folder.join("manifest.json"))?;
    file.write_all(manifest.to_string().as_bytes())?;
    Ok(())
}

/// Packs the chunks of `image` by all processors. Returns the image's size and digest, too.
fn pack(image: &Path) -> Result<(usize, String, Vec<Chunk>)> {
    let file = File::open(image).with_context(|| format!("cannot open {}", image.display()))?;
    let source = Mutex::new((file, Sha256::new(), 0, 0));
    let packed = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism()?.get();
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    loop {
                        let Some((index, bytes)) = next_chunk(&source)? else { return Ok(()) };
                        if bytes.iter().any(|byte| *byte != 0) {
                            let stored = zstd::bulk::compress(&bytes, LEVEL)?;
                            lock(&packed)?.push(Chunk { index, stored });
                        }
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().map_err(|_| anyhow::anyhow!("a thread that packs chunks panicked"))??;
        }
        Ok(())
    })?;
    let (_, hash, _, size) = source.into_inner().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
    if size == 0 || !size.is_multiple_of(512) {
        bail!("{} has {size} bytes, which is no disk", image.display());
    }
    let mut chunks = packed.into_inner().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
    chunks.sort_unstable_by_key(|chunk: &Chunk| chunk.index);
    Ok((size, hexadecimal(&hash.finalize()), chunks))
}

/// The file, the hash of what was read of it, the next chunk's index, and the bytes read.
type Source = (File, Sha256, usize, usize);

fn next_chunk(source: &Mutex<Source>) -> Result<Option<(usize, Vec<u8>)>> {
    let mut source = lock(source)?;
    let (file, hash, next, size) = &mut *source;
    let mut bytes = Vec::with_capacity(CHUNK_BYTES);
    file.take(CHUNK_BYTES as u64).read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    hash.update(&bytes);
    let index = *next;
    *next += 1;
    *size += bytes.len();
    Ok(Some((index, bytes)))
}

fn lock<T>(mutex: &Mutex<T>) -> Result<std::sync::MutexGuard<'_, T>> {
    mutex.lock().map_err(|_| anyhow::anyhow!("a thread that packs chunks panicked"))
}

fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn the_manifest_finds_every_chunk_and_leaves_zeroes_out() {
        let folder = std::env::temp_dir().join(format!("dinghy-chunks-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let image = folder.join("image");
        let mut bytes = vec![1; CHUNK_BYTES];
        bytes.extend(vec![0; CHUNK_BYTES]);
        bytes.extend(vec![3; CHUNK_BYTES]);
        bytes.extend(vec![4; 512]);
        fs::write(&image, &bytes).unwrap();
        let target = folder.join("chunks");
        write(&image, &[3, 1, 0], &target).unwrap();
        let manifest: Value =
            serde_json::from_slice(&fs::read(target.join("manifest.json")).unwrap()).unwrap();
        assert_eq!(manifest["size"], bytes.len());
        assert_eq!(manifest["prefetch"], json!([3, 0]));
        let pack = fs::read(target.join(manifest["packs"][0].as_str().unwrap())).unwrap();
        let chunks = manifest["chunks"].as_array().unwrap();
        assert_eq!(chunks.iter().map(|chunk| chunk[0].as_u64().unwrap()).collect::<Vec<_>>(), [0, 2, 3]);
        // The first of the prefetch list lies first.
        assert_eq!(chunks[2][2], 0);
        for chunk in chunks {
            let number = |at: usize| chunk[at].as_u64().unwrap() as usize;
            let stored = &pack[number(2)..number(2) + number(3)];
            assert_eq!(chunk[4], hexadecimal(&Sha256::digest(stored)));
            let start = number(0) * CHUNK_BYTES;
            let expected = &bytes[start..bytes.len().min(start + CHUNK_BYTES)];
            assert_eq!(zstd::bulk::decompress(stored, CHUNK_BYTES).unwrap(), expected);
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
