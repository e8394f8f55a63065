//! Judging the head of a request and finding its route.

use chassis::problem::Problem;
use http::{HeaderValue, header};
use plugins::{Reply, RequestHead};

use crate::config::PathsConfig;
use crate::refusal::Refusal;
use crate::route::{Found, Wanted, normalise};
use crate::state::State;

/// Brings the path into its one form. Host and target have been judged by the connection.
pub(super) fn normalise_head(head: &mut RequestHead, policy: PathsConfig) -> Result<(), Refusal> {
    let path = head.path();
    let normal = normalise(path, policy)?;
    if normal == path {
        return Ok(());
    }
    let target = match head.query() {
        Some(query) => format!("{normal}?{query}"),
        None => normal.into_owned(),
    };
    head.set_target(target);
    Ok(())
}

/// Drops the headers that a CGI cannot tell from others: there `x_user_id` and `x-user-id` are one.
pub(super) fn drop_underscores(head: &mut RequestHead) {
    let doubtful = |name: &[u8]| memchr::memchr(b'_', name).is_some();
    if head.fields().raw().any(|(name, _)| doubtful(name)) {
        head.fields_mut().retain(|name, _| !doubtful(name));
    }
}

/// The number of the route, or the reply when there is none.
pub(super) fn find_route(state: &State, head: &RequestHead) -> Result<u32, Reply> {
    let found = state.table.find(Wanted {
        host: head.host().unwrap_or_default(),
        path: head.path(),
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
    use http::{Method, Version};

    use super::*;

    #[test]
    fn heads_get_one_form() {
        for (target, expected) in [
            ("/a?b=/../c", Ok("/a?b=/../c")),
            ("/x/../%61?q", Ok("/a?q")),
            ("/a%2fb", Err(Refusal::PathSlash)),
            ("/../a", Err(Refusal::PathAboveRoot)),
        ] {
            let mut head = RequestHead::new(Method::GET, Version::HTTP_11, target);
            let outcome = normalise_head(&mut head, PathsConfig::default());
            assert_eq!(outcome, expected.map(drop), "{target}");
            if let Ok(expected) = expected {
                assert_eq!(head.target(), expected);
            }
        }
    }
}
