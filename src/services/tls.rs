//! TLS around an HTTP connection of the services, without sockets: octets of the peer go in, octets for the peer come out.
//!
//! The endpoint's certificate is issued at each start by the authority of the network, whose [`Root`] its hosts trust. A network
//! that is kept keeps its root, so that hosts that outlive a server trust the next one.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection};

use super::http::{Ended, HttpConnection, Speaker};

/// Octets of answers that wait to be encrypted and sent.
const WAITING: usize = 16_384;
/// Octets of the peer that are taken in at once: rustls holds one record of 16 KiB.
const RECORD: usize = 16_384;

/// The beginning of a certificate in PEM (RFC 7468 section 5.1).
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

/// Why a network has no authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A certificate was not made.
    #[error("a certificate cannot be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A certificate was made and does not serve.
    #[error("a certificate cannot be served: {0}")]
    Tls(#[from] rustls::Error),
    /// A root that was written down has no certificate.
    #[error("the root has no certificate")]
    NoCertificate,
}

/// The key of an authority, and the certificate that hosts trust.
pub struct Root {
    key: KeyPair,
    certificate: String,
}

impl Root {
    /// A root that no host knows yet.
    pub fn generate() -> Result<Self, AuthorityError> {
        let key = KeyPair::generate()?;
        let certificate = authority()?.self_signed(&key)?.pem();
        Ok(Self { key, certificate })
    }

    /// The root that was written as this text.
    pub fn read(text: &str) -> Result<Self, AuthorityError> {
        let (key, certificate) = text
            .find(CERTIFICATE)
            .map(|at| text.split_at(at))
            .ok_or(AuthorityError::NoCertificate)?;
        Ok(Self {
            key: KeyPair::from_pem(key)?,
            certificate: certificate.to_owned(),
        })
    }

    /// The key and the certificate in PEM. It is a secret.
    pub fn written(&self) -> String {
        self.key.serialize_pem() + &self.certificate
    }
}

/// A certificate that is valid for as long as anyone may ask: clocks of hosts may be years off on purpose (`clock_skew`).
fn valid(mut params: CertificateParams, name: &str) -> CertificateParams {
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, "localvpc");
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    params.not_after = rcgen::date_time_ymd(2099, 1, 1);
    params
}

