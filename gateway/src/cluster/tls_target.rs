//! How TLS is spoken with endpoints, prepared once.

use std::sync::{Arc, LazyLock};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};

use super::endpoint::PeerTls;

/// How TLS is spoken with the endpoints of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct TlsTarget {
    pub(crate) config: Arc<ClientConfig>,
    /// The name that its certificate must carry.
    pub(crate) name: ServerName<'static>,
}

impl TlsTarget {
    /// None when there is no such host name.
    pub(super) fn new(peer: &PeerTls) -> Option<Self> {
        let name = ServerName::try_from(peer.server_name.clone()).ok()?;
        let roots = match &peer.ca {
            None => SYSTEM.clone(),
            Some(authorities) => {
                let mut roots = RootCertStore::empty();
                let authorities = authorities.iter().cloned().map(CertificateDer::from);
                roots.add_parsable_certificates(authorities);
                Arc::new(roots)
            }
        };
        let mut config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Some(Self {
            config: Arc::new(config),
            name,
        })
    }
}

/// The authorities that the system trusts.
static SYSTEM: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Arc::new(roots)
});
