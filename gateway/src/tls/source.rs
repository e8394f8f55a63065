//! Where certificates come from: files, and authorities.

use std::sync::Arc;

use chassis::tls::{self, Certificate};
use rustls::SignatureAlgorithm;
use rustls::sign::CertifiedKey;

use crate::acme::Issuer;

/// Where a certificate comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Read from files when the configuration was compiled.
    File(Arc<Certificate>),
    /// Issued by an authority, once it is.
    Issued(Arc<Issuer>),
}

impl Source {
    /// The certificate that it has now.
    pub(crate) fn certificate(&self) -> Option<Arc<Certificate>> {
        match self {
            Self::File(certificate) => Some(certificate.clone()),
            Self::Issued(issuer) => issuer.certificate(),
        }
    }
}

impl tls::Source for Source {
    fn key(&self) -> Option<Arc<CertifiedKey>> {
        match self {
            Self::File(certificate) => Some(certificate.key.clone()),
            Self::Issued(issuer) => issuer.key(),
        }
    }

    fn names(&self) -> &[Box<str>] {
        match self {
            Self::File(certificate) => &certificate.names,
            Self::Issued(issuer) => issuer.names.as_slice(),
        }
    }

    fn algorithm(&self) -> Option<SignatureAlgorithm> {
        match self {
            Self::File(certificate) => certificate.algorithm(),
            Self::Issued(_) => None,
        }
    }
}
