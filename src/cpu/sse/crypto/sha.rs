//! Rounds and message schedules of SHA-1 and SHA-256 (FIPS 180-4).

/// Doublewords, highest first, as the standard's letters stand in a register.
fn words(x: u128) -> [u32; 4] {
    [(x >> 96) as u32, (x >> 64) as u32, (x >> 32) as u32, x as u32]
}

fn from_words(words: [u32; 4]) -> u128 {
    words.iter().fold(0, |sum, &word| sum << 32 | u128::from(word))
}

fn choice(x: u32, y: u32, z: u32) -> u32 {
    x & y ^ !x & z
}

fn majority(x: u32, y: u32, z: u32) -> u32 {
    x & y ^ x & z ^ y & z
}

/// SHA1RNDS4: four rounds of the quarter that `quarter` names.
pub fn sha1_four_rounds(state: u128, schedule: u128, quarter: u8) -> u128 {
    let parity: fn(u32, u32, u32) -> u32 = |x, y, z| x ^ y ^ z;
    let (mix, constant): (fn(u32, u32, u32) -> u32, u32) = match quarter & 3 {
        0 => (choice, 0x5a82_7999),
        1 => (parity, 0x6ed9_eba1),
        2 => (majority, 0x8f1b_bcdc),
        _ => (parity, 0xca62_c1d6),
    };
    let [mut a, mut b, mut c, mut d] = words(state);
    // The first word of the schedule has E added already.
    let mut e = 0u32;
    for word in words(schedule) {
        let next = mix(b, c, d)
            .wrapping_add(a.rotate_left(5))
            .wrapping_add(word)
            .wrapping_add(e)
            .wrapping_add(constant);
        (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
    }
    from_words([a, b, c, d])
}

/// SHA1NEXTE.
pub fn sha1_next_e(state: u128, schedule: u128) -> u128 {
    let [a, ..] = words(state);
    let [w, x, y, z] = words(schedule);
    from_words([w.wrapping_add(a.rotate_left(30)), x, y, z])
}

/// SHA1MSG1.
pub fn sha1_schedule_1(first: u128, second: u128) -> u128 {
    let [w0, w1, w2, w3] = words(first);
    let [w4, w5, ..] = words(second);
    from_words([w2 ^ w0, w3 ^ w1, w4 ^ w2, w5 ^ w3])
}

/// SHA1MSG2.
pub fn sha1_schedule_2(first: u128, second: u128) -> u128 {
    let [x0, x1, x2, x3] = words(first);
    let [_, w13, w14, w15] = words(second);
    let w16 = (x0 ^ w13).rotate_left(1);
    let (w17, w18) = ((x1 ^ w14).rotate_left(1), (x2 ^ w15).rotate_left(1));
    from_words([w16, w17, w18, (x3 ^ w16).rotate_left(1)])
}

fn big_sigma_0(x: u32) -> u32 {
    x.rotate_right(2) ^ x.rotate_right(13) ^ x.rotate_right(22)
}

fn big_sigma_1(x: u32) -> u32 {
    x.rotate_right(6) ^ x.rotate_right(11) ^ x.rotate_right(25)
}

fn small_sigma_0(x: u32) -> u32 {
    x.rotate_right(7) ^ x.rotate_right(18) ^ x >> 3
}

fn small_sigma_1(x: u32) -> u32 {
    x.rotate_right(17) ^ x.rotate_right(19) ^ x >> 10
}

/// SHA256RNDS2 with C, D, G, H in `first`, A, B, E, F in `second`; `schedule` holds the words with their
/// constants added.
pub fn sha256_two_rounds(first: u128, second: u128, schedule: u128) -> u128 {
    let [mut c, mut d, mut g, mut h] = words(first);
    let [mut a, mut b, mut e, mut f] = words(second);
    let [_, _, word_1, word_0] = words(schedule);
    for word in [word_0, word_1] {
        let first = choice(e, f, g).wrapping_add(big_sigma_1(e)).wrapping_add(word).wrapping_add(h);
        let second = majority(a, b, c).wrapping_add(big_sigma_0(a));
        (a, b, c, d, e, f, g, h) = (first.wrapping_add(second), a, b, c, first.wrapping_add(d), e, f, g);
    }
    from_words([a, b, e, f])
}

/// SHA256MSG1.
pub fn sha256_schedule_1(first: u128, second: u128) -> u128 {
    let [w3, w2, w1, w0] = words(first);
    let [.., w4] = words(second);
    let next = |word: u32, following| word.wrapping_add(small_sigma_0(following));
    from_words([next(w3, w4), next(w2, w3), next(w1, w2), next(w0, w1)])
}

/// SHA256MSG2.
pub fn sha256_schedule_2(first: u128, second: u128) -> u128 {
    let [x3, x2, x1, x0] = words(first);
    let [w15, w14, ..] = words(second);
    let w16 = x0.wrapping_add(small_sigma_1(w14));
    let w17 = x1.wrapping_add(small_sigma_1(w15));
    let w18 = x2.wrapping_add(small_sigma_1(w16));
    from_words([x3.wrapping_add(small_sigma_1(w17)), w18, w17, w16])
}
