//! A small generator that a seed reproduces.

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// An integer that is often at an edge of a width.
    pub fn integer(&mut self) -> u64 {
        const EDGES: [u64; 16] = [
            0,
            1,
            u64::MAX,
            0x7f,
            0x80,
            0xff,
            0x7fff,
            0x8000,
            0xffff,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_ffff,
            0x7fff_ffff_ffff_ffff,
            0x8000_0000_0000_0000,
            0xffff_ffff_8000_0000,
            0x0102_0304_0506_0708,
        ];
        match self.below(4) {
            0 => self.pick(&EDGES),
            1 => self.pick(&EDGES).wrapping_add(self.below(5)).wrapping_sub(2),
            2 => self.next() >> self.below(64),
            _ => self.next(),
        }
    }

    /// A single-precision number, often special.
    pub fn single(&mut self) -> u32 {
        const EDGES: [u32; 14] = [
            0,
            0x8000_0000,
            0x3f80_0000,
            0xbf80_0000,
            0x7f80_0000,
            0xff80_0000,
            0x7fc0_0001,
            0xffc0_0002,
            0x7f80_0001,
            0xff80_1234,
            1,
            0x807f_ffff,
            0x7f7f_ffff,
            0x0080_0000,
        ];
        match self.below(4) {
            0 => self.pick(&EDGES),
            1 => self.next() as u32,
            2 => (self.below(2001) as f32 - 1000.0).to_bits(),
            _ => 0x3f00_0000 + (self.next() as u32 & 0x1ff_ffff) | (self.next() as u32 & 0x8000_0000),
        }
    }

    /// A double-precision number, often special.
    pub fn double(&mut self) -> u64 {
        const EDGES: [u64; 14] = [
            0,
            1 << 63,
            0x3ff0_0000_0000_0000,
            0xbff0_0000_0000_0000,
            0x7ff0_0000_0000_0000,
            0xfff0_0000_0000_0000,
            0x7ff8_0000_0000_0001,
            0xfff8_0000_0000_0002,
            0x7ff0_0000_0000_0001,
            0xfff0_0000_0000_1234,
            1,
            0x800f_ffff_ffff_ffff,
            0x7fef_ffff_ffff_ffff,
            0x0010_0000_0000_0000,
        ];
        match self.below(4) {
            0 => self.pick(&EDGES),
            1 => self.next(),
            2 => (self.below(2_000_001) as f64 / 8.0 - 125_000.0).to_bits(),
            _ => 0x3fe0_0000_0000_0000 + (self.next() & 0x3f_ffff_ffff_ffff) | self.next() & 1 << 63,
        }
    }

    /// Content of an XMM register: integers, singles or doubles.
    pub fn vector(&mut self) -> u128 {
        let (low, high) = match self.below(3) {
            0 => (self.integer(), self.integer()),
            1 => (self.double(), self.double()),
            _ => {
                let mut pair = || u64::from(self.single()) | u64::from(self.single()) << 32;
                (pair(), pair())
            }
        };
        u128::from(low) | u128::from(high) << 64
    }
}
