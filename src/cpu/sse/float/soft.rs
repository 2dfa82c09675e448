//! Exact binary floating point by integers: every rounding mode, DAZ, FTZ, and the exception flags
//! (SDM vol. 1 11.5). Values travel as their bits in the low part of a `u64`.

/// MXCSR: invalid operation.
pub const INVALID: u32 = 1 << 0;
/// MXCSR: denormal operand.
pub const DENORMAL: u32 = 1 << 1;
/// MXCSR: division by zero.
pub const DIVIDE_BY_ZERO: u32 = 1 << 2;
/// MXCSR: overflow.
pub const OVERFLOW: u32 = 1 << 3;
/// MXCSR: underflow.
pub const UNDERFLOW: u32 = 1 << 4;
/// MXCSR: inexact result.
pub const INEXACT: u32 = 1 << 5;
const DENORMALS_ARE_ZERO: u32 = 1 << 6;
const FLUSH_TO_ZERO: u32 = 1 << 15;

/// MXCSR.RC (SDM vol. 1 table 4-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// To nearest, ties to even.
    Nearest,
    /// Toward negative infinity.
    Down,
    /// Toward positive infinity.
    Up,
    /// Toward zero.
    Zero,
}

impl Rounding {
    /// The mode with the low two bits of `code` as its encoding.
    pub const fn from_code(code: u32) -> Self {
        match code & 3 {
            0 => Self::Nearest,
            1 => Self::Down,
            2 => Self::Up,
            _ => Self::Zero,
        }
    }
}

/// A binary interchange format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Bits of the fraction, without the implied one.
    pub fraction: u32,
    /// Bits of the exponent.
    pub exponent: u32,
}

/// Single precision.
pub const SINGLE: Format = Format { fraction: 23, exponent: 8 };
/// Double precision.
pub const DOUBLE: Format = Format { fraction: 52, exponent: 11 };

impl Format {
    /// Bits of a number.
    pub const fn bits(self) -> u32 {
        self.sign_shift() + 1
    }
    /// All bits of a number set.
    pub const fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits())
    }
    const fn sign_shift(self) -> u32 {
        self.fraction + self.exponent
    }
    pub(super) const fn sign(self, bits: u64) -> bool {
        bits >> self.sign_shift() & 1 != 0
    }
    const fn signed(self, sign: bool, magnitude: u64) -> u64 {
        (sign as u64) << self.sign_shift() | magnitude
    }
    const fn infinity(self) -> u64 {
        ((1 << self.exponent) - 1) << self.fraction
    }
    const fn quiet_bit(self) -> u64 {
        1 << (self.fraction - 1)
    }
    pub(super) const fn magnitude(self, bits: u64) -> u64 {
        bits & ((1 << self.sign_shift()) - 1)
    }
    const fn bias(self) -> i32 {
        (1 << (self.exponent - 1)) - 1
    }
    /// The quiet NaN that stands for an invalid operation's result.
    pub const fn indefinite(self) -> u64 {
        self.signed(true, self.infinity() | self.quiet_bit())
    }
    /// Whether `bits` is a NaN.
    pub const fn is_nan(self, bits: u64) -> bool {
        self.magnitude(bits) > self.infinity()
    }
    pub(super) const fn is_signalling(self, bits: u64) -> bool {
        self.is_nan(bits) && bits & self.quiet_bit() == 0
    }
    const fn is_infinite(self, bits: u64) -> bool {
        self.magnitude(bits) == self.infinity()
    }
    const fn is_zero(self, bits: u64) -> bool {
        self.magnitude(bits) == 0
    }
    const fn is_denormal(self, bits: u64) -> bool {
        self.magnitude(bits) != 0 && self.magnitude(bits) >> self.fraction == 0
    }
    /// Significand and exponent of a finite number: its magnitude is `significand << exponent`.
    const fn parts(self, bits: u64) -> (u64, i32) {
        let field = (self.magnitude(bits) >> self.fraction) as i32;
        let fraction = bits & ((1 << self.fraction) - 1);
        let low = 1 - self.bias() - self.fraction as i32;
        if field == 0 { (fraction, low) } else { (fraction | 1 << self.fraction, low + field - 1) }
    }
}

/// MXCSR as it controls one instruction, and the flags the instruction has raised.
#[derive(Clone, Copy, Debug)]
pub struct Environment {
    control: u32,
    /// Rounding mode of the results.
    pub rounding: Rounding,
    /// Flags raised, at their places in MXCSR.
    pub flags: u32,
}

