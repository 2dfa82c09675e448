//! Random bytes as code: decoding, lifting and both executors stand them, and make the same of them.
//!
//! `DINGHY_FUZZ_PROGRAMS` sets how many, `DINGHY_FUZZ_SEED` the seed.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use cpu_vectors::{Engine, Privilege, Vector, run_limited};

/// A loop that runs longer ends somewhere else with each executor.
const MOST_INSTRUCTIONS: u64 = 2_000;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Random code with likely first bytes, and registers that point into its data.
fn vector(random: &mut Random) -> (Vector, String) {
    const PREFIXES: [&str; 12] =
        ["", "66", "f2", "f3", "48", "0f", "660f", "f30f", "0f38", "c4e2", "c5f9", "f0"];
    let mut code = String::new();
    for _ in 0..1 + random.next() % 6 {
        code += PREFIXES[(random.next() % PREFIXES.len() as u64) as usize];
        for _ in 0..1 + random.next() % 6 {
            code += &format!("{:02x}", random.next() as u8);
        }
    }
    let registers: Vec<String> = ["rax", "rcx", "rdx", "rbx", "rbp", "rsi", "rdi", "r8", "r9", "r15"]
        .into_iter()
        .map(|name| {
            let value = match random.next() % 3 {
                0 => random.next() % 64,
                1 => 0x20_0000 + random.next() % 0x2000,
                _ => random.next(),
            };
            format!("\"{name}\":\"{value:#x}\"")
        })
        .collect();
    let json = format!(
        "{{\"name\":\"random\",\"code\":\"{code}f4\",\"load\":4096,\"regions\":[[2097152,8192]],\
         \"regs\":{{\"rsp\":2101248,{}}}}}",
        registers.join(",")
    );
    (serde_json::from_str(&json).unwrap(), json)
}

#[test]
fn both_executors_make_the_same_of_random_code() {
    let seed = setting("DINGHY_FUZZ_SEED", 0xf022);
    let programs = setting("DINGHY_FUZZ_PROGRAMS", 600);
    let mut random = Random(seed);
    let mut ended = 0;
    for _ in 0..programs {
        let (vector, json) = vector(&mut random);
        let privilege = if random.next().is_multiple_of(4) { Privilege::Supervisor } else { Privilege::User };
        let interpreted = run_limited(&vector, Engine::Interpreter, privilege, MOST_INSTRUCTIONS).unwrap();
        let compiled = run_limited(&vector, Engine::Compiled, privilege, MOST_INSTRUCTIONS).unwrap();
        if interpreted.stop != "limit" || compiled.stop != "limit" {
            ended += 1;
            assert_eq!(interpreted, compiled, "{privilege:?}: {json}");
        }
    }
    assert!(ended > programs / 2, "{ended} of {programs}");
}
