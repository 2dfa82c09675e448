//! The engine that runs generated WebAssembly.

/// A function of ours that generated code calls through the table. All but [`Divide`](Self::Divide) take the address
/// of the vCPU first.
#[derive(Clone, Copy, Debug)]
pub enum HelperFunction {
    /// The shape of compiled regions: nesting depth, RIP; returns the RIP to go on at.
    Region(extern "C" fn(*mut u8, u32, u64) -> u64),
    /// An operation as two halves; returns 0 to go on.
    Call(extern "C" fn(*mut u8, u64, u64) -> u32),
    /// RIP as a region returned it, and the RIP that is waited for; returns the RIP to go on at.
    Interpret(extern "C" fn(*mut u8, u64, u64) -> u64),
    /// A condition's number; returns 1 when it holds.
    Condition(extern "C" fn(*mut u8, u32) -> u32),
    /// The halves of a dividend, the low one first, and a divisor above the high half; returns the quotient.
    Divide(extern "C" fn(u64, u64, u64) -> u64),
}

/// Which relaxed SIMD instructions do, on this host, what those of x86 do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelaxedSimd {
    /// `madd` and `nmadd` round once.
    pub fuses: bool,
    /// `swizzle` takes the lower four bits of a place, or gives zero if its highest is set.
    pub swizzles: bool,
    /// `laneselect` looks at a lane's highest bit.
    pub selects: bool,
}

impl RelaxedSimd {
    /// From what the probe's functions, in the order of [`PROBES`](Self::PROBES), return.
    pub fn from_probes([fuses, swizzles, selects]: [bool; 3]) -> Self {
        Self { fuses, swizzles, selects }
    }

    /// The names of the probe's functions: each returns 1 for yes.
    pub const PROBES: [&str; 3] = ["fuses", "swizzles", "selects"];
}

/// Why a module could not be installed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the host refused generated code: {0}")]
pub struct CodeError(pub String);

/// An installed module, by the host's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeInstance(pub u32);

/// Compiles and runs generated modules.
///
/// A module imports from `e`: memory `m`, table `t` (of functions) and the constant global `s`, the table's place
/// of its first function. It puts its functions into the table itself.
pub trait CodeHost: Send {
    /// Whether the memory is shared between threads.
    fn has_shared_memory(&self) -> bool;

    /// Which of WebAssembly's relaxed SIMD instructions do what the guest's do, as the module of
    /// [`relaxed_probe`](crate::jit::relaxed_probe) has told.
    fn relaxed_simd(&self) -> RelaxedSimd;

    /// The place in the table of a function of ours.
    ///
    /// # Errors
    /// When the table cannot take it.
    fn helper(&mut self, function: HelperFunction) -> Result<u32, CodeError>;

    /// Makes room in the table for `count` more functions; returns the first place.
    ///
    /// # Errors
    /// When the table cannot grow.
    fn grow(&mut self, count: u32) -> Result<u32, CodeError>;

    /// Compiles a module and puts it in place.
    ///
    /// # Errors
    /// When the host refuses it: out of memory, or an invalid module, which would be a mistake of the generator.
    fn install(&mut self, module: &[u8], first_slot: u32) -> Result<CodeInstance, CodeError>;

    /// Lets go of a module and clears `count` places in the table from `first_slot` on.
    fn remove(&mut self, instance: CodeInstance, first_slot: u32, count: u32);

    /// Called now and then while no generated code runs: the host may move what it keeps.
    fn settle(&mut self);

    /// Seconds since some moment, for statistics.
    fn seconds(&self) -> f64;

    /// Calls a region: the RIP to go on at.
    ///
    /// # Safety
    /// `function` is the place of an installed region, and `vcpu` the address of the vCPU it is made for, which
    /// nobody else uses during the call.
    unsafe fn call(&mut self, function: u32, vcpu: *mut u8, rip: u64) -> u64;
}
