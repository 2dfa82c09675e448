//! Runs sequences on our processor: long mode, paging, privilege 3, exceptions through a real IDT.

use crate::generate::Case;
use crate::jit_host::WasmtimeHost;
use crate::state::{CODE, Fault, Outcome, Registers, SCRATCH, SCRATCH_BYTES};
use dinghy::cpu::{Activity, DescriptorTable, Segment, SegmentIndex, Stop, SystemBus, Vcpu};
use dinghy::ir::Reg;
use dinghy::jit::{Engine, EngineOptions};
use dinghy::mem::{Addressable, GuestMemory, GuestPhysAddr};

/// Nothing is outside RAM.
struct NoDevices;

impl SystemBus for NoDevices {
    fn mmio_read(&mut self, _: GuestPhysAddr, data: &mut [u8]) {
        data.fill(0xff);
    }
    fn mmio_write(&mut self, _: GuestPhysAddr, _: &[u8]) {}
    fn port_read(&mut self, _: u16, _: u8) -> u32 {
        u32::MAX
    }
    fn port_write(&mut self, _: u16, _: u8, _: u32) {}
    fn apic_read_msr(&mut self, _: u32) -> Option<u64> {
        None
    }
    fn apic_write_msr(&mut self, _: u32, _: u64) -> Option<()> {
        None
    }
    fn task_priority(&mut self) -> u8 {
        0
    }
    fn set_task_priority(&mut self, _: u8) {}
    fn is_interrupt_pending(&mut self) -> bool {
        false
    }
    fn acknowledge_interrupt(&mut self) -> Option<u8> {
        None
    }
    fn now_ns(&mut self, instructions: u64) -> u64 {
        instructions
    }
    fn started_at_unix_ns(&self) -> u64 {
        0
    }
    fn random_u64(&mut self) -> u64 {
        4
    }
}

const PML4: u64 = 0x1000;
const PDPT: u64 = 0x2000;
const DIRECTORY: u64 = 0x3000;
const CODE_TABLE: u64 = 0x4000;
const SCRATCH_TABLE: u64 = 0x5000;
const SYSTEM_TABLE: u64 = 0x6000;
const GDT: u64 = 0x7000;
const IDT: u64 = 0x8000;
const TSS: u64 = 0x9000;
const HANDLERS: u64 = 0xa000;
const STACK_TOP: u64 = 0xc000;
const CODE_FRAME: u64 = 0x10000;
const SCRATCH_FRAME: u64 = 0x20000;

const KERNEL_CODE: u16 = 0x08;
const USER_NARROW_CODE: u16 = 0x10;
const USER_DATA: u16 = 0x18;
const USER_CODE: u16 = 0x20;

/// `HLT`.
const END: u8 = 0xf4;

/// Our processor.
pub struct Processor {
    vcpu: Addressable<Vcpu>,
    /// The code that memory holds: what is run again is not translated again.
    code: Vec<u8>,
}

impl Processor {
    /// Runs everything as code that is compiled so, or interprets.
    pub fn new(compiled: Option<EngineOptions>) -> Self {
        let memory = GuestMemory::new(1 << 20).unwrap();
        let put = |address: u64, value: u64| {
            memory.write(GuestPhysAddr(address), &value.to_le_bytes()).unwrap();
        };
        const USER: u64 = 7;
        const SYSTEM: u64 = 3;
        put(PML4, PDPT | USER);
        put(PDPT, DIRECTORY | USER);
        put(DIRECTORY, SYSTEM_TABLE | SYSTEM);
        put(DIRECTORY + (CODE >> 21) * 8, CODE_TABLE | USER);
        put(DIRECTORY + (SCRATCH >> 21) * 8, SCRATCH_TABLE | USER);
        put(CODE_TABLE, CODE_FRAME | USER);
        put(SCRATCH_TABLE, SCRATCH_FRAME | USER);
        put(SCRATCH_TABLE + 8, SCRATCH_FRAME + 4096 | USER);
        for page in 0..16 {
            put(SYSTEM_TABLE + page * 8, page << 12 | SYSTEM);
        }
        put(GDT + u64::from(KERNEL_CODE), 0x00af_9b00_0000_ffff);
        put(GDT + u64::from(USER_NARROW_CODE), 0x00cf_fb00_0000_ffff);
        put(GDT + u64::from(USER_DATA), 0x00cf_f300_0000_ffff);
        put(GDT + u64::from(USER_CODE), 0x00af_fb00_0000_ffff);
        put(TSS + 4, STACK_TOP);
        // Behind its end: no ports for programs.
        memory.write(GuestPhysAddr(TSS + 0x66), &0x68_u16.to_le_bytes()).unwrap();
        for vector in 0..32 {
            let handler = HANDLERS + vector * 16;
            // Programs may raise #BP and #OF themselves.
            let interrupt_gate = if matches!(vector, 3 | 4) { 0xee00 } else { 0x8e00 } << 32;
            put(IDT + vector * 16, handler | u64::from(KERNEL_CODE) << 16 | interrupt_gate);
            memory.write(GuestPhysAddr(handler), &[END]).unwrap();
        }
        let vcpu = Vcpu::new(memory.clone(), Box::new(NoDevices), 0);
        let mut vcpu = memory.place(vcpu);
        if let Some(options) = compiled {
            let host = Box::new(WasmtimeHost::new(&memory));
            let engine = Engine::new(host, options).unwrap();
            let threshold = engine.threshold();
            vcpu.set_compiled_code(Box::new(engine), threshold);
        }
        vcpu.cr0 = 0x8000_0033;
        vcpu.cr3 = PML4;
        // PAE, OSFXSR, OSXMMEXCPT, FSGSBASE, OSXSAVE.
        vcpu.cr4 = 1 << 5 | 1 << 9 | 1 << 10 | 1 << 16 | 1 << 18;
        vcpu.xcr0 = 7;
        // SCE, LME, LMA.
        vcpu.msr.efer = 1 | 1 << 8 | 1 << 10;
        vcpu.gdtr = DescriptorTable { base: GDT, limit: 0x2f };
        vcpu.idtr = DescriptorTable { base: IDT, limit: 0x1ff };
        vcpu.tr = Segment { selector: 0x28, base: TSS, limit: 0x67, attributes: 0x8b };
        Self { vcpu, code: Vec::new() }
    }

