//! Judging the head of a request and finding its route.

use chassis::problem::Problem;
use http::{HeaderName, HeaderValue, Version, header};
use pingora_http::RequestHeader;
use plugins::{Reply, RequestHead};

use crate::config::PathsConfig;
use crate::refusal::Refusal;
use crate::route::{Found, Wanted, normalise};
use crate::state::State;

/// Brings the path into its one form. Host and target have been judged by the connection.
pub(super) fn normalise_head(head: &mut RequestHeader, policy: PathsConfig) -> Result<(), Refusal> {
    let h2 = head.version == Version::HTTP_2;
    let path = head.uri.path();
    let normal = normalise(path, policy)?;
    if normal == path {
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
            set.map_err(|_| Refusal::Target)
        }
    }
}

/// In HTTP/2 the authority is part of the URI and must stay.
fn set_h2_target(head: &mut RequestHeader, target: &str) -> Result<(), Refusal> {
    let mut parts = head.uri.clone().into_parts();
    parts.path_and_query = Some(target.parse().map_err(|_| Refusal::Target)?);
    head.set_uri(http::Uri::from_parts(parts).map_err(|_| Refusal::Target)?);
    Ok(())
}

/// Drops the headers that a CGI cannot tell from others: there `x_user_id` and `x-user-id` are one.
pub(super) fn drop_underscores(head: &mut RequestHeader) {
    let doubtful = |name: &&HeaderName| memchr::memchr(b'_', name.as_str().as_bytes()).is_some();
    while let Some(name) = head.headers.keys().find(doubtful).cloned() {
        head.remove_header(&name);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_get_one_form() {
        for (target, expected) in [
            ("/a?b=/../c", Ok("/a?b=/../c")),
            ("/x/../%61?q", Ok("/a?q")),
            ("/a%2fb", Err(Refusal::PathSlash)),
            ("/../a", Err(Refusal::PathAboveRoot)),
        ] {
            let mut head = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
            let outcome = normalise_head(&mut head, PathsConfig::default());
            assert_eq!(outcome, expected.map(drop), "{target}");
            if let Ok(expected) = expected {
                assert_eq!(head.raw_path(), expected.as_bytes());
            }
        }
    }
}
