//! What is compiled: the queue of hot blocks, the installed modules and regions, and the way into them.

use super::abi::Slots;
use super::emit::{self, Function, UNWIND, types};
use super::installed::{Installed, Regions};
use super::module;
use super::region::Region;
use crate::cpu::{Block, BlockStart, CompiledCode, CompiledExit, NEVER_HOT, Numbers, Vcpu};
use crate::host::{CodeError, CodeHost, CodeInstance, RelaxedSimd};
use std::any::Any;
use std::collections::{HashMap, HashSet};

/// When blocks are compiled.
#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// Executions after which a block is compiled.
    pub threshold: i32,
    /// Hot blocks that are compiled together.
    pub batch: usize,
    /// Instructions after which a smaller batch is compiled too.
    pub patience: u64,
    /// Bytes of functions that are kept. The host's compilers make some five times as much of them.
    pub most_bytes: u64,
    /// Whether functions carry names that tell a profiler what guest code they are.
    pub has_names: bool,
    /// What floating-point code is compiled for at once, not only when it has met many.
    pub numbers: Numbers,
    /// Whether the host's relaxed SIMD instructions serve where they do what the guest's do.
    pub has_relaxed_simd: bool,
}

/// [`EngineOptions::most_bytes`] of machines: Docker's start and two `docker run` come to 9 MiB. Ten minutes of
/// different programs (`e2e/curves.test.mjs`) came to 31 MB and were still growing.
const MOST_BYTES: u64 = 24 << 20;

impl EngineOptions {
    /// For speed. The yardstick's shell programs, cold and warm: with 300, 1,000, 3,000 executions 16.8 s, 14.7 s, 16.2 s.
    /// Docker's start and two `docker run` in node, where hardly anything runs often: 17.9 s with 1,000, 17.1 s with 3,000. With batches of 64 after 2 million instructions at the
    /// latest, installing modules took 5.3 % of that time; of 128 after 10 million, 2.3 %. Later, with 4,000 in place of 2,000
    /// Docker's start took a tenth less and `sh_10k` and `sort_50k`, cold, a fifth more; with 1,000 it was the other way round.
    pub const AUTO: Self = Self {
        threshold: 2_000,
        batch: 128,
        patience: 4_000_000,
        most_bytes: MOST_BYTES,
        has_names: false,
        numbers: Numbers::Normal,
        has_relaxed_simd: true,
    };
    /// Everything is compiled when it is first seen: for tests.
    pub const AT_FIRST_SIGHT: Self = Self { threshold: 0, batch: 1, patience: 0, ..Self::AUTO };
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
    /// Regions dropped so far because there were too many.
    pub regions_evicted: u64,
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
    /// Ways out on behalf of a call that waited for the interpreter.
    pub resumptions: u64,
    /// Ways out to code that is not compiled.
    pub exits_to_dispatch: u64,
    /// Ways out because something may have changed.
    pub exits_to_look: u64,
    /// Ways out by an exception.
    pub exits_by_exception: u64,
    /// Ways out to the interpreter for an access that the TLB does not serve.
    pub exits_to_resume: u64,
}

/// A region that is emitted, but in no module so far.
struct Emitted {
    key: BlockStart,
    blocks: Box<[BlockStart]>,
    function: Function,
    name: String,
}

struct InstalledModule {
    instance: CodeInstance,
    first_slot: u32,
    count: u32,
    live: u32,
    /// How often its functions were packed anew.
    generation: u32,
}

/// Modules of a generation that are packed into one of the next. Calls between modules cost more than within one (a
/// shell's loop runs 20 % longer when nothing is packed), but what is packed anew begins in the engine's baseline
/// compiler again. The yardstick in node, cold and warm, packing 8 and then 32: 0.247; 64 and then 16: 0.218; nothing:
/// 0.228.
const fn fanout(generation: u32) -> usize {
    if generation == 0 { 64 } else { 16 }
}

/// The engine that compiles hot blocks.
pub struct Engine {
    host: Box<dyn CodeHost>,
    slots: Slots,
    /// The relaxed SIMD instructions that generated code uses.
    relaxed: RelaxedSimd,
    options: EngineOptions,
    queue: Vec<BlockStart>,
    /// Whether something waits to be compiled, since `queued_at`.
    is_waiting: bool,
    queued_at: u64,
    regions: Box<Regions>,
    modules: HashMap<u32, InstalledModule>,
    next_module: u32,
    /// Places in the table that no module uses: first and count.
    free: Vec<(u32, u32)>,
    /// Whether the host has refused a module: it would refuse the next, and all work for it is lost.
    is_refused: bool,
    statistics: EngineStatistics,
}

