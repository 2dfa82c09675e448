//! What is compiled: the queue of hot blocks, the installed modules and regions, and the way into them.

use super::abi::{self, Slots};
use super::emit::{self, Function, Site};
use super::module;
use super::region::Region;
use crate::cpu::{Block, CompiledCode, CompiledExit, Vcpu};
use crate::host::{CodeHost, CodeInstance};
use crate::mem::GuestPhysAddr;
use std::any::Any;
use std::collections::HashMap;

/// When blocks are compiled.
#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// Executions after which a block is compiled.
    pub threshold: i32,
    /// Hot blocks that are compiled together.
    pub batch: usize,
    /// Instructions after which a smaller batch is compiled too.
    pub patience: u64,
}

impl EngineOptions {
    /// For speed.
    pub const AUTO: Self = Self { threshold: 40, batch: 64, patience: 1_000_000 };
    /// Everything is compiled when it is first seen: for tests.
    pub const AT_FIRST_SIGHT: Self = Self { threshold: 0, batch: 1, patience: 0 };
}

/// What the engine has done.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EngineStatistics {
    /// Modules compiled so far.
    pub modules_compiled: u64,
    /// Modules installed now.
    pub modules: u64,
    /// Regions compiled so far.
    pub regions_compiled: u64,
    /// Regions installed now.
    pub regions: u64,
    /// Bytes of the modules compiled so far.
    pub bytes_compiled: u64,
    /// Bytes of the functions installed now.
    pub bytes: u64,
    /// Guest instructions that the compiled regions hold, so far.
    pub instructions_compiled: u64,
    /// Seconds spent on emitting and installing.
    pub compile_seconds: f64,
    /// Instructions retired in compiled code.
    pub instructions: u64,
    /// Ways into compiled code.
    pub entries: u64,
    /// Ways out to code that is not compiled.
    pub exits_to_dispatch: u64,
    /// Ways out because something may have changed.
    pub exits_to_look: u64,
    /// Ways out by an exception.
    pub exits_by_exception: u64,
}

/// A block by its address and mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    start: GuestPhysAddr,
    mode_bits: u8,
}

struct Installed {
    blocks: Box<[Key]>,
    sites: Box<[Site]>,
    module: u32,
    bytes: u64,
}

struct InstalledModule {
    instance: CodeInstance,
    first_slot: u32,
    count: u32,
    live: u32,
}

/// The engine that compiles hot blocks.
pub struct Engine {
    host: Box<dyn CodeHost>,
    slots: Slots,
    options: EngineOptions,
    queue: Vec<Key>,
    queued_at: u64,
    /// Regions by their place in the table.
    regions: HashMap<u32, Installed>,
    modules: HashMap<u32, InstalledModule>,
    next_module: u32,
    /// Places in the table that no module uses: first and count.
    free: Vec<(u32, u32)>,
    statistics: EngineStatistics,
}

impl Engine {
    /// An engine that has compiled nothing yet.
    pub fn new(mut host: Box<dyn CodeHost>, options: EngineOptions) -> Self {
        let slots = Slots::new(&mut *host);
        Self {
            host,
            slots,
            options,
            queue: Vec::new(),
            queued_at: 0,
            regions: HashMap::new(),
            modules: HashMap::new(),
            next_module: 0,
            free: Vec::new(),
            statistics: EngineStatistics::default(),
        }
    }

    /// Executions after which blocks are noted as hot.
    pub fn threshold(&self) -> i32 {
        self.options.threshold
    }

    /// What the engine has done.
    pub fn statistics(&self) -> EngineStatistics {
        EngineStatistics {
            modules: self.modules.len() as u64,
            regions: self.regions.len() as u64,
            ..self.statistics
        }
    }

    fn compile_queue(&mut self, vcpu: &mut Vcpu) {
        let begun = self.host.seconds();
        let mut emitted: Vec<(Key, Box<[Key]>, Function)> = Vec::new();
        for key in std::mem::take(&mut self.queue) {
            let cache = vcpu.code_cache();
            let Some(block) = cache.get(key.start, key.mode_bits) else { continue };
            if block.compiled.function.get() != 0 {
                continue;
            }
            let region = Region::discover(cache, block);
            let function = emit::function(&region, &self.slots, emitted.len() as u32);
            let blocks = region.nodes.iter().map(|node| Key::of(node.block)).collect();
            let counts = region.nodes.iter().map(|node| node.block.instruction_count());
            self.statistics.instructions_compiled += counts.sum::<u64>();
            emitted.push((key, blocks, function));
        }
        if !emitted.is_empty() {
            self.install(vcpu, emitted);
        }
        self.statistics.compile_seconds += self.host.seconds() - begun;
    }

