//! Delivery of exceptions and interrupts through the interrupt descriptor table
//! (SDM vol. 3A chapter 6; real mode: 20.1.4).

use super::control::DR7_GD;
use super::descriptor::{Descriptor, error_selector, is_null};
use super::registers::is_canonical;
use super::stack::Stack;
use crate::cpu::{Activity, Exception, Segment, SegmentIndex, Vcpu, flags};
use crate::ir::Reg;

const GATE_TASK: u8 = 5;
const GATE_INTERRUPT_16: u8 = 6;
const GATE_TRAP_16: u8 = 7;
const GATE_INTERRUPT: u8 = 14;
const GATE_TRAP: u8 = 15;

/// Where an interrupt comes from, which decides the privilege check and the EXT bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterruptKind {
    /// From the interrupt controller, or an NMI.
    External,
    /// `INT n`, `INT3`, `INTO`: the gate's DPL is checked.
    Software,
    /// `INT1` and the processor's exceptions.
    Exception,
}

/// What is to be delivered.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Vector.
    pub vector: u8,
    /// Error code for the frame.
    pub error_code: Option<u32>,
    /// Origin.
    pub kind: InterruptKind,
    /// RIP for the frame.
    pub return_rip: u64,
    /// Whether RF is set in the frame's RFLAGS, so that an instruction breakpoint does not hit again.
    pub sets_resume_flag: bool,
}

impl Event {
    /// EXT in an error code: the event is not the program's own.
    fn ext(&self) -> u16 {
        u16::from(self.kind != InterruptKind::Software)
    }

    /// Error code that names the gate.
    fn gate_code(&self) -> u16 {
        u16::from(self.vector) << 3 | 2 | self.ext()
    }

    fn selector_code(&self, selector: u16) -> u16 {
        error_selector(selector) | self.ext()
    }
}

/// A gate of the interrupt descriptor table.
struct Gate {
    selector: u16,
    offset: u64,
    kind: u8,
    /// Index of the interrupt stack, 0 for none.
    ist: u8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Benign,
    Contributory,
    PageFault,
    DoubleFault,
}

fn class(exception: Exception) -> Class {
    match exception {
        Exception::DivideError
        | Exception::InvalidTss(_)
        | Exception::SegmentNotPresent(_)
        | Exception::StackFault(_)
        | Exception::GeneralProtection(_) => Class::Contributory,
        Exception::PageFault { .. } => Class::PageFault,
        Exception::DoubleFault => Class::DoubleFault,
        _ => Class::Benign,
    }
}

impl Vcpu {
    /// Delivers an exception; RIP is what the frame shall hold.
    ///
    /// Exceptions during the delivery follow SDM vol. 3A table 6-5, to the double fault and to
    /// [`Activity::Shutdown`].
    pub fn deliver_exception(&mut self, exception: Exception) {
        let mut pending = exception;
        loop {
            if pending == Exception::MachineCheck {
                self.activity = Activity::Shutdown;
                self.must_leave = true;
                return;
            }
            self.note_exception_registers(pending);
            let event = Event {
                vector: pending.vector(),
                error_code: pending.error_code(),
                kind: InterruptKind::Exception,
                return_rip: self.reg(Reg::RIP),
                sets_resume_flag: !pending.is_trap() && !matches!(pending, Exception::Debug(_)),
            };
            let Err(second) = self.enter_gate(event) else { return };
            pending = match (class(pending), class(second)) {
                (_, _) if second == Exception::MachineCheck => second,
                (Class::DoubleFault, _) => {
                    self.shut_down(pending, second);
                    return;
                }
                (Class::Contributory, Class::Contributory)
                | (Class::PageFault, Class::Contributory | Class::PageFault) => {
                    self.note_exception_registers(second);
                    Exception::DoubleFault
                }
                _ => second,
            };
        }
    }

