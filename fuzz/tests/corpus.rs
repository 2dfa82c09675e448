//! The kept corpora, and random bytes, through every target.
//!
//! `DINGHY_FUZZ_SECONDS` is how long each target is given random bytes, `DINGHY_FUZZ_SEED` the seed.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use dinghy_fuzz::TARGETS;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// What is kept for a target, in the order of the names.
fn corpus(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

#[test]
fn every_kept_input_comes_back() {
    for (target, run) in TARGETS {
        let files = corpus(target);
        assert!(!files.is_empty(), "nothing is kept for {target}");
        for file in files {
            println!("{}", file.display());
            run(&fs::read(file).unwrap());
        }
    }
}

#[test]
fn random_bytes_come_back() {
    let seconds = Duration::from_secs(setting("DINGHY_FUZZ_SECONDS", 2));
    let mut state = setting("DINGHY_FUZZ_SEED", 0xf022);
    let mut random = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ mixed >> 31
    };
    for (target, run) in TARGETS {
        let kept: Vec<Vec<u8>> = corpus(target).iter().map(|file| fs::read(file).unwrap()).collect();
        let begun = Instant::now();
        let mut runs = 0u64;
        while begun.elapsed() < seconds {
            // What is kept, with a few bytes changed.
            let mut input = kept[random() as usize % kept.len()].clone();
            for _ in 0..1 + random() % 8 {
                let place = random() as usize % (input.len() + 1);
                match input.get_mut(place) {
                    Some(byte) => *byte = random() as u8,
                    None => input.push(random() as u8),
                }
            }
            run(&input);
            runs += 1;
        }
        println!("{target}: {runs} runs");
    }
}
