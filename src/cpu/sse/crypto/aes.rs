//! The rounds of AES (FIPS 197). A state is 16 bytes, column by column, lowest first.

/// Twice `x` in GF(2^8).
const fn doubled(x: u8) -> u8 {
    x << 1 ^ if x & 0x80 != 0 { 0x1b } else { 0 }
}

/// `x * y` in GF(2^8).
const fn product(x: u8, y: u8) -> u8 {
    let (mut sum, mut x, mut y) = (0, x, y);
    while y != 0 {
        if y & 1 != 0 {
            sum ^= x;
        }
        x = doubled(x);
        y >>= 1;
    }
    sum
}

/// The substitution: the inverse in GF(2^8), then an affine map (FIPS 197 5.1.1).
static SUBSTITUTION: [u8; 256] = {
    let mut table = [0; 256];
    // 3 generates the field: x runs through its powers, y through their inverses, powers of 1/3 = 0xf6.
    let (mut x, mut y) = (1u8, 1u8);
    loop {
        table[x as usize] =
            y ^ y.rotate_left(1) ^ y.rotate_left(2) ^ y.rotate_left(3) ^ y.rotate_left(4) ^ 0x63;
        x ^= doubled(x);
        y = product(y, 0xf6);
        if x == 1 {
            break;
        }
    }
    table[0] = 0x63;
    table
};

static INVERSE_SUBSTITUTION: [u8; 256] = {
    let mut table = [0; 256];
    let mut x = 0;
    while x < 256 {
        table[SUBSTITUTION[x] as usize] = x as u8;
        x += 1;
    }
    table
};

/// A column of which the first byte is `x` and the others zero, multiplied by the matrix whose first column
/// is given.
const fn mixed_byte(x: u8, [a, b, c, d]: [u8; 4]) -> u32 {
    u32::from_le_bytes([product(x, a), product(x, b), product(x, c), product(x, d)])
}

const FORWARD: [u8; 4] = [2, 1, 1, 3];
const INVERSE: [u8; 4] = [14, 9, 13, 11];

/// Substitution and mixing of the first byte of a column.
static ENCRYPTION: [u32; 256] = {
    let mut table = [0; 256];
    let mut x = 0;
    while x < 256 {
        table[x] = mixed_byte(SUBSTITUTION[x], FORWARD);
        x += 1;
    }
    table
};

static DECRYPTION: [u32; 256] = {
    let mut table = [0; 256];
    let mut x = 0;
    while x < 256 {
        table[x] = mixed_byte(INVERSE_SUBSTITUTION[x], INVERSE);
        x += 1;
    }
    table
};

/// The byte in a row and column; columns wrap.
fn at(state: &[u8; 16], row: usize, column: usize) -> usize {
    usize::from(state[row + 4 * (column & 3)])
}

/// Columns from the table's, those of the lower rows rotated; `step` is how far a row is shifted.
fn round(state: u128, table: &[u32; 256], step: usize) -> u128 {
    let state = state.to_le_bytes();
    (0..4).fold(0, |sum, column| {
        let mixed = (0..4).fold(0, |mixed, row| {
            mixed ^ table[at(&state, row, column + step * row)].rotate_left(8 * row as u32)
        });
        sum | u128::from(mixed) << (32 * column)
    })
}

/// As [`round`], without mixing.
fn last_round(state: u128, table: &[u8; 256], step: usize) -> u128 {
    let state = state.to_le_bytes();
    let result = std::array::from_fn(|place| table[at(&state, place & 3, place / 4 + step * (place & 3))]);
    u128::from_le_bytes(result)
}

/// AESENC before the key is added.
pub fn encrypted(state: u128) -> u128 {
    round(state, &ENCRYPTION, 1)
}

/// AESENCLAST before the key is added.
pub fn encrypted_last(state: u128) -> u128 {
    last_round(state, &SUBSTITUTION, 1)
}

/// AESDEC before the key is added. Rows are shifted back: by three columns on.
pub fn decrypted(state: u128) -> u128 {
    round(state, &DECRYPTION, 3)
}

/// AESDECLAST before the key is added.
pub fn decrypted_last(state: u128) -> u128 {
    last_round(state, &INVERSE_SUBSTITUTION, 3)
}

/// AESIMC.
pub fn inverse_mixed_columns(state: u128) -> u128 {
    let state = state.to_le_bytes();
    (0..4).fold(0, |sum, column| {
        let mixed = (0..4).fold(0, |mixed, row| {
            mixed ^ mixed_byte(state[row + 4 * column], INVERSE).rotate_left(8 * row as u32)
        });
        sum | u128::from(mixed) << (32 * column)
    })
}

/// AESKEYGENASSIST.
pub fn key_assist(key: u128, round_constant: u8) -> u128 {
    let substituted = |place: u32| {
        let word = (key >> (32 * place)) as u32;
        u32::from_le_bytes(word.to_le_bytes().map(|byte| SUBSTITUTION[usize::from(byte)]))
    };
    let (low, high) = (substituted(1), substituted(3));
    let rotated = |word: u32| word.rotate_right(8) ^ u32::from(round_constant);
    let words = [low, rotated(low), high, rotated(high)];
    words.iter().rev().fold(0, |sum, &word| sum << 32 | u128::from(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cipher_agrees_with_the_standards_example() {
        // FIPS 197 appendix B: the first round, and the key schedule's first word.
        let state = |bytes: [u8; 16]| u128::from_le_bytes(bytes);
        let start = state([
            0x19, 0x3d, 0xe3, 0xbe, 0xa0, 0xf4, 0xe2, 0x2b, 0x9a, 0xc6, 0x8d, 0x2a, 0xe9, 0xf8, 0x48, 0x08,
        ]);
        let mixed = state([
            0x04, 0x66, 0x81, 0xe5, 0xe0, 0xcb, 0x19, 0x9a, 0x48, 0xf8, 0xd3, 0x7a, 0x28, 0x06, 0x26, 0x4c,
        ]);
        assert_eq!(encrypted(start), mixed);
        assert_eq!(decrypted_last(encrypted_last(start)), start);
        let key = u128::from(0x3c4f_cf09_u32) << 96;
        assert_eq!((key_assist(key, 1) >> 96) as u32, 0x01eb_848b);
    }

    #[test]
    fn decryption_undoes_encryption() {
        let state = 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100;
        let unmixed = inverse_mixed_columns(encrypted(state));
        assert_eq!(decrypted_last(unmixed), state);
    }
}