impl Environment {
    /// The environment that MXCSR describes.
    pub const fn new(mxcsr: u32) -> Self {
        Self { control: mxcsr, rounding: Rounding::from_code(mxcsr >> 13), flags: 0 }
    }

    /// An operand under DAZ.
    pub(super) fn operand(&self, format: Format, bits: u64) -> u64 {
        if self.control & DENORMALS_ARE_ZERO != 0 && format.is_denormal(bits) {
            format.signed(format.sign(bits), 0)
        } else {
            bits
        }
    }

    fn invalid(&mut self, format: Format) -> u64 {
        self.flags |= INVALID;
        format.indefinite()
    }

    pub(super) fn note_denormal(&mut self, format: Format, operands: &[u64]) {
        if operands.iter().any(|&bits| format.is_denormal(bits)) {
            self.flags |= DENORMAL;
        }
    }

    /// The NaN that an operation on `a` and `b` gives if one of them is one.
    fn nan(&mut self, format: Format, a: u64, b: u64) -> Option<u64> {
        if format.is_signalling(a) || format.is_signalling(b) {
            self.flags |= INVALID;
        }
        if format.is_nan(a) {
            Some(a | format.quiet_bit())
        } else if format.is_nan(b) {
            Some(b | format.quiet_bit())
        } else {
            None
        }
    }

    fn rounds_up(&self, sign: bool, odd: bool, rest: u128, half: u128) -> bool {
        match self.rounding {
            Rounding::Nearest => rest > half || rest == half && odd,
            Rounding::Down => sign && rest != 0,
            Rounding::Up => !sign && rest != 0,
            Rounding::Zero => false,
        }
    }

    /// `significand >> shift`, rounded; and whether that lost something.
    fn shifted(&self, sign: bool, significand: u128, shift: i32) -> (u128, bool) {
        match shift {
            ..=0 => (significand << -shift, false),
            1..=126 => {
                let quotient = significand >> shift;
                let rest = significand & ((1 << shift) - 1);
                let up = self.rounds_up(sign, quotient & 1 != 0, rest, 1 << (shift - 1));
                (quotient + u128::from(up), rest != 0)
            }
            _ => {
                let up = self.rounds_up(sign, false, u128::from(significand != 0), 2);
                (u128::from(up), significand != 0)
            }
        }
    }

    /// Rounds `significand << exponent`, not zero and below 2^126 before the shift, to the format. Bit 0
    /// may stand for what lies below it if the significand has at least three bits more than the format.
    fn rounded(&mut self, format: Format, sign: bool, exponent: i32, significand: u128) -> u64 {
        let fraction = format.fraction as i32;
        let top = exponent + 127 - significand.leading_zeros() as i32;
        let lowest = 1 - format.bias();
        let unbounded = self.shifted(sign, significand, top - fraction - exponent).0;
        let is_tiny = top < lowest && !(top == lowest - 1 && unbounded >> (fraction + 1) != 0);
        let is_underflow_masked = self.control & UNDERFLOW << 7 != 0;
        if is_tiny && is_underflow_masked && self.control & FLUSH_TO_ZERO != 0 {
            self.flags |= UNDERFLOW | INEXACT;
            return format.signed(sign, 0);
        }
        let quantum = top.max(lowest) - fraction;
        let (rounded, is_inexact) = self.shifted(sign, significand, quantum - exponent);
        if is_inexact {
            self.flags |= INEXACT;
        }
        if is_tiny && (is_inexact || !is_underflow_masked) {
            self.flags |= UNDERFLOW;
        }
        // A carry out of the fraction runs into the exponent, which is what it should do.
        let field = (top.max(lowest) + format.bias() - 1) as u64;
        if field >= (1 << format.exponent) || (field << format.fraction) + rounded as u64 >= format.infinity()
        {
            self.flags |= OVERFLOW | INEXACT;
            let to_infinity = match self.rounding {
                Rounding::Nearest => true,
                Rounding::Down => sign,
                Rounding::Up => !sign,
                Rounding::Zero => false,
            };
            return format.signed(sign, format.infinity() - u64::from(!to_infinity));
        }
        format.signed(sign, (field << format.fraction) + rounded as u64)
    }