    fn install(&mut self, vcpu: &mut Vcpu, emitted: Vec<(Key, Box<[Key]>, Function)>) {
        let count = emitted.len() as u32;
        let Some(first_slot) = self.take_slots(count) else { return };
        let bodies = emitted.iter().map(|(_, _, function)| &*function.body);
        let bytes = module::encode(bodies, self.host.has_shared_memory());
        let instance = match self.host.install(&bytes, first_slot) {
            Ok(instance) => instance,
            Err(error) => {
                log::error!("{error}");
                self.free.push((first_slot, count));
                return;
            }
        };
        let module = self.next_module;
        self.next_module += 1;
        self.modules.insert(module, InstalledModule { instance, first_slot, count, live: count });
        self.statistics.modules_compiled += 1;
        self.statistics.regions_compiled += u64::from(count);
        self.statistics.bytes_compiled += bytes.len() as u64;
        for (slot, (key, blocks, function)) in (first_slot..).zip(emitted) {
            let cache = vcpu.code_cache();
            if let Some(block) = cache.get(key.start, key.mode_bits) {
                block.compiled.function.set(slot);
                block.compiled.needs.set(function.needs);
                block.compiled.heat.set(0);
            }
            for key in &blocks {
                if let Some(block) = cache.get(key.start, key.mode_bits) {
                    block.compiled.regions.borrow_mut().push(slot);
                }
            }
            let bytes = function.body.len() as u64;
            self.statistics.bytes += bytes;
            self.regions.insert(slot, Installed { blocks, sites: function.sites.into(), module, bytes });
        }
    }

    /// A range of places in the table.
    fn take_slots(&mut self, count: u32) -> Option<u32> {
        const GROWTH: u32 = 512;
        loop {
            if let Some(place) = self.free.iter().position(|&(_, free)| free >= count) {
                let (first, free) = self.free.swap_remove(place);
                if free > count {
                    self.free.push((first + count, free - count));
                }
                return Some(first);
            }
            let growth = count.max(GROWTH);
            match self.host.grow(growth) {
                Ok(first) => self.give_back(first, growth),
                Err(error) => {
                    log::error!("{error}");
                    return None;
                }
            }
        }
    }

    /// Returns a range of places, joined with its neighbours.
    fn give_back(&mut self, first: u32, count: u32) {
        let (mut first, mut count) = (first, count);
        while let Some(place) = self
            .free
            .iter()
            .position(|&(other, free)| other + free == first || first + count == other)
        {
            let (other, free) = self.free.swap_remove(place);
            first = first.min(other);
            count += free;
        }
        self.free.push((first, count));
    }

    fn drop_region(&mut self, vcpu: &mut Vcpu, slot: u32) {
        let Some(region) = self.regions.remove(&slot) else { return };
        self.statistics.bytes -= region.bytes;
        let cache = vcpu.code_cache();
        for key in &region.blocks {
            let Some(block) = cache.get(key.start, key.mode_bits) else { continue };
            block.compiled.regions.borrow_mut().retain(|&other| other != slot);
            if block.compiled.function.get() == slot {
                block.compiled.function.set(0);
                block.compiled.heat.set(cache.heat_at(key.start));
            }
        }
        let Some(module) = self.modules.get_mut(&region.module) else { return };
        module.live -= 1;
        if module.live == 0
            && let Some(module) = self.modules.remove(&region.module)
        {
            self.host.remove(module.instance, module.first_slot, module.count);
            self.give_back(module.first_slot, module.count);
        }
    }
}

impl Key {
    fn of(block: &Block) -> Self {
        Self { start: block.start, mode_bits: block.mode_bits }
    }
}

impl CompiledCode for Engine {
    fn leave_function(&self) -> u32 {
        self.slots.leave
    }

    fn note_hot(&mut self, vcpu: &mut Vcpu, block: *const Block) {
        // SAFETY: the caller has just found the block in the cache, which frees none while it runs.
        let block = unsafe { &*block };
        if self.queue.is_empty() {
            self.queued_at = vcpu.instructions;
        }
        self.queue.push(Key::of(block));
        if self.queue.len() >= self.options.batch {
            self.compile_queue(vcpu);
        }
    }

    fn settle(&mut self, vcpu: &mut Vcpu) {
        if !self.queue.is_empty() && vcpu.instructions - self.queued_at >= self.options.patience {
            self.compile_queue(vcpu);
        }
    }

    fn run(&mut self, vcpu: &mut Vcpu, function: u32) -> CompiledExit {
        let before = vcpu.instructions;
        let rip = vcpu.reg(crate::ir::Reg::RIP);
        // SAFETY: the run loop took the place from a block of this engine, whose region is installed, and the vCPU
        // is not touched until the call returns.
        let rip = unsafe { self.host.call(function, (&raw mut *vcpu).cast(), rip) };
        let regions = &self.regions;
        let exit = abi::leave(vcpu, rip, |region| regions.get(&region).map(|region| &*region.sites));
        self.statistics.entries += 1;
        self.statistics.instructions += vcpu.instructions - before;
        match exit {
            CompiledExit::Continue => self.statistics.exits_to_dispatch += 1,
            CompiledExit::Look => self.statistics.exits_to_look += 1,
            CompiledExit::Raised(_) => self.statistics.exits_by_exception += 1,
        }
        exit
    }

    fn drop_regions(&mut self, vcpu: &mut Vcpu, regions: &[u32]) {
        for &slot in regions {
            self.drop_region(vcpu, slot);
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
