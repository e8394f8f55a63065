//! A host name as routes compare it.

use std::fmt;

/// A host name in lower case, without a dot at its end.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerName(Box<str>);

/// The longest host name (RFC 1035, 2.3.4).
const LONGEST: usize = 253;

impl ServerName {
    /// Reads a name. None when it is empty, too long, or has octets that no host name has.
    pub fn read(name: &[u8]) -> Option<Self> {
        let name = name.strip_suffix(b".").unwrap_or(name);
        if name.is_empty() || name.len() > LONGEST {
            return None;
        }
        let is_part = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_.".contains(octet);
        if !name.iter().all(is_part) || name.split(|octet| *octet == b'.').any(<[u8]>::is_empty) {
            return None;
        }
        let name = std::str::from_utf8(name).ok()?;
        Some(Self(name.to_ascii_lowercase().into()))
    }

    /// Reads the host of an authority: `example.com`, `example.com:8443`; none for an address in brackets.
    pub fn of_authority(authority: &[u8]) -> Option<Self> {
        let host = match authority.iter().rposition(|octet| *octet == b':') {
            Some(colon) if authority[colon + 1..].iter().all(u8::is_ascii_digit) => {
                &authority[..colon]
            }
            _ => authority,
        };
        Self::read(host)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name, then those that a wildcard may stand for: what is left after each first label.
    pub fn and_above(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(Some(&*self.0), |name| {
            name.split_once('.').map(|(_, above)| above)
        })
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_case_and_last_dot() {
        let read = |name: &str| ServerName::read(name.as_bytes()).map(|name| name.to_string());
        assert_eq!(read("API.Example.com."), Some("api.example.com".into()));
        assert_eq!(read("a_b-c.example"), Some("a_b-c.example".into()));
        for wrong in [
            "",
            ".",
            "a..b",
            "a b",
            "a\0",
            "ü.example",
            &"a.".repeat(128),
        ] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn authorities_may_have_a_port() {
        let read =
            |text: &str| ServerName::of_authority(text.as_bytes()).map(|name| name.to_string());
        assert_eq!(read("example.com:8443"), Some("example.com".into()));
        assert_eq!(read("example.com"), Some("example.com".into()));
        assert_eq!(read("192.0.2.1:80"), Some("192.0.2.1".into()));
        assert_eq!(read("[2001:db8::1]:80"), None);
        assert_eq!(read(":80"), None);
    }

    #[test]
    fn wildcards_are_looked_up_above() {
        let name = ServerName::read(b"a.b.example").expect("it is a name");
        let above: Vec<_> = name.and_above().collect();
        assert_eq!(above, ["a.b.example", "b.example", "example"]);
    }
}
