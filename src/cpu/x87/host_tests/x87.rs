//! x87 instructions.

use crate::cpu::{DescriptorTable, Stop};
use crate::ir::Reg;
use crate::mem::GuestPhysAddr;

use super::{Case, Machines, Random, assert_no_difference, describe, differences, without_pointers};

/// All forms that work on registers, but the transcendental ones.
fn register_forms() -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    let mut add = |first: u8, range: std::ops::RangeInclusive<u8>| {
        forms.extend(range.map(|second| vec![first, second]));
    };
    add(0xd8, 0xc0..=0xff);
    for range in [0xc0..=0xd0, 0xe0..=0xe1, 0xe4..=0xe5, 0xe8..=0xee, 0xf4..=0xf8, 0xfa..=0xfa] {
        add(0xd9, range);
    }
    add(0xd9, 0xfc..=0xfd);
    add(0xda, 0xc0..=0xdf);
    add(0xda, 0xe9..=0xe9);
    add(0xdb, 0xc0..=0xdf);
    add(0xdb, 0xe2..=0xe3);
    add(0xdb, 0xe8..=0xf7);
    add(0xdc, 0xc0..=0xff);
    add(0xdd, 0xc0..=0xc7);
    add(0xdd, 0xd0..=0xef);
    add(0xde, 0xc0..=0xcf);
    add(0xde, 0xd9..=0xd9);
    add(0xde, 0xe0..=0xff);
    add(0xdf, 0xc0..=0xc7);
    add(0xdf, 0xe0..=0xe0);
    add(0xdf, 0xe8..=0xf7);
    forms
}

/// All forms with a memory operand at [edi] of up to 10 bytes.
fn memory_forms() -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    let mut add = |first: u8, extensions: &[u8]| {
        forms.extend(extensions.iter().map(|extension| vec![first, extension << 3 | 7]));
    };
    let all = [0, 1, 2, 3, 4, 5, 6, 7];
    add(0xd8, &all);
    add(0xd9, &[0, 2, 3, 5, 7]);
    add(0xda, &all);
    add(0xdb, &[0, 1, 2, 3, 5, 7]);
    add(0xdc, &all);
    add(0xdd, &[0, 1, 2, 3, 7]);
    add(0xde, &all);
    add(0xdf, &all);
    forms
}

#[test]
fn register_forms_give_what_the_host_gives() {
    assert_no_difference(&differences(&register_forms(), 400, 0x9abc_def1));
}

#[test]
fn memory_forms_give_what_the_host_gives() {
    assert_no_difference(&differences(&memory_forms(), 2000, 0x0fed_cba9_8765_4321));
}

/// Instructions whose results may be one unit in the last place away.
fn transcendental_forms() -> Vec<Vec<u8>> {
    [0xf0, 0xf1, 0xf2, 0xf3, 0xf9, 0xfb, 0xfe, 0xff].map(|second| vec![0xd9, second]).into()
}

/// Whether two 80-bit values are at most one unit in the last place apart.
fn is_near(a: &[u8], b: &[u8]) -> bool {
    let number = |slot: &[u8]| {
        let mantissa = u128::from(u64::from_le_bytes(slot[..8].try_into().unwrap()) & (u64::MAX >> 1));
        let sign_exponent = u128::from(u16::from_le_bytes([slot[8], slot[9]]));
        sign_exponent << 63 | mantissa
    };
    a == b || number(a).abs_diff(number(b)) <= 1
}

fn is_near_case(host: &Case, guest: &Case) -> bool {
    // C1 tells the direction of rounding; OE and UE may differ at the ends of the range.
    let status = |case: &Case| u16::from_le_bytes([case.image[4], case.image[5]]) & !0x218;
    let empty = |case: &Case| {
        let tags = u16::from_le_bytes([case.image[8], case.image[9]]);
        tags & tags >> 1 & 0x5555
    };
    let slots = |case: &Case| case.image[28..].chunks(10).map(<[u8]>::to_vec).collect::<Vec<_>>();
    status(host) == status(guest)
        && empty(host) == empty(guest)
        && slots(host).iter().zip(slots(guest)).all(|(a, b)| is_near(a, &b))
}

#[test]
fn transcendental_results_are_within_a_unit_of_the_hosts() {
    let forms = transcendental_forms();
    let mut machines = Machines::new(&forms);
    let mut random = Random(0xfeed_beef_1234);
    let mut found = Vec::new();
    for (number, form) in forms.iter().enumerate() {
        let (mut of_form, mut total) = (0, 0);
        for _ in 0..4000 {
            let mut start = random.case();
            // At the ends of the range a unit decides whether the exponent is adjusted: mask OE and UE.
            start.image[0] |= 0x18;
            let (mut host, mut guest) = (start, start);
            machines.run_on_host(number, &mut host);
            machines.run_in_guest(number, &mut guest);
            total += 1;
            if !is_near_case(&without_pointers(host), &without_pointers(guest)) {
                of_form += 1;
                if of_form <= 8 {
                    found.push(format!(
                        "{form:02x?}\n from {}\n host {}\n got  {}",
                        describe(&start),
                        describe(&host),
                        describe(&guest)
                    ));
                }
            }
        }
        if of_form > 0 {
            found.push(format!("{form:02x?}: {of_form} of {total} differ"));
        }
    }
    assert_no_difference(&found);
}

