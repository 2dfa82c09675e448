//! How a device says what a snapshot keeps of it.

/// Declares the state of a device: the fields that are copied out and in again, by their names.
///
/// `restore` takes the values as they are; what a damaged snapshot could do harm with is put right in
/// the device's own `fn put_right(&mut self)`, which is called at the end.
macro_rules! saved_fields {
    ($(#[$about:meta])* $state:ident of $device:ty { $($field:ident: $kind:ty),* $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
        pub struct $state {
            $($field: $kind),*
        }

        impl $device {
            /// The device, to be saved.
            pub fn state(&self) -> $state {
                $state { $($field: self.$field.clone()),* }
            }

            /// Puts a saved device back.
            pub fn restore(&mut self, state: $state) {
                $(self.$field = state.$field;)*
                self.put_right();
            }
        }
    };
}

pub(crate) use saved_fields;