impl Engine {
    /// An engine that has compiled nothing yet.
    ///
    /// # Errors
    /// When the host refuses generated code.
    pub fn new(mut host: Box<dyn CodeHost>, options: EngineOptions) -> Result<Self, CodeError> {
        let slots = Slots::new(&mut *host)?;
        let relaxed = if options.has_relaxed_simd { host.relaxed_simd() } else { RelaxedSimd::default() };
        Ok(Self {
            host,
            slots,
            relaxed,
            options,
            queue: Vec::new(),
            is_waiting: false,
            queued_at: 0,
            regions: Box::default(),
            modules: HashMap::new(),
            next_module: 0,
            free: Vec::new(),
            is_refused: false,
            statistics: EngineStatistics::default(),
        })
    }

    /// Executions after which blocks are noted as hot.
    pub fn threshold(&self) -> i32 {
        self.options.threshold
    }

    /// What the engine has done.
    pub fn statistics(&self) -> EngineStatistics {
        EngineStatistics {
            modules: self.modules.len() as u64,
            regions: self.regions.installed.len() as u64,
            resumptions: self.regions.resumptions,
            ..self.statistics
        }
    }

    fn compile_queue(&mut self, vcpu: &mut Vcpu) {
        let begun = self.host.seconds();
        self.is_waiting = false;
        let outgrown = std::mem::take(&mut self.regions.outgrown);
        for &slot in &outgrown {
            if let Some(region) = self.regions.installed.get(&slot) {
                let entry = region.blocks.first().copied();
                self.queue.extend(entry);
                self.drop_region(vcpu, slot);
                // It stays a block that has run often, for the regions of its neighbours.
                let cache = vcpu.code_cache();
                if let Some(block) = entry.and_then(|entry| cache.get(entry.address, entry.mode_bits)) {
                    block.compiled.heat.set(NEVER_HOT);
                }
            }
        }
        let mut emitted: Vec<Emitted> = Vec::new();
        let mut covered: HashSet<BlockStart> = HashSet::new();
        for key in std::mem::take(&mut self.queue) {
            let cache = vcpu.code_cache();
            let Some(block) = cache.get(key.address, key.mode_bits) else { continue };
            if block.compiled.function.get() != 0 {
                continue;
            }
            // What runs one after the other gets hot one after the other. A function of its own is for what goes on
            // being entered when the region before it is compiled: without that, each block was compiled five times.
            if covered.contains(&key) {
                continue;
            }
            let region = Region::discover(cache, block);
            if self.options.numbers != Numbers::Normal {
                let numbers = self.options.numbers;
                region.nodes.iter().for_each(|node| node.block.compiled.numbers.set(numbers));
            }
            let function = emit::function(&region, &self.slots, self.relaxed);
            let blocks: Box<[BlockStart]> = region.nodes.iter().map(|node| start_of(node.block)).collect();
            covered.extend(blocks.iter().copied());
            let instructions: u64 = region.nodes.iter().map(|node| node.block.instruction_count()).sum();
            self.statistics.instructions_compiled += instructions;
            let name = match self.options.has_names {
                true => name(cache.jumps.address_of(block), block, instructions, function.body.len()),
                false => String::new(),
            };
            emitted.push(Emitted { key, blocks, function, name });
        }
        if !emitted.is_empty() {
            self.install(vcpu, emitted);
            self.merge(vcpu);
            self.evict(vcpu);
        }
        self.statistics.compile_seconds += self.host.seconds() - begun;
    }

    fn install(&mut self, vcpu: &mut Vcpu, emitted: Vec<Emitted>) {
        let mut installed = Vec::with_capacity(emitted.len());
        for Emitted { key, blocks, function, name } in emitted {
            if let Some(block) = vcpu.code_cache().get(key.address, key.mode_bits) {
                block.compiled.needs.set(function.needs);
            }
            let Function { body, number_at, sites, .. } = function;
            self.statistics.bytes += body.len() as u64;
            let (sites, body) = (sites.into(), body.into());
            let seen_at = vcpu.instructions;
            installed.push(Installed { blocks, sites, module: 0, body, number_at, seen_at, name });
        }
        self.statistics.regions_compiled += installed.len() as u64;
        if let Some(regions) = self.pack(vcpu, installed, 0) {
            // Their blocks are interpreted.
            for region in regions {
                self.statistics.bytes -= region.body.len() as u64;
            }
        }
    }

