//! One TLS connection, as bytes in and bytes out.

use std::io::Read;
use std::io::Write;

use rustls::Connection;

use crate::TlsError;

/// One end of a connection. After each call, [`Session::wire`] has what is to be sent to the other end.
pub struct Session {
    connection: Connection,
    has_ended: bool,
}

impl Session {
    pub(crate) fn new(mut connection: Connection) -> Self {
        // Whoever writes waits for the connection below; what this holds besides is taken at once.
        connection.set_buffer_limit(None);
        Self { connection, has_ended: false }
    }

    /// Takes bytes from the other end and returns what they say, in plain. What comes after the other end's stream has
    /// ended is not looked at.
    ///
    /// # Errors
    /// If the other end breaks the protocol or is not who it should be; [`Session::wire`] then tells it so.
    pub fn receive(&mut self, mut bytes: &[u8]) -> Result<Vec<u8>, TlsError> {
        let mut plain = Vec::new();
        while !bytes.is_empty() && !self.has_ended {
            self.connection.read_tls(&mut bytes)?;
            let state = self.connection.process_new_packets()?;
            let start = plain.len();
            plain.resize(start + state.plaintext_bytes_to_read(), 0);
            self.connection.reader().read_exact(&mut plain[start..])?;
            self.has_ended = state.peer_has_closed();
        }
        Ok(plain)
    }

    /// Sends bytes to the other end, as soon as the handshake is through.
    ///
    /// # Errors
    /// If the connection takes none any more.
    pub fn send(&mut self, plain: &[u8]) -> Result<(), TlsError> {
        Ok(self.connection.writer().write_all(plain)?)
    }

    /// Ends the stream to the other end.
    pub fn finish(&mut self) {
        self.connection.send_close_notify();
    }

    /// The bytes for the other end.
    ///
    /// # Errors
    /// If they cannot be copied out.
    pub fn wire(&mut self) -> Result<Vec<u8>, TlsError> {
        let mut bytes = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut bytes)?;
        }
        Ok(bytes)
    }

    /// Whether the two ends still agree on keys.
    pub fn is_shaking_hands(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether the other end has ended its stream: a connection that ends without was cut off.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// The name that the client asked for, in lower case; nothing for the client's own end, before its first message,
    /// and if it named none.
    pub fn server_name(&self) -> Option<String> {
        match &self.connection {
            Connection::Server(server) => server.server_name().map(str::to_ascii_lowercase),
            Connection::Client(_) => None,
        }
    }
}
