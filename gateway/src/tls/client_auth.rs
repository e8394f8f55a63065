//! What a client's certificate is verified against.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use chassis::tls::{Digest, digest, time};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

/// Verifies clients' certificates.
pub(crate) struct ClientAuth {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    /// Changes with everything that decides who is let in.
    pub(crate) digest: Digest,
    /// Until when revocation lists hold that say so, with the number of the file each is in.
    pub(crate) lists_until: Vec<(usize, SystemTime)>,
}

/// Which file is wrong, and why.
#[derive(Debug)]
pub(crate) enum Untrusted {
    Authorities(String),
    /// The revocation list of this number.
    List(usize, String),
}

impl ClientAuth {
    /// Trusts the authorities in `ca`, a PEM file, except for what `crls`, PEM or DER, revoke.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub(crate) fn new(
        ca: &[u8],
        crls: &[Vec<u8>],
        optional: bool,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, Untrusted> {
        let mode = [u8::from(optional)];
        let lists = crls.iter().map(Vec::as_slice);
        let digest = digest([&mode[..], ca].into_iter().chain(lists));
        let roots = authorities(ca).map_err(Untrusted::Authorities)?;
        let mut lists = Vec::new();
        let mut lists_until = Vec::new();
        for (at, crl) in crls.iter().enumerate() {
            for list in revocation_lists(crl).map_err(|why| Untrusted::List(at, why))? {
                let until = next_update(&list).map_err(|why| Untrusted::List(at, why))?;
                lists_until.extend(until.map(|until| (at, until)));
                lists.push(list);
            }
        }
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let verifier = match optional {
            true => verifier.allow_unauthenticated(),
            false => verifier,
        };
        let verifier = match lists.is_empty() {
            true => verifier,
            false => verifier.with_crls(lists).enforce_revocation_expiration(),
        };
        let verifier = verifier.build();
        let verifier = verifier.map_err(|error| Untrusted::List(0, error.to_string()))?;
        Ok(Self {
            verifier,
            digest,
            lists_until,
        })
    }
}

impl fmt::Debug for ClientAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAuth").finish_non_exhaustive()
    }
}

fn authorities(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    match roots.is_empty() {
        true => Err("there is no certificate in it".into()),
        false => Ok(roots),
    }
}

fn revocation_lists(file: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    if !file.windows(PEM.len()).any(|bytes| bytes == PEM) {
        return Ok(vec![CertificateRevocationListDer::from(file.to_vec())]);
    }
    let lists = CertificateRevocationListDer::pem_slice_iter(file);
    let lists: Result<Vec<_>, _> = lists.collect();
    let lists = lists.map_err(|error| error.to_string())?;
    match lists.is_empty() {
        true => Err("there is no revocation list in it".into()),
        false => Ok(lists),
    }
}

fn next_update(list: &CertificateRevocationListDer<'_>) -> Result<Option<SystemTime>, String> {
    let (_, list) = CertificateRevocationList::from_der(list.as_ref())
        .map_err(|error| format!("it is not a revocation list: {error}"))?;
    Ok(list.next_update().map(time))
}

/// What a PEM file has somewhere.
const PEM: &[u8] = b"-----BEGIN ";