    /// Installs regions as one module. Gives them back when the host refuses it.
    fn pack(
        &mut self,
        vcpu: &mut Vcpu,
        mut regions: Vec<Installed>,
        generation: u32,
    ) -> Option<Vec<Installed>> {
        let count = regions.len() as u32;
        let Some(first_slot) = self.take_slots(count) else { return Some(regions) };
        for (number, region) in (0..).zip(&mut regions) {
            let bytes = emit::Number(number).bytes();
            if let Some(place) = region.body.get_mut(region.number_at..region.number_at + bytes.len()) {
                place.copy_from_slice(&bytes);
            }
        }
        let functions = regions.iter().map(|region| (&*region.body, &*region.name));
        let bytes = module::encode(functions, types::REGION, self.host.has_shared_memory());
        let instance = match self.host.install(&bytes, first_slot) {
            Ok(instance) => instance,
            Err(error) => {
                log::error!("{error}: from now on, new hot code is interpreted");
                self.is_refused = true;
                self.give_back(first_slot, count);
                return Some(regions);
            }
        };
        let module = self.next_module;
        self.next_module += 1;
        self.modules.insert(module, InstalledModule { instance, first_slot, count, live: count, generation });
        self.statistics.modules_compiled += 1;
        self.statistics.bytes_compiled += bytes.len() as u64;
        let cache = vcpu.code_cache();
        for (slot, region) in (first_slot..).zip(regions) {
            for (place, key) in region.blocks.iter().enumerate() {
                let Some(block) = cache.get(key.address, key.mode_bits) else { continue };
                block.compiled.regions.borrow_mut().push(slot);
                if place == 0 {
                    block.compiled.function.set(slot);
                    block.compiled.heat.set(0);
                } else if generation == 0 && block.compiled.function.get() == 0 {
                    block.compiled.cool(cache.heat_at(key.address));
                }
            }
            self.regions.installed.insert(slot, Installed { module, ..region });
        }
        None
    }

    /// Packs the modules of a generation into one when there are enough of them.
    fn merge(&mut self, vcpu: &mut Vcpu) {
        for generation in 0.. {
            let members: Vec<u32> = self
                .modules
                .iter()
                .filter(|(_, module)| module.generation == generation)
                .map(|(&number, _)| number)
                .collect();
            if members.is_empty() && generation > 0 {
                return;
            }
            if members.len() < fanout(generation) {
                continue;
            }
            self.repack(vcpu, &members, generation + 1);
        }
    }

    /// Packs the regions that are left of modules into one module.
    fn repack(&mut self, vcpu: &mut Vcpu, members: &[u32], generation: u32) {
        let mut slots: Vec<u32> = self
            .regions
            .installed
            .iter()
            .filter(|(_, region)| members.contains(&region.module))
            .map(|(&slot, _)| slot)
            .collect();
        // Neighbours in memory belong together.
        slots.sort_by_key(|slot| {
            self.regions.installed.get(slot).and_then(|region| region.blocks.first()).map(|key| key.address)
        });
        let regions: Vec<Installed> =
            slots.iter().filter_map(|slot| self.regions.installed.remove(slot)).collect();
        for (slot, region) in slots.iter().zip(&regions) {
            self.unlink(vcpu, *slot, region);
        }
        let first = self.next_module;
        match self.pack(vcpu, regions, generation) {
            None => {
                let place = self.modules.get(&first).map_or(0, |module| module.first_slot);
                let moved: HashMap<u32, u32> = slots.iter().copied().zip(place..).collect();
                vcpu.move_functions(|function| moved.get(&function).copied());
                self.regions.outgrown =
                    self.regions.outgrown.iter().filter_map(|slot| moved.get(slot).copied()).collect();
            }
            Some(refused) => {
                let leave = self.slots.leave;
                vcpu.move_functions(|function| slots.contains(&function).then_some(leave));
                self.regions.outgrown.clear();
                for region in refused {
                    self.statistics.bytes -= region.body.len() as u64;
                }
            }
        }
        for &number in members {
            self.remove_module(number);
        }
    }

    /// Drops the regions that were not seen for longest when there are too many, and packs anew what is left of their
    /// modules.
    fn evict(&mut self, vcpu: &mut Vcpu) {
        if self.statistics.bytes <= self.options.most_bytes {
            return;
        }
        let seen = |(&slot, region): (&u32, &Installed)| (region.seen_at, slot);
        let mut by_age: Vec<(u64, u32)> = self.regions.installed.iter().map(seen).collect();
        by_age.sort_unstable();
        for (_, slot) in by_age {
            if self.statistics.bytes <= self.options.most_bytes / 4 * 3 {
                break;
            }
            self.drop_region(vcpu, slot);
            self.statistics.regions_evicted += 1;
        }
        let is_thin = |module: &InstalledModule| module.live < module.count / 2;
        let thin: Vec<(u32, u32)> = self
            .modules
            .iter()
            .filter(|(_, module)| is_thin(module))
            .map(|(&number, module)| (number, module.generation))
            .collect();
        for (number, generation) in thin {
            self.repack(vcpu, &[number], generation);
        }
    }

