//! The guest's side of the tests.

mod driver;
mod hal;
mod platform;
mod raw;

pub use driver::RegisterTransport;
pub use hal::GuestPages;
pub use platform::Platform;
pub use raw::{Buffer, RawDriver};
