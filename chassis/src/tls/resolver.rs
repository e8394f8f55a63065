//! Which certificate a client gets, by the name that it asks for (SNI, RFC 6066, section 3).
//!
//! An exact name beats a wildcard; a wildcard stands for one label (RFC 6125, section 6.4.3).
//! Names are found by hash, so that a handshake costs the same with ten certificates and with
//! ten thousand.

use std::fmt;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{SignatureAlgorithm, SignatureScheme};

use super::certificate::Certificate;

/// Where a certificate comes from. Asked at every handshake, so it must be quick.
pub trait Source: fmt::Debug + Send + Sync + 'static {
    /// What to serve now; none while there is nothing yet.
    fn key(&self) -> Option<Arc<CertifiedKey>>;

    /// The names that it is chosen by.
    fn names(&self) -> &[Box<str>];

    /// The kind of its key; none for one that is issued, which a file with the same name stands in for.
    fn algorithm(&self) -> Option<SignatureAlgorithm>;
}

/// Every certificate of a listener.
#[derive(Debug)]
pub struct Resolver<S> {
    sources: Vec<S>,
    exact: FxHashMap<Box<str>, Candidates>,
    /// By what stands behind `*.`.
    wildcards: FxHashMap<Box<str>, Candidates>,
    default: Candidates,
    /// Whether there are sources that may have nothing yet.
    awaits: bool,
}

/// Numbers of sources for the same name, with different kinds of keys.
type Candidates = Vec<usize>;

/// A name that two sources with the same kind of key have.
#[derive(Debug, PartialEq, Eq)]
pub struct Twice {
    /// The name.
    pub name: Box<str>,
    /// The number of the first that has it.
    pub first: usize,
    /// The number of the second.
    pub second: usize,
}

/// What there was not for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// There is no certificate yet.
    Certificate,
    /// No key is of a kind that the client can verify.
    Signature,
}

/// A certificate that was read from files is always there.
impl Source for Arc<Certificate> {
    fn key(&self) -> Option<Arc<CertifiedKey>> {
        Some(self.key.clone())
    }

    fn names(&self) -> &[Box<str>] {
        &self.names
    }

    fn algorithm(&self) -> Option<SignatureAlgorithm> {
        Some(Certificate::algorithm(self))
    }
}

impl<S: Source> Resolver<S> {
    /// Sorts sources by their names; the first is the default, together with those that share a
    /// name with it.
    ///
    /// # Errors
    /// A name that would be ambiguous.
    pub fn new(sources: Vec<S>) -> Result<Self, Twice> {
        let mut this = Self {
            sources: Vec::new(),
            exact: FxHashMap::default(),
            wildcards: FxHashMap::default(),
            default: Vec::new(),
            awaits: sources.iter().any(|one| one.algorithm().is_none()),
        };
        for (at, source) in sources.iter().enumerate() {
            for name in source.names() {
                let (names, key) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut this.wildcards, parent),
                    None => (&mut this.exact, &**name),
                };
                let same = names.entry(key.into()).or_default();
                let kind = source.algorithm();
                let twice = |other: &&usize| **other != at && sources[**other].algorithm() == kind;
                if let Some(&first) = same.iter().find(twice) {
                    let (name, second) = (name.clone(), at);
                    return Err(Twice {
                        name,
                        first,
                        second,
                    });
                }
                match kind {
                    _ if same.contains(&at) => {}
                    Some(_) => same.push(at),
                    // What is issued comes before what stands in for it.
                    None => same.insert(0, at),
                }
            }
        }
        this.default = default(&sources);
        this.sources = sources;
        Ok(this)
    }

    /// Whether a certificate is made out to this name.
    pub fn knows(&self, name: &str) -> bool {
        self.candidates(name).is_some()
    }

    /// What a client gets that asks for this name and can verify these signatures.
    ///
    /// # Errors
    /// Why there is nothing.
    pub fn choose(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Result<Arc<CertifiedKey>, Lack> {
        let mut lack = Lack::Certificate;
        for key in self.keys(name) {
            if key.key.choose_scheme(schemes).is_some() {
                return Ok(key);
            }
            lack = Lack::Signature;
        }
        Err(lack)
    }

    /// Certificates for a name; those of the default when there is none for it, or none yet.
    fn keys(&self, name: Option<&str>) -> impl Iterator<Item = Arc<CertifiedKey>> {
        let there = |at: &usize| self.sources[*at].key();
        let named = name.and_then(|name| self.candidates(name));
        let named =
            named.filter(|named| !self.awaits || named.iter().any(|at| there(at).is_some()));
        named.unwrap_or(&self.default).iter().filter_map(there)
    }

    fn candidates(&self, name: &str) -> Option<&Candidates> {
        let name = name.strip_suffix('.').unwrap_or(name);
        let lower;
        let name = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => {
                lower = name.to_ascii_lowercase();
                &lower
            }
            false => name,
        };
        if let Some(exact) = self.exact.get(name) {
            return Some(exact);
        }
        let (label, parent) = name.split_once('.')?;
        self.wildcards.get(parent).filter(|_| !label.is_empty())
    }
}

