//! A certificate authority that lives as long as its machine, and the certificates that it makes of itself for the names
//! that the guest asks for.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{ServerConfig, ServerConnection};
use time::{Duration, OffsetDateTime};

use crate::{Session, TlsError};

/// What the guest calls whom it trusts.
const COMMON_NAME: &str = "dinghy, the emulator of this machine";
/// A machine does not run for longer; clients refuse certificates of servers that are valid for more than 398 days.
const VALID_DAYS: i64 = 397;
/// What the guest's clock may be behind.
const EARLY_DAYS: i64 = 2;
/// Names whose certificates are kept; with one more, all are made anew.
const MOST_NAMES: usize = 512;

/// A certificate authority with a key of its own (ECDSA, P-256), which never leaves it.
pub struct Authority {
    certificate: Certificate,
    certificates: Arc<Certificates>,
    server: Arc<ServerConfig>,
}

impl Authority {
    /// Makes an authority with a fresh key.
    ///
    /// # Errors
    /// If there are no random numbers, or the clock shows no date.
    pub fn new() -> Result<Self, TlsError> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, COMMON_NAME);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_dates(&mut parameters)?;
        let certificate = parameters.self_signed(&key)?;
        let server_key = KeyPair::generate()?;
        let encoded = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(server_key.serialize_der()));
        let certificates = Arc::new(Certificates {
            issuer: Issuer::new(parameters, key),
            signer: ring::sign::any_supported_type(&encoded)?,
            key: server_key,
            made: Mutex::default(),
        });
        let provider = Arc::new(ring::default_provider());
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&certificates) as _);
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { certificate, certificates, server: Arc::new(server) })
    }

    /// The authority's own certificate, in PEM: who has it among those that it trusts, trusts the servers' certificates.
    pub fn certificate(&self) -> String {
        self.certificate.pem()
    }

    /// The server's end of a connection to `address`. The client says by SNI (RFC 6066 3) for which name the certificate is
    /// to be; without, it is for the address.
    ///
    /// # Errors
    /// If a certificate for the address cannot be made.
    pub fn accept(&self, address: IpAddr) -> Result<Session, TlsError> {
        let named = Arc::clone(&self.certificates);
        let mut configuration = ServerConfig::clone(&self.server);
        configuration.cert_resolver =
            Arc::new(ForAddress { unnamed: named.for_name(Name::Address(address))?, named });
        Ok(Session::new(ServerConnection::new(Arc::new(configuration))?.into()))
    }
}

/// Whom a certificate is for.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Name {
    Dns(String),
    Address(IpAddr),
}

/// The servers' certificates, all with one key: it stays in this memory, as the authority's does.
struct Certificates {
    issuer: Issuer<'static, KeyPair>,
    key: KeyPair,
    signer: Arc<dyn SigningKey>,
    made: Mutex<HashMap<Name, Arc<CertifiedKey>>>,
}

impl Certificates {
    fn for_name(&self, name: Name) -> Result<Arc<CertifiedKey>, TlsError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(certificate) = made.get(&name) {
            return Ok(Arc::clone(certificate));
        }
        let certificate = self.sign(&name)?;
        if made.len() >= MOST_NAMES {
            made.clear();
        }
        made.insert(name, Arc::clone(&certificate));
        Ok(certificate)
    }

    fn sign(&self, name: &Name) -> Result<Arc<CertifiedKey>, TlsError> {
        let mut parameters = CertificateParams::default();
        let alternative = match name {
            Name::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
            Name::Address(address) => SanType::IpAddress(*address),
        };
        // The name stands in the alternative names alone, where clients look: common names end at 64 characters.
        parameters.distinguished_name.push(DnType::CommonName, "a server, as dinghy's page has asked it");
        parameters.subject_alt_names = vec![alternative];
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        parameters.use_authority_key_identifier_extension = true;
        set_dates(&mut parameters)?;
        let certificate = parameters.signed_by(&self.key, &self.issuer)?;
        Ok(Arc::new(CertifiedKey::new(vec![certificate.der().clone()], Arc::clone(&self.signer))))
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Certificates")
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.for_name(Name::Dns(hello.server_name()?.to_ascii_lowercase())).ok()
    }
}

/// The certificates of one connection.
#[derive(Debug)]
struct ForAddress {
    named: Arc<Certificates>,
    unnamed: Arc<CertifiedKey>,
}

impl ResolvesServerCert for ForAddress {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match hello.server_name() {
            Some(_) => self.named.resolve(hello),
            None => Some(Arc::clone(&self.unnamed)),
        }
    }
}

fn set_dates(parameters: &mut CertificateParams) -> Result<(), TlsError> {
    let seconds = i64::try_from(UnixTime::now().as_secs()).map_err(|_| TlsError::Clock)?;
    let now = OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| TlsError::Clock)?;
    parameters.not_before = now.checked_sub(Duration::days(EARLY_DAYS)).ok_or(TlsError::Clock)?;
    parameters.not_after = now.checked_add(Duration::days(VALID_DAYS - EARLY_DAYS)).ok_or(TlsError::Clock)?;
    Ok(())
}
