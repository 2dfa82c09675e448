//! Memory management, exceptions, interrupts, segments and the privileged instructions.

mod advance;
mod breakpoints;
mod control;
mod cpuid;
mod descriptor;
mod exception;
mod far;
mod flag_instructions;
mod lift;
mod memory;
mod mmu;
#[cfg(test)]
mod mmu_tests;
mod msr;
mod port;
mod registers;
mod reset;
mod save;
mod segments;
mod stack;
mod system_call;
#[cfg(test)]
mod tests;
mod time;

use super::Helper;

pub use control::XCR0_SUPPORTED;
pub use exception::InterruptKind;
pub use lift::{effects, lift};
pub use msr::Msrs;
pub use registers::*;
pub use save::MXCSR_MASK;

/// The family's helpers by place; `lift` names the places in the same order.
pub static HELPERS: [Helper; 68] = [
    flag_instructions::push_flags,
    flag_instructions::pop_flags,
    flag_instructions::clear_interrupt_flag,
    flag_instructions::set_interrupt_flag,
    flag_instructions::load_ah,
    flag_instructions::store_ah,
    flag_instructions::set_access_flag,
    flag_instructions::clear_access_flag,
    segments::load_segment,
    segments::load_segment_and_exit,
    segments::read_selector,
    segments::push_segment,
    segments::pop_segment,
    segments::load_far_pointer,
    segments::load_gdtr,
    segments::load_idtr,
    segments::store_gdtr,
    segments::store_idtr,
    segments::load_ldtr,
    segments::load_task_register,
    segments::read_ldtr,
    segments::read_task_register,
    segments::load_access_rights,
    segments::load_segment_limit,
    segments::verify_read,
    segments::verify_write,
    segments::adjust_privilege,
    far::jump,
    far::call,
    far::return_far,
    far::interrupt_return,
    system_call::syscall,
    system_call::sysret,
    system_call::sysenter,
    system_call::sysexit,
    system_call::swapgs,
    system_call::read_base,
    system_call::write_base,
    system_call::software_interrupt,
    system_call::debug_interrupt,
    system_call::interrupt_on_overflow,
    control::read_control,
    control::write_control,
    control::read_debug,
    control::write_debug,
    control::clear_task_switched,
    control::load_machine_status,
    control::read_machine_status,
    control::invalidate_page,
    control::invalidate_context,
    control::read_extended_control,
    control::write_extended_control,
    time::read_time_stamp,
    time::read_performance_counter,
    time::random,
    time::halt,
    time::write_back_caches,
    port::port,
    port::port_string,
    msr::read_register,
    msr::write_register,
    cpuid::identify,
    save::fxsave,
    save::fxrstor,
    save::xsave,
    save::xrstor,
    time::read_processor_id,
    segments::require_privilege,
];