    pub fn run(&mut self, case: &Case) -> Outcome {
        let vcpu = &mut self.vcpu;
        let mut code = case.code.clone();
        code.push(END);
        if code != self.code || case.is_narrow {
            vcpu.memory.write(GuestPhysAddr(CODE_FRAME), &code).unwrap();
            self.code = code;
        }
        vcpu.memory.write(GuestPhysAddr(SCRATCH_FRAME), &case.scratch).unwrap();
        let segment = |selector: u16, attributes| Segment {
            selector: selector | 3,
            base: 0,
            limit: u32::MAX,
            attributes,
        };
        let (code_segment, attributes) =
            if case.is_narrow { (USER_NARROW_CODE, 0xcffb) } else { (USER_CODE, 0xaffb) };
        vcpu.segments[SegmentIndex::Cs as usize] = segment(code_segment, attributes);
        // It is not 0 after reset, which code of 32 bits sees.
        vcpu.set_reg(Reg::CS_BASE, 0);
        for index in [SegmentIndex::Ss, SegmentIndex::Ds, SegmentIndex::Es] {
            vcpu.segments[index as usize] = segment(USER_DATA, 0xcff3);
        }
        vcpu.cpl = 3;
        vcpu.activity = Activity::Running;
        for (number, value) in case.registers.general.into_iter().enumerate() {
            vcpu.set_reg(Reg(number as u8), value);
        }
        vcpu.set_reg(Reg::RIP, CODE);
        vcpu.set_rflags(case.registers.flags);
        vcpu.mxcsr = case.registers.mxcsr();
        for index in 0..16 {
            vcpu.vectors[index].set_low(case.registers.vector(index));
            vcpu.vectors[index].set_high(case.registers.upper_half(index));
        }
        let image: [u8; 160] = case.registers.extended[..160].try_into().unwrap();
        vcpu.x87.load_fxsave(&image, true);
        let limit = vcpu.instructions + 1000;
        let stop = vcpu.run(limit);
        assert_eq!(stop, Stop::Halted, "the sequence {:02x?} does not come to its end", case.code);
        self.outcome(case)
    }

    /// The exception that ended the sequence, from the handler's place and its frame.
    fn outcome(&mut self, case: &Case) -> Outcome {
        let vcpu = &mut self.vcpu;
        let vector = ((vcpu.reg(Reg::RIP) - 1 - HANDLERS) / 16) as u8;
        let has_error_code = matches!(vector, 8 | 10..=14 | 17);
        let frame = vcpu.reg(Reg::RSP) + if has_error_code { 8 } else { 0 };
        let word = |place: u64| {
            let mut bytes = [0; 8];
            vcpu.memory.read(GuestPhysAddr(frame + place * 8), &mut bytes).unwrap();
            u64::from_le_bytes(bytes)
        };
        let (rip, flags, rsp) = (word(0), word(2), word(3));
        let is_end = vector == 13 && rip == CODE + case.code.len() as u64;
        let mut registers = Registers::ZERO;
        for number in 0..16 {
            registers.general[number] = vcpu.reg(Reg(number as u8));
        }
        registers.general[4] = rsp;
        if case.is_narrow {
            registers.general[..8].iter_mut().for_each(|register| *register &= 0xffff_ffff);
            registers.general[8..].copy_from_slice(&case.registers.general[8..]);
        }
        registers.flags = flags;
        let mut image = [0; 160];
        vcpu.x87.store_fxsave(&mut image, true);
        registers.extended[..160].copy_from_slice(&image);
        registers.extended[24..28].copy_from_slice(&vcpu.mxcsr.to_le_bytes());
        for (index, vector) in vcpu.vectors[..16].iter().enumerate() {
            registers.set_vector(index, vector.low());
            registers.set_upper_half(index, vector.high());
        }
        let mut scratch = vec![0; SCRATCH_BYTES];
        vcpu.memory.read(GuestPhysAddr(SCRATCH_FRAME), &mut scratch).unwrap();
        let fault = (!is_end).then(|| Fault { vector, offset: rip.wrapping_sub(CODE) });
        Outcome { registers, scratch, fault }
    }
}
