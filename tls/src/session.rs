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

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use crate::{Authority, Client, Session, TlsError};

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));

    /// Lets two ends talk until neither has anything to say. Returns what the server and the client have heard.
    fn talk(server: &mut Session, client: &mut Session) -> Result<(Vec<u8>, Vec<u8>), TlsError> {
        let (mut heard, mut answered) = (Vec::new(), Vec::new());
        loop {
            let (question, answer) = (client.wire()?, server.wire()?);
            if question.is_empty() && answer.is_empty() {
                return Ok((heard, answered));
            }
            heard.extend(server.receive(&question)?);
            answered.extend(client.receive(&answer)?);
        }
    }

    #[test]
    fn two_ends_agree_and_understand_each_other() {
        let authority = Authority::new().unwrap();
        let client = Client::new(&authority.certificate()).unwrap();
        for (host, name) in [("Example.org", Some("example.org")), ("198.18.0.1", None)] {
            let (mut server, mut client) =
                (authority.accept(ADDRESS).unwrap(), client.connect(host).unwrap());
            client.send(b"early").unwrap();
            assert_eq!(talk(&mut server, &mut client).unwrap(), (b"early".to_vec(), Vec::new()));
            assert!(!server.is_shaking_hands() && !client.is_shaking_hands());
            assert_eq!(server.server_name().as_deref(), name);
            let big = vec![7; 1_000_000];
            server.send(&big).unwrap();
            server.finish();
            assert_eq!(talk(&mut server, &mut client).unwrap(), (Vec::new(), big));
            assert!(client.has_ended() && !server.has_ended());
        }
    }

    #[test]
    fn a_client_that_does_not_trust_the_authority_says_so() {
        let (authority, other) = (Authority::new().unwrap(), Authority::new().unwrap());
        for (roots, host) in [(String::new(), "example.org"), (other.certificate(), "example.org")] {
            let (mut server, mut client) =
                (authority.accept(ADDRESS).unwrap(), Client::new(&roots).unwrap().connect(host).unwrap());
            let failure = talk(&mut server, &mut client).unwrap_err();
            assert!(matches!(failure, TlsError::Protocol(rustls::Error::InvalidCertificate(_))), "{failure}");
            let alert = server.receive(&client.wire().unwrap()).unwrap_err();
            assert!(matches!(alert, TlsError::Protocol(rustls::Error::AlertReceived(_))), "{alert}");
        }
    }

    #[test]
    fn hostile_bytes_are_errors() {
        let authority = Authority::new().unwrap();
        let mut hello = Client::new("").unwrap().connect("example.org").unwrap().wire().unwrap();
        let mut errors = 0;
        for at in 0..hello.len() {
            hello[at] ^= 0x55;
            let mut server = authority.accept(ADDRESS).unwrap();
            // Some changes are none to the protocol, as in what is random.
            if server.receive(&hello).is_err() {
                errors += 1;
            }
            assert!(server.is_shaking_hands());
            server.wire().unwrap();
            hello[at] ^= 0x55;
        }
        assert!(errors > 10, "{errors}");
        assert!(authority.accept(ADDRESS).unwrap().receive(b"GET / HTTP/1.1\r\n\r\n").is_err());
    }

    #[test]
    fn names_and_roots_are_checked() {
        assert!(matches!(Client::new("no certificate"), Err(TlsError::Pem(_))));
        assert!(matches!(Client::new("").unwrap().connect("not a name"), Err(TlsError::Name(_))));
    }
}
