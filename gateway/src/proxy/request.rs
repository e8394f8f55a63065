//! Judging the head of a request and finding its route.

use std::net::SocketAddr;

use chassis::problem::Problem;
use http::{HeaderValue, Version, header};
use pingora_core::protocols::http::ServerSession;
use pingora_http::RequestHeader;
use plugins::{Client, Reply, RequestHead};

use super::Shared;
use crate::route::{Found, Wanted, normalise};
use crate::state::State;

impl Shared {
    /// Who sent the request.
    pub(super) fn client(&self, session: &ServerSession) -> Client {
        let local = session.server_addr().and_then(|address| address.as_inet());
        let names = self.names.load();
        let listener = local.and_then(|local| names.get(local).cloned());
        Client {
            address: session
                .client_addr()
                .and_then(|address| address.as_inet())
                .copied(),
            listener: listener.unwrap_or_else(|| "closed".into()),
            tls: session
                .digest()
                .is_some_and(|digest| digest.ssl_digest.is_some()),
        }
    }
}

/// Where the client is, and what it connected to.
pub(super) fn addresses(session: &ServerSession) -> Option<(SocketAddr, SocketAddr)> {
    let client = session.client_addr()?.as_inet()?;
    let server = session.server_addr()?.as_inet()?;
    Some((*client, *server))
}

/// Brings the head into its one form: origin-form target, normal path, a host.
///
/// Pingora has refused several hosts, and a target whose host is not the `Host` header's.
pub(super) fn normalise_head(head: &mut RequestHeader) -> Result<(), Reply> {
    let h2 = head.version == Version::HTTP_2;
    if head.version == Version::HTTP_11 && !head.headers.contains_key(header::HOST) {
        return Err(bad_request("the Host header is missing"));
    }
    if !has_known_form(head.raw_path()) {
        return Err(bad_request("the target is malformed"));
    }
    let path = head.uri.path();
    let normal = normalise(path).map_err(|mistake| bad_request(mistake.told()))?;
    if normal == path && (h2 || head.raw_path().starts_with(b"/")) {
        return Ok(());
    }
    let target = match head.uri.query() {
        Some(query) => format!("{normal}?{query}"),
        None => normal.into_owned(),
    };
    match h2 {
        true => set_h2_target(head, &target),
        false => {
            let set = head.set_raw_path(target.as_bytes());
            set.map_err(|_| bad_request("the target is malformed"))
        }
    }
}

/// Origin-form or absolute-form (RFC 9112, sections 3.2.1 and 3.2.2), without spaces, control
/// characters and bytes beyond ASCII.
fn has_known_form(target: &[u8]) -> bool {
    let absolute = |scheme: &str| {
        let start = target.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
    };
    let known = target.starts_with(b"/") || absolute("http://") || absolute("https://");
    known && target.iter().all(u8::is_ascii_graphic)
}

/// In HTTP/2 the authority is part of the URI and must stay.
fn set_h2_target(head: &mut RequestHeader, target: &str) -> Result<(), Reply> {
    let malformed = || bad_request("the target is malformed");
    let mut parts = head.uri.clone().into_parts();
    parts.path_and_query = Some(target.parse().map_err(|_| malformed())?);
    head.set_uri(http::Uri::from_parts(parts).map_err(|_| malformed())?);
    Ok(())
}

/// The number of the route, or the reply when there is none.
pub(super) fn find_route(state: &State, head: &mut RequestHeader) -> Result<u32, Reply> {
    let head = &RequestHead::new(head);
    let view = head.view();
    let host = view.host().unwrap_or_default();
    let found = state.table.find(Wanted {
        host,
        path: view.path(),
        head,
    });
    match found {
        Found::Route(route) => Ok(route),
        Found::Nothing => Err(Reply::problem(Problem::new(404, "no-route", "Not found"))),
        Found::OtherMethods(methods) => {
            let methods: Vec<&str> = methods.iter().map(http::Method::as_str).collect();
            let problem = Problem::new(405, "method-not-allowed", "Method not allowed");
            let allow = HeaderValue::from_str(&methods.join(", "));
            let allow = allow.unwrap_or(HeaderValue::from_static(""));
            Err(Reply::problem(problem).header(header::ALLOW, allow))
        }
    }
}

pub(super) fn bad_request(detail: &'static str) -> Reply {
    Reply::problem(Problem::new(400, "bad-request", "Bad request").detail(detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(target: &str, headers: &[(&'static str, &str)]) -> RequestHeader {
        let mut head = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
        for (name, value) in headers {
            head.append_header(*name, *value).unwrap();
        }
        head
    }

    #[test]
    fn heads_get_one_form() {
        for (target, expected) in [
            ("/a?b=/../c", "/a?b=/../c"),
            ("/x/../%61?q", "/a?q"),
            ("http://h/a/./b?q", "/a/b?q"),
            ("http://h/a", "/a"),
            ("http://h", "/"),
        ] {
            let mut head = head(target, &[("host", "h")]);
            let outcome = normalise_head(&mut head).map_err(|reply| reply.status);
            assert_eq!(outcome, Ok(()), "{target}");
            assert_eq!(head.raw_path(), expected.as_bytes());
        }
    }

    #[test]
    fn unclear_heads_are_refused() {
        for (target, headers) in [
            ("/", &[][..]),
            ("*", &[("host", "h")]),
            ("admin", &[("host", "h")]),
            ("a.test:80", &[("host", "h")]),
            ("?x", &[("host", "h")]),
            ("/é", &[("host", "h")]),
            ("/a%2fb", &[("host", "h")]),
            ("/../a", &[("host", "h")]),
        ] {
            let reply = normalise_head(&mut head(target, headers)).unwrap_err();
            assert_eq!(reply.status, 400, "{target}");
        }
    }
}
