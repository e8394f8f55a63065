//! Handshakes that prove to an authority that a name leads here: TLS-ALPN-01 (RFC 8737).

use std::sync::Arc;

use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection};

use crate::acme::{ACME_TLS, Authority};

/// The authorities that may ask at a listener.
#[derive(Default)]
pub(crate) struct Challenges(pub(crate) Vec<Arc<Authority>>);

impl Challenges {
    /// None when this is a client like any other; else the answer to the challenge, if there is one
    /// to give. An authority offers `acme-tls/1` alone (section 4). Only names that are `known`
    /// are looked for: that may read a file.
    pub(super) fn answer(
        &self,
        hello: &ClientHello<'_>,
        known: impl Fn(&str) -> bool,
    ) -> Option<Option<Arc<ServerConfig>>> {
        if self.0.is_empty() || !hello.alpn()?.eq([ACME_TLS]) {
            return None;
        }
        let config = || {
            let name = hello.server_name().filter(|name| known(name))?;
            let name = name.to_ascii_lowercase();
            let mut authorities = self.0.iter();
            let certificate = authorities.find_map(|one| one.challenge_certificate(&name))?;
            config(certificate).ok()
        };
        Some(config())
    }
}

/// Whether a handshake was for an authority, who then has nothing more to say.
pub(super) fn is_challenge(connection: &ServerConnection) -> bool {
    connection.alpn_protocol() == Some(ACME_TLS)
}

fn config(certificate: Arc<CertifiedKey>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Only(certificate)));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.alpn_protocols = vec![ACME_TLS.to_vec()];
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Only(Arc<CertifiedKey>);

impl ResolvesServerCert for Only {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}
