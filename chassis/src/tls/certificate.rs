//! A certificate with its key, and what is known of it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ring::digest::{Context, SHA256};
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, SignatureAlgorithm};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{ASN1Time, FromDer, GeneralName, X509Certificate};

use super::ocsp;

/// A certificate that can be served.
#[derive(Debug)]
pub struct Certificate {
    /// The chain, with the key to sign with.
    pub key: Arc<CertifiedKey>,
    /// DNS names in lower case, wildcards included.
    pub names: Vec<Box<str>>,
    /// What people call it: its first name, or else its subject.
    pub title: Box<str>,
    /// From when on it is valid.
    pub not_before: SystemTime,
    /// Until when it is valid.
    pub not_after: SystemTime,
    /// Until when the OCSP response holds; none when there is no response, or it does not say.
    pub ocsp_until: Option<SystemTime>,
    /// Of the files that it was read from.
    pub digest: Digest,
}

/// SHA-256.
pub type Digest = [u8; 32];

/// Contents of the files of a certificate.
#[derive(Debug)]
pub struct Files {
    /// The chain, in PEM.
    pub certificate: Vec<u8>,
    /// The private key, in PEM.
    pub key: Vec<u8>,
    /// An OCSP response about it, in DER.
    pub ocsp: Option<Vec<u8>>,
}

/// Which file is wrong, and why.
#[derive(Debug)]
pub enum Unusable {
    /// The certificate.
    Certificate(String),
    /// Its key.
    Key(String),
    /// The OCSP response about it.
    Ocsp(String),
}

impl Files {
    /// Changes with everything that is in the files.
    pub fn digest(&self) -> Digest {
        let parts = [Some(&self.certificate), Some(&self.key), self.ocsp.as_ref()];
        digest(parts.into_iter().flatten().map(Vec::as_slice))
    }
}

/// The digest of all parts, and of where one ends and the next begins.
pub fn digest<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Digest {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&part.len().to_be_bytes());
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

impl Certificate {
    /// Reads a certificate with its key.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn read(files: Files, provider: &CryptoProvider) -> Result<Self, Unusable> {
        let digest = files.digest();
        let chain = CertificateDer::pem_slice_iter(&files.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Unusable::Certificate(error.to_string()))?;
        let Some(leaf) = chain.first() else {
            return Err(Unusable::Certificate("there is none in it".into()));
        };
        let facts = Facts::of(leaf).map_err(Unusable::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&files.key);
        let key = key.map_err(|error| Unusable::Key(error.to_string()))?;
        let key = provider.key_provider.load_private_key(key);
        let key = key.map_err(|error| Unusable::Key(error.to_string()))?;
        let ocsp_until = match &files.ocsp {
            Some(response) => {
                ocsp::judge(response, &facts.serial).map_err(|why| Unusable::Ocsp(why.into()))?
            }
            None => None,
        };
        let mut certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            // A kind of key that does not tell its public half is believed.
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(_) => {
                let why = "it is not the key of the certificate";
                return Err(Unusable::Key(why.into()));
            }
        }
        certified.ocsp = files.ocsp;
        Ok(Self {
            key: Arc::new(certified),
            names: facts.names,
            title: facts.title,
            not_before: facts.not_before,
            not_after: facts.not_after,
            ocsp_until,
            digest,
        })
    }

    /// The algorithm of its key.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.key.key.algorithm()
    }

    /// How long it lives from its first day to its last.
    pub fn lifetime(&self) -> Duration {
        let lifetime = self.not_after.duration_since(self.not_before);
        lifetime.unwrap_or_default()
    }
}

/// What a certificate says.
struct Facts {
    names: Vec<Box<str>>,
    title: Box<str>,
    /// As it stands in DER.
    serial: Vec<u8>,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Facts {
    fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) = X509Certificate::from_der(certificate)
            .map_err(|error| format!("it is not a certificate: {error}"))?;
        let names = dns_names(&parsed);
        let subject = || parsed.subject().to_string().into_boxed_str();
        Ok(Self {
            title: names.first().cloned().unwrap_or_else(subject),
            names,
            serial: parsed.raw_serial().to_vec(),
            not_before: time(parsed.validity().not_before),
            not_after: time(parsed.validity().not_after),
        })
    }
}

fn dns_names(certificate: &X509Certificate<'_>) -> Vec<Box<str>> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let names = names.value.general_names.iter();
    let names = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase().into_boxed_str()),
        _ => None,
    });
    names.collect()
}

/// The moment that a certificate means.
pub fn time(time: ASN1Time) -> SystemTime {
    let seconds = Duration::from_secs(time.timestamp().unsigned_abs());
    match time.timestamp() >= 0 {
        true => SystemTime::UNIX_EPOCH + seconds,
        false => SystemTime::UNIX_EPOCH - seconds,
    }
}
