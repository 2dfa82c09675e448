//! The server as a client sees it, message by message.

mod client;
mod entries;
mod extended;
mod files;
mod hostile;
mod locks;
mod pending;
mod saved;
mod session;
