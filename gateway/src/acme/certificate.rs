//! A certificate that was issued, with its key: one PEM file.

use std::sync::Arc;

use chassis::tls::{Certificate, Files, Unusable};
use instant_acme::CertificateIdentifier;

use super::error::OrderError;
use super::renewal::Validity;

/// A certificate with its chain and key, ready to be served.
pub(super) struct Issued {
    pub(super) certificate: Arc<Certificate>,
    pub(super) validity: Validity,
    /// How its authority knows it (RFC 9773, section 4.1), if it can be told.
    pub(super) identifier: Option<CertificateIdentifier<'static>>,
}

impl Issued {
    /// Reads a private key and a chain that begins with its certificate.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Self, OrderError> {
        let files = Files {
            certificate: pem.to_owned(),
            key: pem.to_owned(),
            ocsp: None,
        };
        let provider = rustls::crypto::ring::default_provider();
        let certificate = Certificate::read(files, &provider).map_err(|unusable| {
            let (Unusable::Certificate(why) | Unusable::Key(why) | Unusable::Ocsp(why)) = unusable;
            OrderError::Unusable(why)
        })?;
        let first = certificate.key.cert.first();
        let identifier = first.and_then(|first| CertificateIdentifier::try_from(first).ok());
        Ok(Self {
            validity: Validity {
                not_before: certificate.not_before,
                not_after: certificate.not_after,
            },
            identifier: identifier.map(CertificateIdentifier::into_owned),
            certificate: Arc::new(certificate),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(key: &KeyPair) -> String {
        let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2026, 3, 1);
        params.self_signed(key).unwrap().pem()
    }

    #[test]
    fn key_and_chain_are_one_file() {
        let key = KeyPair::generate().unwrap();
        let pem = key.serialize_pem() + &certificate(&key);
        let issued = Issued::from_pem(pem.as_bytes()).unwrap();
        assert_eq!(issued.certificate.key.cert.len(), 1);
        let life = issued
            .validity
            .not_after
            .duration_since(issued.validity.not_before);
        assert_eq!(life.unwrap(), Duration::from_secs(59 * 24 * 3600));
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let [key, other] = [(); 2].map(|()| KeyPair::generate().unwrap());
        let pem = other.serialize_pem() + &certificate(&key);
        assert!(Issued::from_pem(pem.as_bytes()).is_err());
    }

    #[test]
    fn half_a_file_is_refused() {
        let key = KeyPair::generate().unwrap();
        for pem in [key.serialize_pem(), certificate(&key), String::new()] {
            assert!(Issued::from_pem(pem.as_bytes()).is_err());
        }
    }
}
