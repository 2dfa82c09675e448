//! JavaScript values in places that ask for `Send`.

/// A value that stays in the worker that made it.
pub struct Local<T>(T);

// SAFETY: a machine and all that it is made of live in the worker that made them: the exported machine is
// no `Send` type to JavaScript, whose other workers reach it through a port only, which holds no `Local`.
unsafe impl<T> Send for Local<T> {}

impl<T> Local<T> {
    /// Keeps `value` in this worker.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, in the worker that made it.
    pub fn get(&self) -> &T {
        &self.0
    }
}
