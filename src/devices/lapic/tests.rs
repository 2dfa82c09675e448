use super::super::BusDevice;
use super::registers::{MSR_APIC_BASE, MSR_TSC_DEADLINE, MSR_X2APIC_FIRST};
use super::*;
use crate::devices::apic_bus::ProcessorEvent;
use crate::host::InstructionClock;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

fn processors(count: u32) -> (Vec<LocalApic>, InstructionClock) {
    let inboxes = (0..count).map(|id| Arc::new(ApicInbox::new(id, Arc::default()))).collect();
    let bus = Arc::new(ApicBus::new(inboxes));
    let clock = InstructionClock::default();
    let apics =
        (0..count).map(|id| LocalApic::new(id, bus.clone(), Arc::new(clock.clone())).unwrap()).collect();
    (apics, clock)
}

fn enabled_apic() -> (LocalApic, InstructionClock) {
    let (mut apics, clock) = processors(1);
    let mut apic = apics.remove(0);
    write(&mut apic, 0xf0, 0x1ff);
    (apic, clock)
}

fn read(apic: &mut LocalApic, register: u64) -> u32 {
    let mut data = [0; 4];
    apic.read(register, &mut data);
    u32::from_le_bytes(data)
}

fn write(apic: &mut LocalApic, register: u64, value: u32) {
    apic.write(register, &value.to_le_bytes());
}

#[test]
fn a_higher_class_interrupts_a_lower_one_and_not_the_reverse() {
    let (mut apic, _) = enabled_apic();
    apic.accept(0x45, TriggerMode::Edge);
    assert!(apic.is_interrupt_pending());
    assert_eq!(apic.acknowledge(), Some(0x45));
    apic.accept(0x4f, TriggerMode::Edge);
    assert!(!apic.is_interrupt_pending(), "same class");
    apic.accept(0x51, TriggerMode::Edge);
    assert_eq!(apic.acknowledge(), Some(0x51));
    assert_eq!(read(&mut apic, 0xa0), 0x50);
    write(&mut apic, 0xb0, 0);
    assert!(!apic.is_interrupt_pending());
    write(&mut apic, 0xb0, 0);
    assert_eq!(apic.acknowledge(), Some(0x4f));
}

#[test]
fn the_task_priority_holds_back_its_class_and_lowering_it_calls_attention() {
    let (mut apic, _) = enabled_apic();
    apic.set_cr8(5);
    apic.accept(0x5f, TriggerMode::Edge);
    assert_eq!(apic.acknowledge(), None);
    assert_eq!(read(&mut apic, 0x80), 0x50);
    apic.inbox().attention().store(0, Ordering::SeqCst);
    apic.set_cr8(4);
    assert_eq!(apic.inbox().attention().load(Ordering::SeqCst), 1);
    assert_eq!(apic.acknowledge(), Some(0x5f));
}

#[test]
fn the_timer_interrupts_once_or_periodically_unless_masked() {
    let (mut apic, clock) = enabled_apic();
    write(&mut apic, 0x3e0, 0b1011);
    write(&mut apic, 0x320, 0xec);
    write(&mut apic, 0x380, 1_000);
    assert_eq!(apic.next_timer_deadline_ns(), Some(1_000));
    clock.advance_to(400);
    assert_eq!(read(&mut apic, 0x390), 600);
    apic.advance_to(1_000);
    assert_eq!(apic.acknowledge(), Some(0xec));
    assert_eq!(apic.next_timer_deadline_ns(), None);

    apic.end_of_interrupt();
    clock.advance_to(1_000);
    write(&mut apic, 0x320, 0x2_00ec);
    write(&mut apic, 0x380, 100);
    apic.advance_to(1_250);
    assert_eq!(apic.acknowledge(), Some(0xec));
    assert_eq!(apic.next_timer_deadline_ns(), Some(1_300));

    apic.end_of_interrupt();
    write(&mut apic, 0x320, 0x3_00ec);
    assert_eq!(apic.next_timer_deadline_ns(), None);
    apic.advance_to(2_000);
    assert!(!apic.is_interrupt_pending());
}

#[test]
fn a_tsc_deadline_in_the_past_fires_at_once() {
    let (mut apic, clock) = enabled_apic();
    clock.advance_to(5_000);
    write(&mut apic, 0x320, 0x4_00ec);
    apic.write_msr(MSR_TSC_DEADLINE, 9_000).unwrap();
    assert_eq!(apic.next_timer_deadline_ns(), Some(9_000));
    assert_eq!(apic.read_msr(MSR_TSC_DEADLINE), Ok(9_000));
    apic.write_msr(MSR_TSC_DEADLINE, 4_000).unwrap();
    assert_eq!(apic.acknowledge(), Some(0xec));
    assert_eq!(apic.read_msr(MSR_TSC_DEADLINE), Ok(0));
}

