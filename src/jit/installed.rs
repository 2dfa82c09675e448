//! The installed regions, and how they are left.

use super::abi;
use super::emit::{Onward, Site};
use super::window::Window;
use crate::cpu::{AddressHasher, BlockStart, CompiledExit, Vcpu};
use crate::mem::PAGE_SIZE;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;

/// A region that has its function in the table.
pub struct Installed {
    /// The blocks that it holds; the first is its entry.
    pub blocks: Box<[BlockStart]>,
    /// Where it can be left on the way.
    pub sites: Box<[Site]>,
    /// The module that its function is in.
    pub module: u32,
    /// Its function, for modules that are packed anew.
    pub body: Box<[u8]>,
    /// Where in the body the function's number in its module stands.
    pub number_at: usize,
    /// Instructions that were retired when it was last entered or left by the run loop or on its way.
    pub seen_at: u64,
    /// Its function's name in the module; empty for none.
    pub name: String,
}

/// How often a way out to unseen code is taken until the region is compiled again with that code in it: each time
/// costs some 60 ns, compiling a region some 0.5 ms. With 200, Docker's start compiled three regions for one that
/// stayed.
const TAKEN_OFTEN: u32 = 10_000;

/// How often a window runs over a page's end until its region is compiled again: each time costs some 0.4 µs.
const SPLIT_OFTEN: u32 = 1_000;

/// How often a floating-point operation meets what is no normal number until its region is compiled again, for the same
/// price each time.
const SPECIAL_OFTEN: u32 = 1_000;

/// What is known of the installed regions.
#[derive(Default)]
pub struct Regions {
    /// By their place in the table.
    pub installed: HashMap<u32, Installed, BuildHasherDefault<AddressHasher>>,
    /// Regions to be compiled again.
    pub outgrown: Vec<u32>,
    /// How often a region was left on the way, and the interpreter went on for a call that waits.
    pub resumptions: u64,
}

impl Regions {
    /// Puts the state right behind a function that returned `rip`.
    pub fn leave(&mut self, vcpu: &mut Vcpu, rip: u64) -> CompiledExit {
        let (regions, outgrown) = (&mut self.installed, &mut self.outgrown);
        let mut looked_up = None;
        let mut is_often_special = false;
        let now = vcpu.instructions;
        let exit = abi::leave(vcpu, rip, |slot, number| {
            let region = regions.get_mut(&slot)?;
            region.seen_at = now;
            let site = region.sites.get_mut(number)?;
            match site.onward {
                Onward::Unseen => {
                    site.taken += 1;
                    if site.taken == TAKEN_OFTEN {
                        outgrown.push(slot);
                    }
                    Some((&*site, None))
                }
                Onward::Redo { node, window, is_special, .. } => {
                    if is_special {
                        site.taken += 1;
                        is_often_special = site.taken == SPECIAL_OFTEN;
                        if is_often_special {
                            outgrown.push(slot);
                        }
                    }
                    looked_up = window.map(|window| (slot, number, window));
                    Some((&*site, region.blocks.get(node).copied()))
                }
                Onward::Block | Onward::Helper(_) => Some((&*site, None)),
            }
        });
        if let (CompiledExit::Resume { block, .. }, Some((slot, number, (window, place)))) = (exit, looked_up)
        {
            self.note_window(vcpu, (block, place), (slot, number), window);
        }
        if let CompiledExit::Resume { block: start, .. } = exit
            && is_often_special
            && let Some(block) = vcpu.code_cache().get(start.address, start.mode_bits)
        {
            block.compiled.numbers.set(block.compiled.numbers.get().wider());
        }
        exit
    }

    /// Notes that a window was not looked up with success. When that is because it runs over a page's end, and often,
    /// its block is compiled again without windows.
    fn note_window(
        &mut self,
        vcpu: &Vcpu,
        (start, place): (BlockStart, usize),
        (slot, number): (u32, usize),
        window: Window,
    ) {
        let Some(block) = vcpu.code_cache().get(start.address, start.mode_bits) else { return };
        let Some(op) = block.ops().get(place) else { return };
        let first = vcpu.access_address(op).wrapping_sub(u64::from(window.before));
        if first % PAGE_SIZE + u64::from(window.bytes) <= PAGE_SIZE {
            return;
        }
        let site = self.installed.get_mut(&slot).and_then(|region| region.sites.get_mut(number));
        let Some(site) = site else { return };
        site.taken += 1;
        if site.taken == SPLIT_OFTEN {
            block.compiled.has_split_windows.set(true);
            self.outgrown.push(slot);
        }
    }
}
