//! A tree of path segments.

use rustc_hash::FxHashMap;

/// A path of a route: `/a`, `/a/{x}/b`, `/a/*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pattern {
    segments: Vec<Segment>,
    prefix: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Segment {
    Literal(Box<str>),
    /// The name is for people: `/{a}` and `/{b}` are the same pattern.
    Param,
}

impl Pattern {
    /// Reads a path as written.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let rest = text.strip_prefix('/').ok_or("a path begins with `/`")?;
        let (rest, prefix) = match rest.strip_suffix('*') {
            Some("") => ("", true),
            Some(folder) => {
                let folder = folder.strip_suffix('/');
                (
                    folder.ok_or("`*` stands for whole segments: write `/*` at the end")?,
                    true,
                )
            }
            None => (rest, false),
        };
        let mut segments = Vec::new();
        if !(prefix && rest.is_empty()) {
            for segment in rest.split('/') {
                segments.push(Segment::parse(segment)?);
            }
        }
        Ok(Self { segments, prefix })
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(name) = text
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
        {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            return match !name.is_empty() && name.chars().all(plain) {
                true => Ok(Self::Param),
                false => Err("a name in braces has letters, digits and `_`"),
            };
        }
        if text.contains(['{', '}', '*']) {
            return Err("`{name}` stands for a whole segment, and `*` only at the end");
        }
        if text.contains(['?', '#', ' ', '\\']) || text.chars().any(char::is_control) {
            return Err("a path has no query, space, backslash or control character");
        }
        Ok(Self::Literal(text.into()))
    }
}

/// Routes by path.
#[derive(Debug, Default)]
pub(super) struct Trie {
    literal: FxHashMap<Box<str>, Trie>,
    param: Option<Box<Trie>>,
    /// Routes that end here, those with the most conditions first.
    exact: Vec<u32>,
    /// Routes for here and below.
    prefix: Vec<u32>,
}

impl Trie {
    pub(super) fn insert(&mut self, pattern: &Pattern, route: u32) {
        let mut node = self;
        for segment in &pattern.segments {
            node = match segment {
                Segment::Literal(text) => node.literal.entry(text.clone()).or_default(),
                Segment::Param => node.param.get_or_insert_default(),
            };
        }
        match pattern.prefix {
            true => node.prefix.push(route),
            false => node.exact.push(route),
        }
    }

    /// The first route on the way from specific to general that `accept` takes.
    pub(super) fn find(&self, path: &str, accept: &mut impl FnMut(u32) -> bool) -> Option<u32> {
        self.descend(path.strip_prefix('/'), accept)
    }

    /// `rest` is what follows the slash; none at the end of the path.
    fn descend(&self, rest: Option<&str>, accept: &mut impl FnMut(u32) -> bool) -> Option<u32> {
        let mut first = |routes: &[u32]| routes.iter().copied().find(|route| accept(*route));
        let Some(rest) = rest else {
            return first(&self.exact).or_else(|| first(&self.prefix));
        };
        let (segment, tail) = match memchr::memchr(b'/', rest.as_bytes()) {
            Some(slash) => (&rest[..slash], Some(&rest[slash + 1..])),
            None => (rest, None),
        };
        if let Some(child) = self.literal.get(segment)
            && let Some(route) = child.descend(tail, accept)
        {
            return Some(route);
        }
        if let Some(child) = self.param.as_deref()
            && !segment.is_empty()
            && let Some(route) = child.descend(tail, accept)
        {
            return Some(route);
        }
        self.prefix.iter().copied().find(|route| accept(*route))
    }

    /// Orders the routes of each path by a key, smallest first.
    pub(super) fn sort_by_key(&mut self, key: &impl Fn(u32) -> (usize, u32)) {
        self.exact.sort_by_key(|route| key(*route));
        self.prefix.sort_by_key(|route| key(*route));
        for child in self.literal.values_mut().chain(self.param.as_deref_mut()) {
            child.sort_by_key(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn trie(paths: &[&str]) -> Trie {
        let mut trie = Trie::default();
        for (at, path) in paths.iter().enumerate() {
            trie.insert(&Pattern::parse(path).unwrap(), u32::try_from(at).unwrap());
        }
        trie
    }

    #[test]
    fn the_most_specific_path_wins() {
        let paths = [
            "/*",
            "/a/*",
            "/a/b",
            "/a/{x}",
            "/a/{x}/c",
            "/a/b/*",
            "/",
            "/a/",
            "/a/b/{y}/d",
        ];
        let trie = trie(&paths);
        for (path, expected) in [
            ("/", "/"),
            ("/z", "/*"),
            ("/z/z", "/*"),
            ("/a", "/a/*"),
            ("/a/", "/a/"),
            ("/a/b", "/a/b"),
            ("/a/x", "/a/{x}"),
            ("/a/x/c", "/a/{x}/c"),
            ("/a/x/d", "/a/*"),
            ("/a/b/c", "/a/b/*"),
            ("/a/b/1/d", "/a/b/{y}/d"),
            ("/a/b/1/e", "/a/b/*"),
            ("/ab", "/*"),
        ] {
            let found = trie.find(path, &mut |_| true).map(|at| paths[at as usize]);
            assert_eq!(found, Some(expected), "{path}");
        }
    }

    #[test]
    fn a_refused_route_leaves_the_next_general_one() {
        let trie = trie(&["/*", "/a/{x}", "/a/b"]);
        let mut seen = Vec::new();
        trie.find("/a/b", &mut |route| {
            seen.push(route);
            false
        });
        assert_eq!(seen, [2, 1, 0]);
    }

    #[test]
    fn patterns_that_say_nothing_clear_are_refused() {
        for wrong in [
            "a", "", "/a*", "/{x", "/x}", "/{}", "/a{b}", "/*/b", "/a?b", "/a b", "/{a-b}",
        ] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Pattern::parse("/{a}"), Pattern::parse("/{b}"));
    }

    proptest! {
        #[test]
        fn agrees_with_trying_every_pattern(
            patterns in prop::collection::vec("(/(a|b|\\{x\\})){0,3}(/\\*)?", 1..12),
            path in "(/(a|b|c)){1,4}",
        ) {
            let patterns: Vec<&str> =
                patterns.iter().map(String::as_str).filter(|p| Pattern::parse(p).is_ok()).collect();
            let trie = trie(&patterns);
            let found = trie.find(&path, &mut |_| true);
            let matching = patterns.iter().any(|pattern| plainly_matches(pattern, &path));
            prop_assert_eq!(found.is_some(), matching);
            if let Some(at) = found {
                prop_assert!(plainly_matches(patterns[at as usize], &path));
            }
        }
    }

    fn plainly_matches(pattern: &str, path: &str) -> bool {
        let (folder, prefix) = match pattern.strip_suffix("/*") {
            Some(folder) => (folder, true),
            None => (pattern, false),
        };
        let wanted: Vec<&str> = folder.split('/').collect();
        let given: Vec<&str> = path.split('/').collect();
        let fits = |(want, give): (&&str, &&str)| *want == "{x}" || want == give;
        let length_fits = if prefix {
            given.len() >= wanted.len()
        } else {
            given.len() == wanted.len()
        };
        length_fits && wanted.iter().zip(&given).all(fits)
    }
}
