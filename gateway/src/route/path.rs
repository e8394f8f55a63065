//! One spelling for each path, so that the route that is judged is the resource that is served.
//!
//! RFC 3986, section 6.2.2: escapes of unreserved characters are decoded,
//! the others written in upper case, dot segments removed. Empty segments are
//! dropped too, as most servers do. What servers read differently is refused:
//! an escaped slash or backslash, a backslash, NUL and control characters.

use std::borrow::Cow;

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// It does not begin with a slash.
    NotAbsolute,
    /// An escape that is not `%` and two hexadecimal digits.
    Escape,
    /// A slash or backslash that is escaped, or a backslash.
    Slash,
    /// A control character, escaped or not.
    Control,
    /// More `..` than folders.
    AboveRoot,
}

impl Mistake {
    /// In words for the client.
    pub(crate) fn told(self) -> &'static str {
        match self {
            Self::NotAbsolute => "the path does not begin with a slash",
            Self::Escape => "the path has a malformed percent escape",
            Self::Slash => "the path has an escaped slash or a backslash",
            Self::Control => "the path has a control character",
            Self::AboveRoot => "the path leads above the root",
        }
    }
}

/// The path in its one spelling; borrowed when it already is.
pub(crate) fn normalise(path: &str) -> Result<Cow<'_, str>, Mistake> {
    if !path.starts_with('/') {
        return Err(Mistake::NotAbsolute);
    }
    if is_plain(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let mut out = String::with_capacity(path.len());
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        let segment = decode(segment)?;
        let last = segments.peek().is_none();
        match &*segment {
            "" | "." if last => out.push('/'),
            "" | "." => {}
            ".." => {
                let folder = out.rfind('/').ok_or(Mistake::AboveRoot)?;
                out.truncate(folder);
                if last {
                    out.push('/');
                }
            }
            segment => {
                out.push('/');
                out.push_str(segment);
            }
        }
    }
    Ok(Cow::Owned(out))
}

/// Whether nothing in the path could need work.
fn is_plain(path: &[u8]) -> bool {
    let mut previous = 0;
    for byte in path {
        match byte {
            b'%' | b'\\' | 0..=32 | 127 => return false,
            b'/' | b'.' if previous == b'/' => return false,
            _ => previous = *byte,
        }
    }
    true
}

fn decode(segment: &str) -> Result<Cow<'_, str>, Mistake> {
    let mut out = String::with_capacity(segment.len());
    let mut rest = segment;
    while let Some(at) = rest.find('%') {
        out.push_str(check(&rest[..at])?);
        let digits = rest.get(at + 1..at + 3).ok_or(Mistake::Escape)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Mistake::Escape);
        }
        let byte = u8::from_str_radix(digits, 16).map_err(|_| Mistake::Escape)?;
        match byte {
            b'/' | b'\\' => return Err(Mistake::Slash),
            0..=31 | 127 => return Err(Mistake::Control),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => {
                out.push('%');
                out.push_str(&digits.to_ascii_uppercase());
            }
        }
        rest = &rest[at + 3..];
    }
    out.push_str(check(rest)?);
    Ok(Cow::Owned(out))
}

fn check(text: &str) -> Result<&str, Mistake> {
    for byte in text.bytes() {
        match byte {
            b'\\' => return Err(Mistake::Slash),
            0..=32 | 127 => return Err(Mistake::Control),
            _ => {}
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spellings() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/", "/a/"),
            ("/%61dmin", "/admin"),
            ("/%61/../b", "/b"),
            ("/a/./b/.", "/a/b/"),
            ("/a/b/..", "/a/"),
            ("/a//b", "/a/b"),
            ("//a", "/a"),
            ("/a%2e%2E/b", "/a../b"),
            ("/x/%2e%2e/admin", "/admin"),
            ("/a%c3%a9%3f", "/a%C3%A9%3F"),
            ("/%2561dmin", "/%2561dmin"),
            ("/.well-known/jwks.json", "/.well-known/jwks.json"),
            ("/...", "/..."),
        ] {
            assert_eq!(normalise(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn what_servers_read_differently_is_refused() {
        for (path, mistake) in [
            ("/a%2fb", Mistake::Slash),
            ("/a%5Cb", Mistake::Slash),
            ("/a\\b", Mistake::Slash),
            ("/%00", Mistake::Control),
            ("/%0d%0a", Mistake::Control),
            ("/..", Mistake::AboveRoot),
            ("/a/../..", Mistake::AboveRoot),
            ("/%", Mistake::Escape),
            ("/%4", Mistake::Escape),
            ("/%zz", Mistake::Escape),
            ("/%+1", Mistake::Escape),
            ("a", Mistake::NotAbsolute),
            ("*", Mistake::NotAbsolute),
        ] {
            assert_eq!(normalise(path), Err(mistake), "{path}");
        }
    }

    proptest! {
        #[test]
        fn a_normal_path_stays(path in "(/([a-c.%/]|%2e|%41|%25|é){0,6}){1,4}") {
            if let Ok(once) = normalise(&path) {
                prop_assert!(once.starts_with('/'));
                let climbs = once.split('/').any(|segment| segment == "." || segment == "..");
                prop_assert!(!climbs && !once.contains("//"), "{}", once);
                prop_assert_eq!(normalise(&once), Ok(Cow::Borrowed(&*once)));
            }
        }

        #[test]
        fn no_path_panics(path in "\\PC*") {
            let _ = normalise(&path);
        }
    }
}
