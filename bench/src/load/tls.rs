//! TLS for both sides: one certificate for all peers and the origin, and clients that agree with all of them on
//! the same version, cipher suite and group.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption as Store;
use rustls::crypto::ring::{cipher_suite, default_provider, kx_group};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use crate::error::Error;

/// The name in the certificate.
pub(crate) const NAME: &str = "bench.test";

/// The certificate of all peers and of the origin, ECDSA P-256, self-signed.
#[derive(Debug)]
pub(crate) struct Certificate {
    /// File with the certificate, in PEM.
    pub(crate) certificate: PathBuf,
    /// File with its key, in PEM.
    pub(crate) key: PathBuf,
    /// File with both, which HAProxy reads.
    pub(crate) both: PathBuf,
    der: CertificateDer<'static>,
}

impl Certificate {
    /// Makes one, in this folder.
    pub(crate) fn make(folder: &Path) -> Result<Self, Error> {
        let made = rcgen::generate_simple_self_signed(vec![NAME.into()]);
        let made = made.map_err(|error| Error::Load(error.to_string()))?;
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            let written = std::fs::write(&path, text);
            written.map_err(Error::machine("a file for the certificate"))?;
            Ok::<_, Error>(path)
        };
        Ok(Self {
            certificate: write("cert.pem", &certificate)?,
            key: write("key.pem", &key)?,
            both: write("both.pem", &format!("{certificate}{key}"))?,
            der: made.cert.der().clone(),
        })
    }
}

/// Whether clients go on with earlier sessions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Resumption {
    /// Each handshake is a full one.
    Never,
    /// With the tickets that the proxy has given.
    Tickets,
}

/// A client of TLS.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// What it asks for.
    pub(crate) config: Arc<ClientConfig>,
    resumption: Resumption,
}

impl Client {
    /// One that trusts the certificate and speaks TLS 1.3 with `TLS_AES_128_GCM_SHA256` and X25519.
    pub(crate) fn new(
        certificate: &Certificate,
        resumption: Resumption,
        alpn: &[u8],
    ) -> Result<Self, Error> {
        let mut provider = default_provider();
        provider.cipher_suites = vec![cipher_suite::TLS13_AES_128_GCM_SHA256];
        provider.kx_groups = vec![kx_group::X25519];
        let wrong = |error: rustls::Error| Error::Load(error.to_string());
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der.clone()).map_err(wrong)?;
        let builder = ClientConfig::builder_with_provider(provider.into());
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]);
        let builder = builder.map_err(wrong)?.with_root_certificates(roots);
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        config.resumption = Store::disabled();
        let config = Arc::new(config);
        Ok(Self { config, resumption })
    }

    /// The same with no sessions yet, and a store of its own: a store keeps few tickets of a server,
    /// not enough for all clients of the load.
    pub(super) fn alone(&self) -> Self {
        let mut alone = self.clone();
        if self.resumption == Resumption::Tickets {
            let mut config = ClientConfig::clone(&self.config);
            config.resumption = Store::in_memory_sessions(8);
            alone.config = Arc::new(config);
        }
        alone
    }
}