    /// Delivers an interrupt from the interrupt controller, or with another kind.
    pub fn deliver_interrupt(&mut self, vector: u8, kind: InterruptKind) {
        let event =
            Event { vector, error_code: None, kind, return_rip: self.reg(Reg::RIP), sets_resume_flag: false };
        if let Err(exception) = self.enter_gate(event) {
            self.deliver_exception(exception);
        }
    }

    /// Delivers a non-maskable interrupt; further ones wait until `IRET`
    /// ([`is_nmi_blocked`](super::Msrs::is_nmi_blocked)).
    pub fn deliver_nmi(&mut self) {
        self.msr.is_nmi_blocked = true;
        self.deliver_interrupt(2, InterruptKind::External);
    }

    fn note_exception_registers(&mut self, exception: Exception) {
        match exception {
            Exception::PageFault { address, .. } => self.cr2 = address,
            Exception::Debug(bits) => {
                self.debug[6] |= bits;
                self.debug[7] &= !DR7_GD;
            }
            _ => {}
        }
    }

    fn shut_down(&mut self, first: Exception, second: Exception) {
        log::warn!(
            "triple fault: {second} during {first}, rip {:#x}, rsp {:#x}, cr2 {:#x}, cr3 {:#x}",
            self.reg(Reg::RIP),
            self.reg(Reg::RSP),
            self.cr2,
            self.cr3
        );
        self.activity = Activity::Shutdown;
        self.must_leave = true;
    }

    /// Goes through the gate of an event. On an error nothing has changed.
    ///
    /// # Errors
    /// What the delivery itself raises.
    pub fn enter_gate(&mut self, event: Event) -> Result<(), Exception> {
        if !self.is_protected_mode() {
            self.enter_real_mode_vector(event)?;
        } else if self.is_long_mode() {
            self.enter_long_mode_gate(event)?;
        } else {
            self.enter_protected_mode_gate(event)?;
        }
        self.activity = Activity::Running;
        self.interrupt_shadow = false;
        self.must_leave = true;
        Ok(())
    }

    fn saved_flags(&self, event: &Event) -> u64 {
        let flags = self.rflags();
        if event.sets_resume_flag { flags | flags::RF } else { flags }
    }

    fn enter_real_mode_vector(&mut self, event: Event) -> Result<(), Exception> {
        let offset = u64::from(event.vector) * 4;
        if offset + 3 > u64::from(self.idtr.limit) {
            return Err(Exception::GeneralProtection(0));
        }
        let entry = self.read_system_u32(self.idtr.base.wrapping_add(offset))?;
        let code_selector = self.segments[SegmentIndex::Cs as usize].selector;
        let frame = [self.rflags(), u64::from(code_selector), event.return_rip];
        let mut stack = Stack::current(self);
        stack.push_all(self, 2, &frame)?;
        stack.commit(self);
        let segment = self.real_mode_segment(SegmentIndex::Cs, (entry >> 16) as u16);
        self.set_segment(SegmentIndex::Cs, segment);
        self.set_rip(u64::from(entry & 0xffff));
        self.set_rflags(self.rflags() & !(flags::IF | flags::TF | flags::RF | flags::AC));
        Ok(())
    }

    fn check_gate(&self, event: &Event, low: u64, kinds: &[u8]) -> Result<u8, Exception> {
        let gate = Descriptor(low);
        if !gate.is_system() || !kinds.contains(&gate.kind()) {
            return Err(Exception::GeneralProtection(event.gate_code()));
        }
        if event.kind == InterruptKind::Software && gate.dpl() < self.cpl {
            return Err(Exception::GeneralProtection(event.gate_code()));
        }
        if !gate.is_present() {
            return Err(Exception::SegmentNotPresent(event.gate_code()));
        }
        Ok(gate.kind())
    }

