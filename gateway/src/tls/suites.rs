//! Cipher suites and key exchange groups by the names that IANA gave them.

use rustls::crypto::{SupportedKxGroup, ring};
use rustls::{NamedGroup, SupportedCipherSuite};

/// The suites that rustls calls otherwise, to set them apart from those of TLS 1.2.
const TLS13: [(&str, &str); 3] = [
    ("TLS13_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
    ("TLS13_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
    (
        "TLS13_CHACHA20_POLY1305_SHA256",
        "TLS_CHACHA20_POLY1305_SHA256",
    ),
];

/// The groups, in the order in which they are preferred.
pub(crate) const GROUPS: [&str; 3] = ["X25519", "secp256r1", "secp384r1"];

/// The suite of this name.
pub(crate) fn suite(name: &str) -> Option<SupportedCipherSuite> {
    let mut suites = ring::ALL_CIPHER_SUITES.iter();
    suites.find(|suite| suite_name(**suite) == name).copied()
}

/// The names of all suites.
pub(crate) fn suite_names() -> impl Iterator<Item = &'static str> {
    ring::ALL_CIPHER_SUITES
        .iter()
        .map(|suite| suite_name(*suite))
}

/// The name of a suite.
pub(crate) fn suite_name(suite: SupportedCipherSuite) -> &'static str {
    let name = suite.suite().as_str().unwrap_or("unknown");
    let renamed = TLS13.iter().find(|(theirs, _)| *theirs == name);
    renamed.map_or(name, |(_, ours)| ours)
}

/// The group of this name.
pub(crate) fn group(name: &str) -> Option<&'static dyn SupportedKxGroup> {
    let wanted = match name {
        "X25519" => NamedGroup::X25519,
        "secp256r1" => NamedGroup::secp256r1,
        "secp384r1" => NamedGroup::secp384r1,
        _ => return None,
    };
    let mut groups = ring::ALL_KX_GROUPS.iter();
    groups.find(|group| group.name() == wanted).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_and_group_has_its_name() {
        let names: Vec<_> = suite_names().collect();
        assert_eq!(names.len(), 9);
        assert!(
            names.iter().all(|name| name.starts_with("TLS_")),
            "{names:?}"
        );
        assert!(names.iter().all(|name| suite(name).is_some()));
        assert!(GROUPS.iter().all(|name| group(name).is_some()));
        assert_eq!(ring::ALL_KX_GROUPS.len(), GROUPS.len());
        assert!(suite("TLS_RSA_WITH_NULL_MD5").is_none() && group("x").is_none());
    }
}