    /// `a + b`.
    pub fn add(&mut self, format: Format, a: u64, b: u64) -> u64 {
        let (a, b) = (self.operand(format, a), self.operand(format, b));
        if let Some(nan) = self.nan(format, a, b) {
            return nan;
        }
        let (sign_a, sign_b) = (format.sign(a), format.sign(b));
        if format.is_infinite(a) && format.is_infinite(b) && sign_a != sign_b {
            return self.invalid(format);
        }
        self.note_denormal(format, &[a, b]);
        if format.is_infinite(a) {
            return a;
        }
        if format.is_infinite(b) {
            return b;
        }
        let ((mut large, mut exponent), (mut small, mut low)) = (format.parts(a), format.parts(b));
        let (mut sign, mut other) = (sign_a, sign_b);
        if format.magnitude(b) > format.magnitude(a) {
            (large, exponent, small, low, sign, other) = (small, low, large, exponent, sign_b, sign_a);
        }
        // 60 bits below the larger one; what is lower only matters as not being zero.
        let distance = (exponent - low) as u32;
        let wide = u128::from(small) << 60;
        let aligned = if distance > 120 {
            u128::from(small != 0)
        } else {
            wide >> distance | u128::from(wide & ((1 << distance) - 1) != 0)
        };
        let large = u128::from(large) << 60;
        let sum = if sign == other { large + aligned } else { large - aligned };
        if sum == 0 {
            let negative = if sign_a == sign_b { sign_a } else { self.rounding == Rounding::Down };
            return format.signed(negative, 0);
        }
        self.rounded(format, sign, exponent - 60, sum)
    }

    /// `a - b`.
    pub fn subtract(&mut self, format: Format, a: u64, b: u64) -> u64 {
        let negated = if format.is_nan(b) { b } else { b ^ 1 << format.sign_shift() };
        self.add(format, a, negated)
    }

    /// `a * b`.
    pub fn multiply(&mut self, format: Format, a: u64, b: u64) -> u64 {
        let (a, b) = (self.operand(format, a), self.operand(format, b));
        if let Some(nan) = self.nan(format, a, b) {
            return nan;
        }
        let sign = format.sign(a) != format.sign(b);
        let is_infinite = format.is_infinite(a) || format.is_infinite(b);
        let is_zero = format.is_zero(a) || format.is_zero(b);
        if is_infinite && is_zero {
            return self.invalid(format);
        }
        self.note_denormal(format, &[a, b]);
        if is_infinite || is_zero {
            return format.signed(sign, if is_zero { 0 } else { format.infinity() });
        }
        let ((x, i), (y, j)) = (format.parts(a), format.parts(b));
        self.rounded(format, sign, i + j, u128::from(x) * u128::from(y))
    }

    /// `a / b`.
    pub fn divide(&mut self, format: Format, a: u64, b: u64) -> u64 {
        let (a, b) = (self.operand(format, a), self.operand(format, b));
        if let Some(nan) = self.nan(format, a, b) {
            return nan;
        }
        let sign = format.sign(a) != format.sign(b);
        let both = |test: fn(Format, u64) -> bool| test(format, a) && test(format, b);
        if both(Format::is_infinite) || both(Format::is_zero) {
            return self.invalid(format);
        }
        if format.is_zero(b) && !format.is_infinite(a) {
            self.flags |= DIVIDE_BY_ZERO;
            return format.signed(sign, format.infinity());
        }
        self.note_denormal(format, &[a, b]);
        if format.is_infinite(a) {
            return format.signed(sign, format.infinity());
        }
        if format.is_infinite(b) || format.is_zero(a) {
            return format.signed(sign, 0);
        }
        let ((x, i), (y, j)) = (format.parts(a), format.parts(b));
        let shift = x.leading_zeros() + 60;
        let dividend = u128::from(x) << shift;
        let quotient = dividend / u128::from(y);
        let sticky = u128::from(dividend % u128::from(y) != 0);
        self.rounded(format, sign, i - j - shift as i32 - 1, quotient << 1 | sticky)
    }

    /// The square root of `a`.
    pub fn square_root(&mut self, format: Format, a: u64) -> u64 {
        let a = self.operand(format, a);
        if let Some(nan) = self.nan(format, a, a) {
            return nan;
        }
        if format.is_zero(a) {
            return a;
        }
        if format.sign(a) {
            return self.invalid(format);
        }
        self.note_denormal(format, &[a]);
        if format.is_infinite(a) {
            return a;
        }
        let (significand, exponent) = format.parts(a);
        let mut shift = significand.leading_zeros() as i32 + 58;
        if (exponent - shift) % 2 != 0 {
            shift += 1;
        }
        let wide = u128::from(significand) << shift;
        let root = wide.isqrt();
        let sticky = u128::from(root * root != wide);
        self.rounded(format, false, (exponent - shift) / 2 - 1, root << 1 | sticky)
    }
}
