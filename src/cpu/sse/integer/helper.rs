//! What is neither lanes nor moves: CRC32 and the masked store.

use crate::cpu::{Exception, Helper, HelperId, Vcpu};
use crate::ir::{Op, Reg, Width};

use super::{halves, shuffle};

/// The helpers by place.
pub static HELPERS: &[Helper] = &[crc32, store_masked];

/// `a = ` CRC32C of the low `d` bytes of integer register `c`, going on from that in `b`.
pub const CRC32: HelperId = HelperId::sse(0);
/// Stores the bytes of vector register `b` whose highest bit in vector register `c` is set to the linear
/// address in integer register `a`.
pub const STORE_MASKED: HelperId = HelperId::sse(1);

/// The polynomial 0x11EDC6F41 with its bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

static TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut remainder = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            remainder = remainder >> 1 ^ if remainder & 1 != 0 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        table[byte] = remainder;
        byte += 1;
    }
    table
};

/// The remainder after further bytes.
pub(super) fn accumulated(remainder: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(remainder, |sum, byte| sum >> 8 ^ TABLE[usize::from(sum as u8 ^ byte)])
}

fn crc32(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let bytes = vcpu.reg(Reg(op.c)).to_le_bytes();
    let width = Width::from_bytes(op.d.into()).unwrap_or(Width::W64);
    let sum = accumulated(vcpu.reg(Reg(op.b)) as u32, &bytes[..width.bytes().into()]);
    vcpu.set_reg(Reg(op.a), sum.into());
    Ok(())
}

fn store_masked(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let address = vcpu.reg(Reg(op.a));
    let bytes = shuffle::wide(halves(vcpu, op.b)).to_le_bytes();
    let mask = shuffle::wide(halves(vcpu, op.c)).to_le_bytes();
    let chosen = || (0u64..).zip(bytes).zip(mask).filter(|(_, mask)| mask & 0x80 != 0).map(|(byte, _)| byte);
    for (place, _) in chosen() {
        vcpu.check_write(address.wrapping_add(place), 1)?;
    }
    for (place, byte) in chosen() {
        vcpu.write_u8(address.wrapping_add(place), byte)?;
    }
    Ok(())
}
