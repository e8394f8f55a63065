//! Names of zones: in wire form and lower case.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

/// A name in wire form and lower case, such as `\x07example\x00`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

impl Name {
    /// The root.
    pub fn root() -> Self {
        Self(Box::new([0]))
    }

    /// A name of wire bytes that are known to be one.
    pub(super) fn from_wire(mut wire: Vec<u8>) -> Self {
        debug_assert!(crate::wire::QueryName::default().set(&wire), "{wire:?}");
        wire.make_ascii_lowercase();
        Self(wire.into())
    }

    /// A name as in a zone file; it need not end in a dot.
    pub fn from_text(text: &str) -> Option<Self> {
        let name = domain::base::Name::<Vec<u8>>::from_str(text).ok()?;
        Some(Self::from_wire(name.into_octets()))
    }

    /// This name with a label in front; none when that is too long.
    pub fn child(&self, label: &[u8]) -> Option<Self> {
        let length = u8::try_from(label.len()).ok().filter(|len| *len <= 63)?;
        let wire = [&[length], label, &self.0].concat();
        (wire.len() <= crate::wire::LONGEST_NAME).then(|| Self::from_wire(wire))
    }

    /// This name with `to` in the place of `from`, which it ends with (RFC 6672, 2.2); none when that is too long.
    pub(crate) fn moved(&self, from: &[u8], to: &[u8]) -> Option<Self> {
        let prefix = self.0.strip_suffix(from)?;
        let wire = [prefix, to].concat();
        (wire.len() <= crate::wire::LONGEST_NAME).then(|| Self::from_wire(wire))
    }

    /// Whether it is `*` and something.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(b"\x01*")
    }

    /// Whether it is `ancestor` or a name below.
    pub fn is_in(&self, ancestor: &[u8]) -> bool {
        suffixes(self).any(|suffix| suffix == ancestor)
    }
}

/// A name and all that are above it, up to the root.
pub fn suffixes(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(name), |name| parent(name))
}

/// The name above; none of the root.
pub fn parent(name: &[u8]) -> Option<&[u8]> {
    match *name.first()? {
        0 => None,
        length => name.get(1 + usize::from(length)..),
    }
}

/// How many labels a name has, without the root's.
pub fn labels(name: &[u8]) -> usize {
    suffixes(name).count() - 1
}

impl Deref for Name {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for Name {
    /// Wire bytes that are known to be a name.
    fn from(wire: &[u8]) -> Self {
        Self::from_wire(wire.to_vec())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_name(&self.0, f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_name(&self.0, f)
    }
}

/// A name in wire form, to be written as in a zone file.
pub fn shown(name: &[u8]) -> impl fmt::Display {
    struct Shown<'a>(&'a [u8]);
    impl fmt::Display for Shown<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write_name(self.0, f)
        }
    }
    Shown(name)
}

/// Writes a name as in a zone file (RFC 1035, 5.1).
fn write_name(mut name: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if name == [0] {
        return f.write_str(".");
    }
    while let Some((label, rest)) = split(name) {
        for byte in label {
            match byte {
                b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => {
                    write!(f, "\\{}", char::from(*byte))?;
                }
                b'!'..=b'~' => write!(f, "{}", char::from(*byte))?,
                other => write!(f, "\\{other:03}")?,
            }
        }
        f.write_str(".")?;
        name = rest;
    }
    Ok(())
}

/// The first label and the rest; none at the root.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::from(*name.first()?);
    let label = name.get(1..=length).filter(|label| !label.is_empty())?;
    Some((label, &name[1 + length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_in_zone_files() {
        let name = Name::from_wire(b"\x05a.B\\\x01\x07example\x00".to_vec());
        assert_eq!(name.to_string(), r"a\.b\\\001.example.");
        assert_eq!(Name::root().to_string(), ".");
        assert_eq!(labels(&name), 2);
        assert!(name.is_in(b"\x07example\x00") && name.is_in(b"\x00") && name.is_in(&name));
        assert!(!name.is_in(b"\x06xample\x00"));
    }
}
