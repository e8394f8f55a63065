//! The names of a certificate.

use std::fmt;
use std::net::IpAddr;

use rustls_pki_types::DnsName;

/// The names of one certificate: lower case, sorted, each once, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names(Vec<Box<str>>);

/// Why no certificate can be had for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameError {
    #[error(
        "a certificate for every name below needs the DNS-01 challenge, which Tidegate does not offer"
    )]
    Wildcard,
    #[error("an IP address: ACME certificates are for DNS names here")]
    Address,
    #[error("not a DNS name")]
    Malformed,
    #[error(
        "not a DNS name: write international names in Punycode, such as \"xn--bcher-kva.example\""
    )]
    International,
}

impl Names {
    /// These names, which [`judge`](Self::judge) found good; none when there are none.
    pub(crate) fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let names = names.into_iter();
        let mut names: Vec<_> = names.map(|name| name.to_ascii_lowercase().into()).collect();
        names.sort_unstable();
        names.dedup();
        (!names.is_empty()).then_some(Self(names))
    }

    /// Whether an authority could certify this name.
    pub(crate) fn judge(name: &str) -> Result<(), NameError> {
        if name.contains('*') {
            return Err(NameError::Wildcard);
        }
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        if bare.parse::<IpAddr>().is_ok() {
            return Err(NameError::Address);
        }
        if !name.is_ascii() {
            return Err(NameError::International);
        }
        match DnsName::try_from(name) {
            Ok(_) if !name.ends_with('.') => Ok(()),
            _ => Err(NameError::Malformed),
        }
    }

    /// All of them.
    pub(crate) fn as_slice(&self) -> &[Box<str>] {
        &self.0
    }

    /// Each of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|name| &**name)
    }

    /// The first, for people.
    pub(super) fn first(&self) -> &str {
        self.0.first().map_or("", |name| &**name)
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_authority_certifies_are_refused() {
        for (name, expected) in [
            ("a.example", Ok(())),
            ("A.Example", Ok(())),
            ("xn--bcher-kva.example", Ok(())),
            ("*.example", Err(NameError::Wildcard)),
            ("192.0.2.1", Err(NameError::Address)),
            ("2001:db8::1", Err(NameError::Address)),
            ("[2001:db8::1]", Err(NameError::Address)),
            ("bücher.example", Err(NameError::International)),
            ("a.example.", Err(NameError::Malformed)),
            ("a..example", Err(NameError::Malformed)),
            ("-a.example", Err(NameError::Malformed)),
            ("a.example/../b", Err(NameError::Malformed)),
            ("", Err(NameError::Malformed)),
        ] {
            assert_eq!(Names::judge(name), expected, "{name}");
        }
    }

    #[test]
    fn the_order_of_names_says_nothing() {
        let names = Names::new(["b.example", "A.example", "a.example"]);
        assert_eq!(names, Names::new(["a.example", "b.example"]));
        assert_eq!(Names::new([]), None);
    }
}