#[test]
fn x2apic_mode_replaces_the_register_page_by_msrs() {
    let (mut apic, _) = enabled_apic();
    let base = apic.read_msr(MSR_APIC_BASE).unwrap();
    assert_eq!(base, 0xfee0_0900);
    assert!(apic.read_msr(0x802).is_err());
    apic.write_msr(MSR_APIC_BASE, base | 0x400).unwrap();
    assert_eq!(apic.read_msr(0x802), Ok(0));
    assert_eq!(apic.read_msr(0x80d), Ok(1));
    assert_eq!(read(&mut apic, 0x30), u32::MAX);
    apic.write_msr(0x83f, 0x77).unwrap();
    assert_eq!(apic.acknowledge(), Some(0x77));
    apic.write_msr(0x80b, 0).unwrap();
    assert!(apic.write_msr(0x80b, 1).is_err(), "EOI takes only zero");
    assert!(apic.write_msr(0x80e, 0).is_err(), "there is no DFR");
    assert!(apic.write_msr(MSR_APIC_BASE, base).is_err(), "back to xAPIC only through disabled");
    apic.write_msr(MSR_APIC_BASE, base & !0x800).unwrap();
    assert!(apic.write_msr(MSR_APIC_BASE, base | 0x400).is_err(), "to x2APIC only through xAPIC");
    assert!(apic.write_msr(MSR_APIC_BASE, 0xfec0_0900).is_err(), "the page cannot move");
}

#[test]
fn no_msr_access_panics() {
    let (mut apic, _) = enabled_apic();
    let base = apic.read_msr(MSR_APIC_BASE).unwrap();
    apic.write_msr(MSR_APIC_BASE, base | 0x400).unwrap();
    for msr in MSR_X2APIC_FIRST..=0x900 {
        for value in [0, 1, 0xff, 0x1_0000, u64::from(u32::MAX), u64::MAX] {
            let _ = apic.write_msr(msr, value);
        }
        let _ = apic.read_msr(msr);
    }
}

#[test]
fn commands_reach_other_processors() {
    let (mut apics, _) = processors(3);
    for apic in &mut apics {
        write(apic, 0xf0, 0x1ff);
    }
    write(&mut apics[0], 0x310, 1 << 24);
    write(&mut apics[0], 0x300, 0x4500);
    assert_eq!(apics[1].inbox().take_event(), Some(ProcessorEvent::Init));
    write(&mut apics[0], 0x300, 0x8500);
    assert_eq!(apics[1].inbox().take_event(), None, "INIT de-assert is ignored");
    write(&mut apics[0], 0x300, 0x469a);
    assert_eq!(apics[1].inbox().take_event(), Some(ProcessorEvent::StartUp(0x9a)));
    write(&mut apics[0], 0x300, 0xc_00fb);
    let pending: Vec<_> = apics.iter().map(LocalApic::is_interrupt_pending).collect();
    assert_eq!(pending, [false, true, true]);
}

#[derive(Default)]
struct Recorder(Mutex<Vec<u8>>);

impl EndOfInterrupt for Recorder {
    fn end_of_interrupt(&self, vector: u8) {
        self.0.lock().unwrap().push(vector);
    }
}

impl ExternalInterrupts for Recorder {
    fn acknowledge(&self) -> u8 {
        0x30
    }
}

#[test]
fn only_level_triggered_interrupts_tell_the_io_apic_of_their_end() {
    let (mut apic, _) = enabled_apic();
    let listener = Arc::new(Recorder::default());
    apic.connect_end_of_interrupt(listener.clone());
    for (vector, trigger) in [(0x40, TriggerMode::Edge), (0x41, TriggerMode::Level)] {
        apic.accept(vector, trigger);
        assert_eq!(apic.acknowledge(), Some(vector));
        apic.end_of_interrupt();
    }
    assert_eq!(*listener.0.lock().unwrap(), [0x41]);
}

#[test]
fn external_interrupts_pass_through_lint0_as_it_is_programmed() {
    let (mut apic, _) = enabled_apic();
    apic.connect_external_interrupts(Arc::new(Recorder::default()));
    apic.set_external_interrupt(true);
    assert!(!apic.is_interrupt_pending(), "masked after reset");
    write(&mut apic, 0x350, 0x700);
    assert_eq!(apic.acknowledge(), Some(0x30));
    apic.set_external_interrupt(false);
    assert!(!apic.is_interrupt_pending());
    write(&mut apic, 0x350, 0x0_0055);
    apic.set_external_interrupt(true);
    assert_eq!(apic.acknowledge(), Some(0x55), "fixed mode takes LINT0's own vector");
    apic.set_external_interrupt(false);
    write(&mut apic, 0x350, 0x400);
    apic.set_external_interrupt(true);
    assert_eq!(apic.inbox().take_event(), Some(ProcessorEvent::Nmi));
}

#[test]
fn a_software_disabled_apic_masks_its_local_vectors() {
    let (mut apic, _) = enabled_apic();
    write(&mut apic, 0x350, 0x700);
    write(&mut apic, 0xf0, 0xff);
    assert_eq!(read(&mut apic, 0x350), 0x1_0700);
    write(&mut apic, 0x350, 0x700);
    assert_eq!(read(&mut apic, 0x350), 0x1_0700);
    apic.accept(0x40, TriggerMode::Edge);
    assert!(!apic.is_interrupt_pending());
}

#[test]
fn illegal_vectors_show_in_the_error_status() {
    let (mut apic, _) = enabled_apic();
    write(&mut apic, 0x370, 0xfe);
    write(&mut apic, 0x300, 0x05);
    write(&mut apic, 0x280, 0);
    assert_eq!(read(&mut apic, 0x280), 1 << 5);
    assert_eq!(apic.acknowledge(), Some(0xfe));
}
