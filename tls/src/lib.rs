//! TLS for dinghy where a page carries the guest's connections: a certificate authority that is made in the tab, the
//! server's end of what the guest opens, and the client's end of what goes out over a relay.
//!
//! The protocol is rustls with the cryptography of ring; certificates are made with rcgen. Nothing here does any input
//! or output: bytes go in, bytes come out ([`Session`]). It is a module of its own, which pages load only when somebody
//! wants HTTPS, and has its own memory: the emulator's does not hold a key.

mod authority;
mod roots;
mod session;
#[cfg(target_arch = "wasm32")]
mod web;

pub use authority::Authority;
pub use roots::Client;
pub use session::Session;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate cannot be made.
    #[error("a certificate cannot be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The other end breaks the protocol, or is not who it should be.
    #[error("{0}")]
    Protocol(#[from] rustls::Error),
    /// A server's name is neither a name nor an address.
    #[error("\"{0}\" is no name of a server")]
    Name(String),
    /// What should be certificates in PEM is not.
    #[error("no certificates in PEM: {0}")]
    Pem(String),
    /// The session's buffers refuse bytes.
    #[error("{0}")]
    Buffer(#[from] std::io::Error),
    /// The browser's clock shows no date that certificates can have.
    #[error("the clock shows no date that a certificate can have")]
    Clock,
}