    /// The gate's code segment, and the privilege level that it runs at.
    fn gate_code_segment(&mut self, event: &Event, selector: u16) -> Result<(Descriptor, u8), Exception> {
        if is_null(selector) {
            return Err(Exception::GeneralProtection(event.ext()));
        }
        let code = event.selector_code(selector);
        let refused = Err(Exception::GeneralProtection(code));
        let Some(address) = self.descriptor_address(selector, 8) else { return refused };
        let descriptor = self.read_system_u64(address).map(Descriptor)?;
        let is_wrong_size = self.is_long_mode() && (!descriptor.is_long() || descriptor.is_default_32());
        if !descriptor.is_code() || descriptor.dpl() > self.cpl || is_wrong_size {
            return refused;
        }
        if !descriptor.is_present() {
            return Err(Exception::SegmentNotPresent(code));
        }
        let cpl = if descriptor.is_conforming() { self.cpl } else { descriptor.dpl() };
        Ok((self.mark_accessed(selector, descriptor)?, cpl))
    }

    /// SDM vol. 3A 6.14.
    fn enter_long_mode_gate(&mut self, event: Event) -> Result<(), Exception> {
        let offset = u64::from(event.vector) * 16;
        if offset + 15 > u64::from(self.idtr.limit) {
            return Err(Exception::GeneralProtection(event.gate_code()));
        }
        let address = self.idtr.base.wrapping_add(offset);
        let low = self.read_system_u64(address)?;
        let high = self.read_system_u64(address.wrapping_add(8))?;
        let gate = Gate {
            kind: self.check_gate(&event, low, &[GATE_INTERRUPT, GATE_TRAP])?,
            selector: (low >> 16) as u16,
            offset: low & 0xffff | low >> 32 & 0xffff_0000 | high << 32,
            ist: (low >> 32) as u8 & 7,
        };
        let (code, cpl) = self.gate_code_segment(&event, gate.selector)?;
        let rsp = if gate.ist != 0 {
            self.task_stack_pointer_64(&event, 0x24 + 8 * u64::from(gate.ist - 1))?
        } else if cpl < self.cpl {
            self.task_stack_pointer_64(&event, 4 + 8 * u64::from(cpl))?
        } else {
            self.reg(Reg::RSP)
        };
        if !is_canonical(gate.offset) {
            return Err(Exception::GeneralProtection(event.ext()));
        }
        let old_stack = self.segments[SegmentIndex::Ss as usize];
        let old_code = self.segments[SegmentIndex::Cs as usize];
        let mut stack = Stack::new(old_stack, rsp, true, self.privilege_at(cpl));
        stack.align();
        let frame = [
            u64::from(old_stack.selector),
            self.reg(Reg::RSP),
            self.saved_flags(&event),
            u64::from(old_code.selector),
            event.return_rip,
            u64::from(event.error_code.unwrap_or(0)),
        ];
        let length = if event.error_code.is_some() { 6 } else { 5 };
        stack.push_all(self, 8, &frame[..length])?;
        stack.commit(self);
        if cpl < self.cpl {
            self.set_null_segment(SegmentIndex::Ss, u16::from(cpl));
        }
        self.leave_for_gate(&gate, code, cpl);
        Ok(())
    }

    /// A stack pointer out of the 64-bit task-state segment (SDM vol. 3A 7.7).
    fn task_stack_pointer_64(&mut self, event: &Event, offset: u64) -> Result<u64, Exception> {
        if offset + 7 > u64::from(self.tr.limit) {
            return Err(Exception::InvalidTss(event.selector_code(self.tr.selector)));
        }
        let rsp = self.read_system_u64(self.tr.base.wrapping_add(offset))?;
        if is_canonical(rsp) { Ok(rsp) } else { Err(Exception::StackFault(event.ext())) }
    }