#[test]
fn environments_are_stored_and_loaded_as_on_the_host() {
    const STORE: usize = 0;
    let forms = [vec![0xd9, 0x37], vec![0xd9, 0x27]];
    let mut machines = Machines::new(&forms);
    let mut random = Random(0x5eed_0006);
    for number in 0..forms.len() {
        for _ in 0..2000 {
            let mut start = random.case();
            for chunk in start.operand.chunks_mut(8) {
                chunk.copy_from_slice(&random.next().to_le_bytes());
            }
            let (mut host, mut guest) = (start, start);
            machines.run_on_host(number, &mut host);
            machines.run_in_guest(number, &mut guest);
            if number == STORE {
                // The pointers tell where the code stands.
                host.operand[12..26].fill(0);
                guest.operand[12..26].fill(0);
            }
            let (host, guest) = (without_pointers(host), without_pointers(guest));
            assert!(host == guest, "host {}\n got {}", describe(&host), describe(&guest));
        }
    }
}

/// Runs `code` until it halts or reaches the handler of the exception `vector`; whether it did the latter.
fn raises(code: &[u8], vector: u8, cr0: u64) -> bool {
    const CODE: u64 = 0x1_0000;
    const HANDLER: u64 = 0x9000;
    let mut machines = Machines::new(&[]);
    let guest = &mut machines.guest;
    guest.memory.write(GuestPhysAddr(CODE), &[code, &[0xf4]].concat()).unwrap();
    guest.memory.write(GuestPhysAddr(HANDLER), &[0xf4]).unwrap();
    // A GDT with a flat code segment at 8, and one interrupt gate.
    guest.memory.write(GuestPhysAddr(0xa008), &0x00cf_9b00_0000_ffff_u64.to_le_bytes()).unwrap();
    guest.memory.write(GuestPhysAddr(0xa010), &0x00cf_9300_0000_ffff_u64.to_le_bytes()).unwrap();
    guest.gdtr = DescriptorTable { base: 0xa000, limit: 0x17 };
    guest.idtr = DescriptorTable { base: 0xb000, limit: 0x7ff };
    let gate = 0x8e00_u64 << 32 | 8 << 16 | HANDLER;
    let at = GuestPhysAddr(0xb000 + 8 * u64::from(vector));
    guest.memory.write(at, &gate.to_le_bytes()).unwrap();
    guest.cr0 = cr0;
    guest.set_reg(Reg::RSP, 0x8000);
    guest.set_reg(Reg::RIP, CODE);
    assert_eq!(guest.run(1000), Stop::Halted);
    guest.reg(Reg::RIP) == HANDLER + 1
}

#[test]
fn a_pending_exception_is_raised_by_the_next_waiting_instruction_only() {
    const PE: u64 = 1;
    const NE: u64 = 1 << 5;
    const MF: u8 = 16;
    // FNINIT; push a control word without masks, FLDCW [esp]; FLDZ; FLD1; FDIVRP: a division by zero.
    let divide = [0xdb, 0xe3, 0x68, 0x40, 0x03, 0, 0, 0xd9, 0x2c, 0x24, 0xd9, 0xee, 0xd9, 0xe8, 0xde, 0xf1];
    let then = |next: &[u8]| [&divide, next].concat();
    assert!(!raises(&then(&[]), MF, PE | NE));
    assert!(raises(&then(&[0x9b]), MF, PE | NE));
    assert!(raises(&then(&[0xd9, 0xe8]), MF, PE | NE));
    assert!(raises(&then(&[0x0f, 0x77]), MF, PE | NE));
    assert!(!raises(&then(&[0xdf, 0xe0]), MF, PE | NE));
    assert!(!raises(&then(&[0xdb, 0xe2, 0x9b]), MF, PE | NE));
    assert!(!raises(&then(&[0xd9, 0xe8]), MF, PE));
}

#[test]
fn a_task_switch_flag_makes_the_unit_unavailable() {
    const PE: u64 = 1;
    const MP: u64 = 1 << 1;
    const EM: u64 = 1 << 2;
    const TS: u64 = 1 << 3;
    const NM: u8 = 7;
    assert!(raises(&[0xd9, 0xe8], NM, PE | TS));
    assert!(raises(&[0xd9, 0xe8], NM, PE | EM));
    assert!(raises(&[0x0f, 0x6f, 0xc1], NM, PE | TS));
    assert!(raises(&[0x9b], NM, PE | TS | MP));
    assert!(!raises(&[0x9b], NM, PE | TS));
    assert!(!raises(&[0x9b], NM, PE | MP));
}