    fn remove_module(&mut self, number: u32) {
        if let Some(module) = self.modules.remove(&number) {
            self.host.remove(module.instance, module.first_slot, module.count);
            self.give_back(module.first_slot, module.count);
        }
    }

    /// Takes a region out of its blocks.
    fn unlink(&self, vcpu: &Vcpu, slot: u32, region: &Installed) {
        let cache = vcpu.code_cache();
        for key in &region.blocks {
            let Some(block) = cache.get(key.address, key.mode_bits) else { continue };
            block.compiled.regions.borrow_mut().retain(|&other| other != slot);
            if block.compiled.function.get() == slot {
                block.compiled.function.set(0);
                block.compiled.cool(cache.heat_at(key.address));
            }
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
        while let Some(place) =
            self.free.iter().position(|&(other, free)| other + free == first || first + count == other)
        {
            let (other, free) = self.free.swap_remove(place);
            first = first.min(other);
            count += free;
        }
        self.free.push((first, count));
    }

    fn drop_region(&mut self, vcpu: &mut Vcpu, slot: u32) {
        let Some(region) = self.regions.installed.remove(&slot) else { return };
        self.statistics.bytes -= region.body.len() as u64;
        self.unlink(vcpu, slot, &region);
        if let Some(&entry) = region.blocks.first() {
            vcpu.forget_function(entry);
        }
        self.regions.outgrown.retain(|&other| other != slot);
        let Some(module) = self.modules.get_mut(&region.module) else { return };
        module.live -= 1;
        if module.live == 0 {
            self.remove_module(region.module);
        }
    }
}

/// What `--profile` reads: where the region's entry lies in the guest, its instructions, and its bytes of wasm.
fn name(address: Option<u64>, block: &Block, instructions: u64, bytes: usize) -> String {
    let (space, address) = address.map_or(("physical", block.start.0), |address| ("linear", address));
    format!("guest {space} {address:#x} {instructions} {bytes}")
}

fn start_of(block: &Block) -> BlockStart {
    BlockStart { address: block.start, mode_bits: block.mode_bits }
}

impl CompiledCode for Engine {
    fn leave_function(&self) -> u32 {
        self.slots.leave
    }

    fn note_hot(&mut self, vcpu: &mut Vcpu, block: BlockStart) {
        if self.is_refused {
            return;
        }
        if !self.is_waiting {
            self.is_waiting = true;
            self.queued_at = vcpu.instructions;
        }
        self.queue.push(block);
        if self.queue.len() >= self.options.batch {
            self.compile_queue(vcpu);
        }
    }

    fn settle(&mut self, vcpu: &mut Vcpu) {
        self.host.settle();
        if self.is_refused {
            return;
        }
        if !self.is_waiting && !self.regions.outgrown.is_empty() {
            self.is_waiting = true;
            self.queued_at = vcpu.instructions;
        }
        if self.is_waiting && vcpu.instructions - self.queued_at >= self.options.patience {
            self.compile_queue(vcpu);
        }
    }

    fn run(&mut self, vcpu: &mut Vcpu, function: u32) -> CompiledExit {
        let before = vcpu.instructions;
        vcpu.linkage.interpreted = 0;
        if let Some(region) = self.regions.installed.get_mut(&function) {
            region.seen_at = before;
        }
        let rip = vcpu.reg(crate::ir::Reg::RIP);
        vcpu.linkage.regions = (&raw mut *self.regions).expose_provenance();
        // SAFETY: the run loop took the place from a block of this engine, whose region is installed, and the vCPU
        // is not touched until the call returns.
        let rip = unsafe { self.host.call(function, (&raw mut *vcpu).cast(), rip) };
        let exit = match vcpu.linkage.unwinding.take() {
            Some(exit) if rip == UNWIND as u64 => exit,
            _ => self.regions.leave(vcpu, rip),
        };
        self.statistics.entries += 1;
        let retired = vcpu.instructions.wrapping_sub(before);
        let compiled = retired.wrapping_sub(vcpu.linkage.interpreted);
        self.statistics.instructions = self.statistics.instructions.wrapping_add(compiled);
        match exit {
            CompiledExit::Continue => self.statistics.exits_to_dispatch += 1,
            CompiledExit::Look => self.statistics.exits_to_look += 1,
            CompiledExit::Raised(_) => self.statistics.exits_by_exception += 1,
            CompiledExit::Resume { .. } => self.statistics.exits_to_resume += 1,
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