    /// SDM vol. 3A 6.12.1.
    fn enter_protected_mode_gate(&mut self, event: Event) -> Result<(), Exception> {
        let offset = u64::from(event.vector) * 8;
        if offset + 7 > u64::from(self.idtr.limit) {
            return Err(Exception::GeneralProtection(event.gate_code()));
        }
        let low = self.read_system_u64(self.idtr.base.wrapping_add(offset))?;
        let kinds = [GATE_TASK, GATE_INTERRUPT_16, GATE_TRAP_16, GATE_INTERRUPT, GATE_TRAP];
        let kind = self.check_gate(&event, low, &kinds)?;
        let selector = (low >> 16) as u16;
        if kind == GATE_TASK {
            log::warn!("task gate at vector {}: hardware task switches are not provided", event.vector);
            return Err(Exception::InvalidTss(event.selector_code(selector)));
        }
        let is_16 = matches!(kind, GATE_INTERRUPT_16 | GATE_TRAP_16);
        let upper = if is_16 { 0 } else { low >> 32 & 0xffff_0000 };
        let gate = Gate { kind, selector, offset: low & 0xffff | upper, ist: 0 };
        let (code, cpl) = self.gate_code_segment(&event, selector)?;
        if gate.offset > u64::from(code.limit()) {
            return Err(Exception::GeneralProtection(event.ext()));
        }
        let old_stack = self.segments[SegmentIndex::Ss as usize];
        let old_code = self.segments[SegmentIndex::Cs as usize];
        let tail = [
            self.saved_flags(&event),
            u64::from(old_code.selector),
            event.return_rip,
            u64::from(event.error_code.unwrap_or(0)),
        ];
        let tail = &tail[..if event.error_code.is_some() { 4 } else { 3 }];
        let bytes = if is_16 { 2 } else { 4 };
        if cpl < self.cpl {
            let (segment, esp) = self.task_stack(cpl, event.ext())?;
            let mut stack = Stack::new(segment, esp, false, self.privilege_at(cpl));
            let mut frame = vec![u64::from(old_stack.selector), self.reg(Reg::RSP)];
            frame.extend_from_slice(tail);
            stack.push_all(self, bytes, &frame)?;
            self.set_segment(SegmentIndex::Ss, segment);
            stack.commit(self);
        } else {
            let mut stack = Stack::current(self);
            stack.push_all(self, bytes, tail)?;
            stack.commit(self);
        }
        self.leave_for_gate(&gate, code, cpl);
        Ok(())
    }

    /// The stack that a 16- or 32-bit task-state segment names for a privilege level.
    ///
    /// # Errors
    /// #TS and #SS with `ext` in their error codes, #PF.
    pub fn task_stack(&mut self, cpl: u8, ext: u16) -> Result<(Segment, u64), Exception> {
        let is_16 = self.tr.attributes & 8 == 0;
        let level = u64::from(cpl);
        let (pointer, selector) =
            if is_16 { (2 + 4 * level, 4 + 4 * level) } else { (4 + 8 * level, 8 + 8 * level) };
        if selector + 1 > u64::from(self.tr.limit) {
            return Err(Exception::InvalidTss(error_selector(self.tr.selector) | ext));
        }
        let base = self.tr.base;
        let esp = if is_16 {
            u64::from(self.read_system_u16(base.wrapping_add(pointer))?)
        } else {
            u64::from(self.read_system_u32(base.wrapping_add(pointer))?)
        };
        let selector = self.read_system_u16(base.wrapping_add(selector))?;
        if is_null(selector) {
            return Err(Exception::InvalidTss(ext));
        }
        let segment = self.stack_segment(selector, cpl, Exception::InvalidTss).map_err(|e| match e {
            Exception::InvalidTss(code) => Exception::InvalidTss(code | ext),
            Exception::StackFault(code) => Exception::StackFault(code | ext),
            other => other,
        })?;
        Ok((segment, esp))
    }

    fn leave_for_gate(&mut self, gate: &Gate, code: Descriptor, cpl: u8) {
        let mut cleared = flags::TF | flags::NT | flags::RF | flags::VM;
        if matches!(gate.kind, GATE_INTERRUPT | GATE_INTERRUPT_16) {
            cleared |= flags::IF;
        }
        self.system_flags &= !cleared;
        self.enter_code_segment(gate.selector, code, cpl);
        self.set_rip(gate.offset);
    }
}
