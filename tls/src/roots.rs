//! The client's end: whom it trusts.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::{Session, TlsError};

/// Opens connections to servers whose certificates lead to a root that is trusted: one of Mozilla's, or one of the user's.
pub struct Client {
    configuration: Arc<ClientConfig>,
}

impl Client {
    /// A client that trusts Mozilla's roots, and those in `more`: certificates in PEM, or nothing.
    ///
    /// # Errors
    /// If `more` is not empty and no certificates in PEM.
    pub fn new(more: &str) -> Result<Self, TlsError> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let known = roots.len();
        for certificate in CertificateDer::pem_slice_iter(more.as_bytes()) {
            roots.add(certificate.map_err(|error| TlsError::Pem(error.to_string()))?)?;
        }
        if roots.len() == known && !more.trim().is_empty() {
            return Err(TlsError::Pem("there is none in the text".to_owned()));
        }
        let mut configuration = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        configuration.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { configuration: Arc::new(configuration) })
    }

    /// The client's end of a connection to the server with this name or address.
    ///
    /// # Errors
    /// If it is neither.
    pub fn connect(&self, host: &str) -> Result<Session, TlsError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Name(host.to_owned()))?;
        Ok(Session::new(ClientConnection::new(Arc::clone(&self.configuration), name)?.into()))
    }
}