fn default<S: Source>(sources: &[S]) -> Candidates {
    let Some(first) = sources.first() else {
        return Vec::new();
    };
    let related = |source: &S| {
        let names = source.names();
        first.names().iter().any(|name| names.contains(name))
    };
    let others = (1..sources.len()).filter(|at| related(&sources[*at]));
    std::iter::once(0).chain(others).collect()
}

impl<S: Source> ResolvesServerCert for Resolver<S> {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};

    use super::*;
    use crate::tls::certificate::Files;

    fn source(names: &[&str], algorithm: &'static rcgen::SignatureAlgorithm) -> Arc<Certificate> {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
        let certificate = CertificateParams::new(names)
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let files = Files {
            certificate: certificate.pem().into(),
            key: key.serialize_pem().into(),
            ocsp: None,
        };
        let provider = rustls::crypto::ring::default_provider();
        Arc::new(Certificate::read(files, &provider).unwrap())
    }

    fn p256(names: &[&str]) -> Arc<Certificate> {
        source(names, &PKCS_ECDSA_P256_SHA256)
    }

    /// The number of the source that a client gets.
    fn chosen(resolver: &Resolver<Arc<Certificate>>, name: Option<&str>) -> Option<usize> {
        let schemes = [
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ED25519,
        ];
        let key = resolver.choose(name, &schemes).ok()?;
        let same = |source: &Arc<Certificate>| Arc::ptr_eq(&source.key, &key);
        resolver.sources.iter().position(same)
    }

    #[test]
    fn exact_beats_wildcard_beats_default() {
        let sources = [
            &["default.test"][..],
            &["*.example.com", "example.com"],
            &["www.example.com", "10.0.0.1"],
        ];
        let resolver = Resolver::new(sources.map(p256).into()).unwrap();
        for (name, at) in [
            ("www.example.com", 2),
            ("WWW.Example.COM", 2),
            ("www.example.com.", 2),
            ("api.example.com", 1),
            ("example.com", 1),
            ("a.b.example.com", 0),
            ("com", 0),
            ("", 0),
        ] {
            assert_eq!(chosen(&resolver, Some(name)), Some(at), "{name}");
        }
        assert_eq!(chosen(&resolver, None), Some(0));
        assert!(resolver.knows("x.example.com") && !resolver.knows("x.y.example.com"));
        assert!(!resolver.knows(".example.com"));
    }

    #[test]
    fn a_name_has_one_certificate_of_a_kind() {
        let of_kinds = vec![
            source(&["a.test"], &PKCS_ED25519),
            p256(&["a.test", "a.test", "b.test"]),
        ];
        let resolver = Resolver::new(of_kinds.clone()).unwrap();
        let only = |scheme| resolver.choose(Some("a.test"), &[scheme]);
        let ed25519 = only(SignatureScheme::ED25519).unwrap();
        let p256_key = only(SignatureScheme::ECDSA_NISTP256_SHA256).unwrap();
        assert!(!Arc::ptr_eq(&ed25519, &p256_key));
        let rsa = only(SignatureScheme::RSA_PSS_SHA256);
        assert_eq!(rsa.unwrap_err(), Lack::Signature);
        let none = Resolver::<Arc<Certificate>>::new(Vec::new())
            .unwrap()
            .choose(None, &[]);
        assert_eq!(none.unwrap_err(), Lack::Certificate);
        let strange = resolver.choose(None, &[SignatureScheme::ECDSA_NISTP256_SHA256]);
        assert!(strange.is_ok(), "the default has both kinds too");

        let mut twice = of_kinds;
        twice.push(p256(&["b.test"]));
        let (name, first, second) = ("b.test".into(), 1, 2);
        let wanted = Twice {
            name,
            first,
            second,
        };
        assert_eq!(Resolver::new(twice).unwrap_err(), wanted);
    }

    /// The rule as it is written in the RFC, label by label.
    fn matches(pattern: &str, name: &str) -> bool {
        let (pattern, name): (Vec<_>, Vec<_>) =
            (pattern.split('.').collect(), name.split('.').collect());
        pattern.len() == name.len()
            && pattern
                .iter()
                .zip(&name)
                .enumerate()
                .all(|(at, (want, have))| {
                    want == have || (at == 0 && *want == "*" && !have.is_empty())
                })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_client_gets_a_certificate_for_its_name_if_there_is_one(
            patterns in prop::collection::btree_set("(\\*\\.)?[ab](\\.[ab]){0,2}", 1..6),
            names in prop::collection::vec("[ab](\\.[ab]){0,3}", 1..8),
        ) {
            let patterns: Vec<String> = patterns.into_iter().collect();
            let sources = patterns.iter().map(|pattern| p256(&[pattern]));
            let resolver = Resolver::new(sources.collect()).unwrap();
            for name in &names {
                let exact = patterns.iter().position(|pattern| pattern == name);
                let fits = |pattern: &String| matches(pattern, name);
                let wanted = exact.or_else(|| patterns.iter().position(fits));
                prop_assert_eq!(resolver.knows(name), wanted.is_some());
                prop_assert_eq!(chosen(&resolver, Some(name)), Some(wanted.unwrap_or(0)));
            }
        }
    }
}
