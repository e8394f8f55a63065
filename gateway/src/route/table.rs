//! Every route, by host and path.

use std::borrow::Cow;

use http::{Method, header};
use plugins::RequestHead;
use rustc_hash::FxHashMap;

use super::conditions::Conditions;
use super::trie::{Pattern, Trie};

/// Every route; routes are numbers in the order of the configuration.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    exact: FxHashMap<Box<str>, Trie>,
    /// By what follows `*.`.
    below: FxHashMap<Box<str>, Trie>,
    any: Trie,
    conditions: Vec<Conditions>,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) host: &'a str,
    /// In its normal spelling.
    pub(crate) path: &'a str,
    pub(crate) head: &'a RequestHead,
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Route(u32),
    /// A route would match with one of these methods.
    OtherMethods(Vec<Method>),
    Nothing,
}

impl RouteTable {
    pub(crate) fn insert(&mut self, hosts: &[&str], pattern: &Pattern, conditions: Conditions) {
        let route = u32::try_from(self.conditions.len()).unwrap_or(u32::MAX);
        self.conditions.push(conditions);
        if hosts.is_empty() {
            self.any.insert(pattern, route);
        }
        for host in hosts {
            let host = host.to_ascii_lowercase();
            let trie = match host.strip_prefix("*.") {
                Some(suffix) => self.below.entry(suffix.into()).or_default(),
                None => self.exact.entry(host.into()).or_default(),
            };
            trie.insert(pattern, route);
        }
    }

    /// To be called once after the last insert.
    pub(crate) fn finish(&mut self) {
        let conditions = &self.conditions;
        let key = |route: u32| (usize::MAX - conditions[route as usize].count(), route);
        self.any.sort_by_key(&key);
        for trie in self.exact.values_mut().chain(self.below.values_mut()) {
            trie.sort_by_key(&key);
        }
    }

    /// Finds the most specific route that matches in full.
    pub(crate) fn find(&self, wanted: Wanted<'_>) -> Found {
        let host = plain_host(wanted.host);
        let method = effective_method(wanted.head);
        let mut other_methods: Vec<Method> = Vec::new();
        let mut accept = |route: u32| {
            let conditions = &self.conditions[route as usize];
            if !conditions.headers_fit(wanted.head) {
                return false;
            }
            let fits = conditions.method_fits(&method);
            if !fits {
                other_methods.extend_from_slice(conditions.methods());
            }
            fits
        };
        let found = self
            .tries(&host)
            .find_map(|trie| trie.find(wanted.path, &mut accept));
        match found {
            Some(route) => Found::Route(route),
            None if other_methods.is_empty() => Found::Nothing,
            None => {
                other_methods.sort_by(|a, b| a.as_str().cmp(b.as_str()));
                other_methods.dedup();
                Found::OtherMethods(other_methods)
            }
        }
    }

    /// The tries for a host, the most specific first.
    fn tries<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a Trie> {
        let searched = if self.below.is_empty() { "" } else { host };
        let suffixes = searched.match_indices('.').map(|(dot, _)| &host[dot + 1..]);
        let below = suffixes.filter_map(|suffix| self.below.get(suffix));
        self.exact
            .get(host)
            .into_iter()
            .chain(below)
            .chain([&self.any])
    }
}

/// A host without its port and final dot, in lower case.
fn plain_host(host: &str) -> Cow<'_, str> {
    let name = match memchr::memrchr(b':', host.as_bytes()) {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    }
}

/// A browser's preflight request takes the route of the request that it asks about.
fn effective_method<'a>(head: &'a RequestHead) -> Cow<'a, Method> {
    let asked = || {
        let value = head.header(&header::ACCESS_CONTROL_REQUEST_METHOD)?;
        Method::from_bytes(value.as_bytes()).ok()
    };
    match *head.method() == Method::OPTIONS {
        true => asked().map_or(Cow::Borrowed(head.method()), Cow::Owned),
        false => Cow::Borrowed(head.method()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RouteConfig;
    use chassis::config::Located;

    /// Routes as (hosts, path, methods, headers).
    type Row = (
        &'static [&'static str],
        &'static str,
        &'static [&'static str],
        &'static [(&'static str, &'static str)],
    );

    fn table(rows: &[Row]) -> RouteTable {
        let mut table = RouteTable::default();
        for (hosts, path, methods, headers) in rows {
            let text = |text: &str| Located::nowhere(text.to_owned());
            let conditions = Conditions::compile(&RouteConfig {
                name: text("r"),
                hosts: Vec::new(),
                path: text(path),
                methods: methods.iter().map(|method| text(method)).collect(),
                headers: headers
                    .iter()
                    .map(|(name, value)| (text(name), text(value)))
                    .collect(),
                cluster: text("c"),
                grpc_web: false,
                plugins: Vec::new(),
            });
            table.insert(hosts, &Pattern::parse(path).unwrap(), conditions.unwrap());
        }
        table.finish();
        table
    }

    fn find(
        table: &RouteTable,
        method: &str,
        host: &str,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Found {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut head = RequestHead::new(method, http::Version::HTTP_11, path);
        for (name, value) in headers {
            let value = http::HeaderValue::from_str(value).unwrap();
            head.add_header(&http::HeaderName::from_static(name), value);
        }
        table.find(Wanted {
            host,
            path,
            head: &head,
        })
    }

    #[test]
    fn hosts_from_specific_to_general() {
        let table = table(&[
            (&[], "/*", &[], &[]),
            (&["*.example.com"], "/*", &[], &[]),
            (&["*.a.example.com"], "/*", &[], &[]),
            (&["a.example.com", "B.example.com"], "/only", &[], &[]),
        ]);
        for (host, path, route) in [
            ("a.example.com", "/only", 3),
            ("A.Example.COM:8080", "/only", 3),
            ("b.example.com.", "/only", 3),
            ("a.example.com", "/other", 1),
            ("x.a.example.com", "/", 2),
            ("x.y.a.example.com", "/", 2),
            ("example.com", "/", 0),
            ("[::1]:80", "/", 0),
            ("", "/", 0),
        ] {
            assert_eq!(
                find(&table, "GET", host, path, &[]),
                Found::Route(route),
                "{host}{path}"
            );
        }
    }

    #[test]
    fn methods_and_headers() {
        let table = table(&[
            (&[], "/a", &["GET"], &[]),
            (&[], "/a", &["GET"], &[("x-canary", "1")]),
            (&[], "/a", &["POST"], &[("x-any", "*")]),
            (&[], "/b", &["PUT"], &[]),
            (&[], "/*", &["PATCH"], &[]),
        ]);
        assert_eq!(find(&table, "GET", "h", "/a", &[]), Found::Route(0));
        assert_eq!(find(&table, "HEAD", "h", "/a", &[]), Found::Route(0));
        assert_eq!(
            find(&table, "GET", "h", "/a", &[("x-canary", "1")]),
            Found::Route(1)
        );
        assert_eq!(
            find(&table, "GET", "h", "/a", &[("x-canary", "2")]),
            Found::Route(0)
        );
        assert_eq!(
            find(&table, "POST", "h", "/a", &[("x-any", "")]),
            Found::Route(2)
        );
        assert_eq!(
            find(&table, "PATCH", "h", "/b", &[]),
            Found::Route(4),
            "falls to the general"
        );
        let others = Found::OtherMethods(vec![Method::PATCH, Method::PUT]);
        assert_eq!(find(&table, "GET", "h", "/b", &[]), others);
        let preflight = [("access-control-request-method", "PUT")];
        assert_eq!(
            find(&table, "OPTIONS", "h", "/b", &preflight),
            Found::Route(3)
        );
    }
}
