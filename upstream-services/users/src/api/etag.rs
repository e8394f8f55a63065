//! Entity tags of profiles, and the conditions made with them (RFC 9110, sections 8.8.3, 13.1).

use axum::http::HeaderValue;
use axum::http::header::{HeaderMap, HeaderName, IF_MATCH, IF_NONE_MATCH};

use crate::profiles::Profile;

/// The tag of a profile: changes with every change of it.
pub(super) fn of(profile: &Profile) -> HeaderValue {
    let tag = format!("\"{}-{}\"", profile.id, profile.version);
    HeaderValue::try_from(tag).expect("digits, a hyphen and quotation marks")
}

/// Whether If-None-Match names this tag: the client has the newest profile.
pub(super) fn none_match_fails(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    // Weak comparison (section 13.1.2).
    headers.contains_key(IF_NONE_MATCH)
        && listed(headers, &IF_NONE_MATCH)
            .any(|given| given == "*" || tag == given.trim_start_matches("W/"))
}

/// Whether If-Match is absent or names this tag.
pub(super) fn match_holds(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    // Strong comparison (section 13.1.1): a weak tag never matches.
    !headers.contains_key(IF_MATCH)
        || listed(headers, &IF_MATCH).any(|given| given == "*" || tag == given)
}

/// The tags of a header. Ours hold no comma, so a list splits at commas.
fn listed<'h>(headers: &'h HeaderMap, name: &'h HeaderName) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(name).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn conditions_follow_rfc_9110() {
        let tag = &HeaderValue::from_static("\"1-2\"");
        for (value, fails) in [
            ("\"1-2\"", true),
            ("W/\"1-2\"", true),
            ("\"x\", \"1-2\"", true),
            ("*", true),
            ("\"1-3\"", false),
            ("", false),
        ] {
            assert_eq!(
                none_match_fails(&headers(IF_NONE_MATCH, value), tag),
                fails,
                "{value}"
            );
        }
        for (value, holds) in [
            ("\"1-2\"", true),
            ("*", true),
            ("W/\"1-2\"", false),
            ("\"1-3\"", false),
            ("", false),
        ] {
            assert_eq!(
                match_holds(&headers(IF_MATCH, value), tag),
                holds,
                "{value}"
            );
        }
        let none = HeaderMap::new();
        assert!(match_holds(&none, tag) && !none_match_fails(&none, tag));
    }
}
