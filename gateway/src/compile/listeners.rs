//! Listeners and their certificates.

use std::collections::HashMap;
use std::sync::Arc;

use chassis::config::{Diagnostic, Place};
use pingora_core::listeners::tls::Acceptor;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{Compiler, Findings};
use crate::config::{Config, ListenerConfig, TlsConfig};
use crate::state::ListenerState;

impl Compiler<'_> {
    pub(super) fn listeners(
        &self,
        config: &Config,
        findings: &mut Findings,
    ) -> Vec<Arc<ListenerState>> {
        let mut listeners = Vec::new();
        let mut names: HashMap<&str, Place> = HashMap::new();
        let mut addresses = HashMap::new();
        for listener in &config.listener {
            let name = &listener.name;
            if let Some(first) = names.insert(name, name.place()) {
                let twice = name.wrong(format!("there are two listeners named `{}`", **name));
                findings.mistakes.push(self.with_first(twice, first));
            }
            let address = &listener.address;
            if address.port() != 0
                && let Some(first) = addresses.insert(**address, address.place())
            {
                let twice = address.wrong(format!("two listeners have the address {}", **address));
                findings.mistakes.push(self.with_first(twice, first));
            }
            listeners.extend(self.listener(listener, findings).map(Arc::new));
        }
        listeners
    }

    fn with_first(&self, twice: Diagnostic, first: Place) -> Diagnostic {
        twice.help(format!("the first is at {}", self.sources.locate(first)))
    }

    fn listener(
        &self,
        listener: &ListenerConfig,
        findings: &mut Findings,
    ) -> Option<ListenerState> {
        let acceptor = match &listener.tls {
            Some(tls) => Some(self.acceptor(tls, findings)?),
            None => None,
        };
        let http2 = findings.keep(super::http2::limits(&listener.http2))?;
        Some(ListenerState {
            name: listener.name.as_str().into(),
            address: *listener.address,
            place: listener.address.place(),
            acceptor,
            h2c: listener.h2c,
            http2,
        })
    }

    fn acceptor(&self, tls: &TlsConfig, findings: &mut Findings) -> Option<Acceptor> {
        let certificate = self
            .sources
            .resolve(&tls.certificate, tls.certificate.place());
        let key = self.sources.resolve(&tls.key, tls.key.place());
        findings.files.extend([certificate.clone(), key.clone()]);
        let chain = CertificateDer::pem_file_iter(&certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| {
                let what = format!(
                    "cannot read the certificate {}: {error}",
                    certificate.display()
                );
                tls.certificate.wrong(what)
            })
            .and_then(|chain| match chain.is_empty() {
                true => {
                    let what = format!("there is no certificate in {}", certificate.display());
                    Err(tls.certificate.wrong(what))
                }
                false => Ok(chain),
            });
        let secret = PrivateKeyDer::from_pem_file(&key).map_err(|error| {
            tls.key.wrong(format!(
                "cannot read the private key {}: {error}",
                key.display()
            ))
        });
        let (chain, secret) = (findings.keep(chain), findings.keep(secret));
        let server = server_config(chain?, secret?, tls.h2).map_err(|error| {
            tls.key
                .wrong(format!("certificate and key cannot be used: {error}"))
        });
        findings.keep(server).map(Acceptor::from_server_config)
    }
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    h2: bool,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    if h2 {
        config.alpn_protocols.push(b"h2".to_vec());
    }
    config.alpn_protocols.push(b"http/1.1".to_vec());
    Ok(Arc::new(config))
}
