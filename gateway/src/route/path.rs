//! One spelling for each path, so that the route that is judged is the resource that is served.
//!
//! RFC 3986, section 6.2.2: escapes of unreserved characters are decoded,
//! the others written in upper case, dot segments removed. Empty segments are
//! dropped too, as most servers do. What servers read differently is refused:
//! a backslash, NUL and control characters, and, unless the listener's policy says
//! otherwise, an escaped slash or backslash and an escape that is escaped itself.

use std::borrow::Cow;

use crate::config::{DotSegments, Doubtful, EmptySegments, PathsConfig};
use crate::refusal::Refusal;

/// The path in its one spelling; borrowed when it already is.
///
/// # Errors
/// Why servers could read it differently.
pub(crate) fn normalise(path: &str, policy: PathsConfig) -> Result<Cow<'_, str>, Refusal> {
    if !path.starts_with('/') {
        return Err(Refusal::Target);
    }
    if is_plain(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let keeps_empty = policy.empty_segments == EmptySegments::Keep;
    let mut out = String::with_capacity(path.len());
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        let segment = decode(segment, policy)?;
        let last = segments.peek().is_none();
        if policy.dot_segments == DotSegments::Reject && matches!(&*segment, "." | "..") {
            return Err(Refusal::PathDots);
        }
        match &*segment {
            "" if keeps_empty => out.push('/'),
            "" | "." if last => out.push('/'),
            "" | "." => {}
            ".." => {
                let folder = out.rfind('/').ok_or(Refusal::PathAboveRoot)?;
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

fn decode(segment: &str, policy: PathsConfig) -> Result<Cow<'_, str>, Refusal> {
    let mut out = String::with_capacity(segment.len());
    let mut rest = segment;
    while let Some(at) = rest.find('%') {
        out.push_str(check(&rest[..at])?);
        let digits = rest.get(at + 1..at + 3).ok_or(Refusal::PathEscape)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Refusal::PathEscape);
        }
        let byte = u8::from_str_radix(digits, 16).map_err(|_| Refusal::PathEscape)?;
        rest = &rest[at + 3..];
        match byte {
            b'/' | b'\\' if policy.encoded_slash == Doubtful::Reject => {
                return Err(Refusal::PathSlash);
            }
            0..=31 | 127 => return Err(Refusal::PathControl),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => {
                out.push('%');
                out.push_str(&digits.to_ascii_uppercase());
            }
        }
    }
    out.push_str(check(rest)?);
    match policy.double_encoding == Doubtful::Reject && has_double_escape(&out) {
        true => Err(Refusal::PathDoubleEscape),
        false => Ok(Cow::Owned(out)),
    }
}

/// Whether a decoded segment holds an escape that is escaped itself.
fn has_double_escape(segment: &str) -> bool {
    segment.match_indices("%25").any(|(at, escape)| {
        let digits = segment.as_bytes()[at + escape.len()..].get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

fn check(text: &str) -> Result<&str, Refusal> {
    for byte in text.bytes() {
        match byte {
            b'\\' => return Err(Refusal::PathSlash),
            0..=32 | 127 => return Err(Refusal::PathControl),
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
            ("/.well-known/jwks.json", "/.well-known/jwks.json"),
            ("/...", "/..."),
        ] {
            assert_eq!(
                normalise(path, PathsConfig::default()).as_deref(),
                Ok(expected),
                "{path}"
            );
        }
    }

    #[test]
    fn what_servers_read_differently_is_refused() {
        for (path, mistake) in [
            ("/a%2fb", Refusal::PathSlash),
            ("/a%5Cb", Refusal::PathSlash),
            ("/a\\b", Refusal::PathSlash),
            ("/%00", Refusal::PathControl),
            ("/%0d%0a", Refusal::PathControl),
            ("/..", Refusal::PathAboveRoot),
            ("/a/../..", Refusal::PathAboveRoot),
            ("/%", Refusal::PathEscape),
            ("/%4", Refusal::PathEscape),
            ("/%zz", Refusal::PathEscape),
            ("/%+1", Refusal::PathEscape),
            ("a", Refusal::Target),
            ("*", Refusal::Target),
            ("/%2561dmin", Refusal::PathDoubleEscape),
            ("/%25%36%31", Refusal::PathDoubleEscape),
        ] {
            assert_eq!(
                normalise(path, PathsConfig::default()),
                Err(mistake),
                "{path}"
            );
        }
    }

    #[test]
    fn a_policy_can_keep_what_is_doubtful_and_refuse_dots() {
        let keep = PathsConfig {
            encoded_slash: Doubtful::Keep,
            double_encoding: Doubtful::Keep,
            empty_segments: EmptySegments::Keep,
            dot_segments: DotSegments::Reject,
        };
        for (path, expected) in [
            ("/a%2fb", Ok("/a%2Fb")),
            ("/%2561dmin", Ok("/%2561dmin")),
            ("/a//b/", Ok("/a//b/")),
            ("//", Ok("//")),
            ("/a/./b", Err(Refusal::PathDots)),
            ("/a/%2e%2e/b", Err(Refusal::PathDots)),
        ] {
            assert_eq!(
                normalise(path, keep).as_deref(),
                expected.as_ref().copied(),
                "{path}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_normal_path_stays(path in "(/([a-c.%/]|%2e|%41|%25|é){0,6}){1,4}") {
            if let Ok(once) = normalise(&path, PathsConfig::default()) {
                prop_assert!(once.starts_with('/'));
                let climbs = once.split('/').any(|segment| segment == "." || segment == "..");
                prop_assert!(!climbs && !once.contains("//"), "{}", once);
                prop_assert_eq!(normalise(&once, PathsConfig::default()), Ok(Cow::Borrowed(&*once)));
            }
        }

        #[test]
        fn no_path_panics(path in "\\PC*") {
            let _ = normalise(&path, PathsConfig::default());
        }
    }
}