/// What the certificate of a root says, the same each time: who issued a certificate is compared with it.
fn authority() -> Result<CertificateParams, AuthorityError> {
    let mut params = valid(CertificateParams::new(Vec::new())?, "localvpc authority of one network");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// The authority of a network, and the certificate of its endpoint.
#[derive(Clone)]
pub struct Authority {
    /// What hosts have to trust, in PEM.
    pub certificate: Arc<str>,
    config: Arc<ServerConfig>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

impl Authority {
    /// The authority of a root, with a certificate for these names.
    pub fn new(root: Root, names: &[String]) -> Result<Self, AuthorityError> {
        let issuer = Issuer::new(authority()?, root.key);
        let own_key = KeyPair::generate()?;
        let first = names.first().map_or("localvpc", String::as_str);
        let mut own = valid(CertificateParams::new(names.to_vec())?, first);
        own.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        own.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // Python's strict mode asks for it (RFC 5280 section 4.2.1.1).
        own.use_authority_key_identifier_extension = true;
        let certificate = own.signed_by(&own_key, &issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            certificate: root.certificate.into(),
            config: Arc::new(config),
        })
    }

    /// TLS around a connection; none if the library refuses its own configuration.
    pub(super) fn accept(&self, http: HttpConnection) -> Option<TlsConnection> {
        let mut tls = ServerConnection::new(Arc::clone(&self.config)).ok()?;
        tls.set_buffer_limit(Some(WAITING));
        Some(TlsConnection {
            tls,
            http,
            outbound: Vec::new(),
            failed: false,
            input_ended: false,
        })
    }
}

/// An HTTP connection inside of TLS.
pub(super) struct TlsConnection {
    tls: ServerConnection,
    http: HttpConnection,
    /// Records on their way to the peer.
    outbound: Vec<u8>,
    failed: bool,
    input_ended: bool,
}

impl TlsConnection {
    /// Hands what was decrypted to HTTP, as far as there is room.
    fn read(&mut self) {
        let mut buffer = [0; 1024];
        loop {
            let room = self.http.room().min(buffer.len());
            if room == 0 {
                return;
            }
            match self.tls.reader().read(&mut buffer[..room]) {
                // The peer has said that it sends no more.
                Ok(0) => {
                    self.http.end_input();
                    return;
                }
                Ok(length) => self.http.push(&buffer[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if self.input_ended {
                        self.http.end_input();
                    }
                    return;
                }
                Err(_) => {
                    self.failed = true;
                    return;
                }
            }
        }
    }

    fn write(&mut self) {
        let writer = &mut self.tls;
        self.http
            .drain(|octets: &[u8]| writer.writer().write(octets).unwrap_or(0));
        if self.http.ended().is_some() && self.http.is_drained() {
            self.tls.send_close_notify();
        }
        while self.tls.wants_write() && self.outbound.len() < WAITING {
            // Writing to memory does not fail.
            if self.tls.write_tls(&mut self.outbound).is_err() {
                return;
            }
        }
    }
}

impl Speaker for TlsConnection {
    fn room(&self) -> usize {
        match self.failed || self.http.room() == 0 {
            true => 0,
            false => RECORD,
        }
    }

    fn push(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() && !self.failed {
            match self.tls.read_tls(&mut octets) {
                Ok(0) => return,
                // An alert, which tells the peer what was wrong, is on its way already.
                Ok(_) => self.failed |= self.tls.process_new_packets().is_err(),
                Err(_) => self.failed = true,
            }
            // Plaintext that waits keeps rustls from taking more.
            self.read();
        }
    }

    fn end_input(&mut self) {
        self.input_ended = true;
    }

    fn run(&mut self) {
        if !self.failed {
            self.read();
            self.http.run();
        }
        self.write();
    }

    fn drain(&mut self, send: &mut dyn FnMut(&[u8]) -> usize) -> usize {
        let sent = send(&self.outbound);
        self.outbound.drain(..sent);
        sent
    }

    fn is_drained(&self) -> bool {
        self.outbound.is_empty() && !self.tls.wants_write() && (self.failed || self.http.is_drained())
    }

    fn ended(&self) -> Option<Ended> {
        match self.failed {
            true => Some(Ended::Malformed),
            false => self.http.ended(),
        }
    }

    fn answered(&self) -> u64 {
        self.http.answered()
    }

    fn due(&self) -> Option<Duration> {
        self.http.due()
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::super::imds::Asker;
    use super::*;
    use crate::mapping::InterfaceIndex;

    fn names() -> Vec<String> {
        ["ec2.us-east-1.amazonaws.com".to_owned()].into()
    }

    fn client(authority: &Authority, name: &str) -> ClientConnection {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject;
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(authority.certificate.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        ClientConnection::new(Arc::new(config), ServerName::try_from(name.to_owned()).unwrap()).unwrap()
    }

    fn server(authority: &Authority) -> TlsConnection {
        let router = Router::new().route("/", get(|| async { "x".repeat(100_000) }));
        let asker = Asker {
            interface: InterfaceIndex::from_number(1).unwrap(),
            to: "169.254.169.246".parse().unwrap(),
        };
        authority.accept(HttpConnection::new(&router, asker)).unwrap()
    }

    /// Carries octets both ways in pieces, until the client has read an answer to its end or the server has given up.
    fn exchange(client: &mut ClientConnection, server: &mut TlsConnection, piece: usize) -> String {
        let mut read = Vec::new();
        for _ in 0..20_000 {
            let mut out = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut out).unwrap();
            }
            for octets in out.chunks(piece) {
                server.push(octets);
            }
            server.run();
            let mut inbound = Vec::new();
            server.drain(&mut |octets: &[u8]| {
                let length = octets.len().min(piece);
                inbound.extend_from_slice(&octets[..length]);
                length
            });
            let mut rest = inbound.as_slice();
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                if client.process_new_packets().is_err() {
                    return "refused by the client".to_owned();
                }
            }
            let _ = client.reader().read_to_end(&mut read);
            if server.ended().is_some() && server.is_drained() {
                break;
            }
        }
        String::from_utf8(read).unwrap()
    }

    #[test]
    fn an_answer_passes_whole_however_the_octets_are_cut() {
        let authority = Authority::new(Root::generate().unwrap(), &names()).unwrap();
        for piece in [7, 1460, 100_000] {
            let (mut client, mut server) = (client(&authority, "ec2.us-east-1.amazonaws.com"), server(&authority));
            client
                .writer()
                .write_all(b"GET / HTTP/1.1\r\nHost: ec2\r\nConnection: close\r\n\r\n")
                .unwrap();
            let answer = exchange(&mut client, &mut server, piece);
            assert!(
                answer.starts_with("HTTP/1.1 200 OK") && answer.len() > 100_000,
                "{piece}: {}",
                answer.len()
            );
            assert_eq!(server.ended(), Some(Ended::Properly));
        }
    }

    /// What a host keeps in memory of the first server is enough to trust the second one, whatever names that has.
    #[test]
    fn a_client_of_one_server_trusts_the_next_one_that_has_the_same_root_and_no_other() {
        let root = Root::generate().unwrap();
        let written = root.written();
        let first = Authority::new(root, &[]).unwrap();
        let second = Authority::new(Root::read(&written).unwrap(), &names()).unwrap();
        assert_eq!(first.certificate, second.certificate);
        let request = b"GET / HTTP/1.1\r\nHost: ec2\r\nConnection: close\r\n\r\n";
        let stranger = Authority::new(Root::generate().unwrap(), &names()).unwrap();
        for (next, expected) in [(&second, "HTTP/1.1 200 OK"), (&stranger, "refused by the client")] {
            let mut client = client(&first, "ec2.us-east-1.amazonaws.com");
            client.writer().write_all(request).unwrap();
            let answer = exchange(&mut client, &mut server(next), 1460);
            assert!(answer.starts_with(expected), "{answer}");
        }
        let certificate = written.find(CERTIFICATE).unwrap();
        for damaged in ["", &written[..certificate], &written[certificate..], &written[100..]] {
            assert!(Root::read(damaged).is_err(), "{damaged}");
        }
    }

    #[test]
    fn another_name_is_refused_by_the_client_and_what_is_no_tls_ends_the_connection() {
        let authority = Authority::new(Root::generate().unwrap(), &names()).unwrap();
        let mut other = client(&authority, "ec2.eu-central-1.amazonaws.com");
        assert_eq!(
            exchange(&mut other, &mut server(&authority), 1460),
            "refused by the client"
        );
        let mut plain = server(&authority);
        plain.push(b"GET / HTTP/1.1\r\n\r\n");
        plain.run();
        assert_eq!(plain.ended(), Some(Ended::Malformed));
        assert_eq!(plain.room(), 0);
    }
}
