//! Linux on each model of processor.

use crate::guest::Setup;
use crate::initramfs::Initramfs;
use crate::program::{Program, Reboot, number};
use dinghy::machine::{CpuModel, RunOutcome};

fn words_on(cpu_model: CpuModel, program: Program) -> String {
    let program = program.reboot(Reboot::PowerOff);
    let setup = Setup { cpu_model, ..Setup::new(Initramfs::with_init(&program.finish()).finish()) };
    let mut guest = setup.boot();
    assert_eq!(guest.run_to_end(), RunOutcome::PoweredOff, "{cpu_model:?}");
    guest.console.text()
}

#[test]
fn linux_boots_on_processors_without_avx() {
    for model in [CpuModel::V1, CpuModel::V2] {
        assert!(words_on(model, Program::new().print("words\n")).contains("words"), "{model:?}");
    }
}

#[test]
fn linux_switches_ymm_registers_between_two_programs() {
    for model in [CpuModel::V3, CpuModel::Max] {
        // Parent and child fill the register with what fork has told them, and look at it in turns.
        let mut program = Program::new().call(number::FORK, &[]).keep().fill_vector_with_kept();
        for _ in 0..3 {
            program = program.sleep(5_000_000).expect_vector_as_kept("lost\n");
        }
        let words = words_on(model, program.print("kept\n").sleep(20_000_000));
        assert_eq!(words.matches("kept").count(), 2, "{model:?}: {words}");
        assert!(!words.contains("lost"), "{model:?}: {words}");
    }
}
