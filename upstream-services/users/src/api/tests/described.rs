//! Every answer that a test gets is one that the OpenAPI document tells of: status, headers and members.

use std::sync::LazyLock;

use axum::http::header::{ACCEPT_ENCODING, ETAG, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};

use super::*;
use crate::api::openapi;
use crate::api::seen::SEEN;

static DOCUMENT: LazyLock<Value> = LazyLock::new(openapi::as_json);

/// Asserts it, for what there is an operation for.
pub(super) fn assert_described(method: &Method, path: &str, answer: &Answer) {
    let Some((template, operation)) = operation(method, path) else {
        return;
    };
    let status = answer.status.as_str();
    let described = &operation["responses"][status];
    assert!(
        described.is_object(),
        "{method} {template} does not tell of {status}: {}",
        answer.text()
    );
    for name in [
        ACCEPT_ENCODING,
        ETAG,
        LOCATION,
        RETRY_AFTER,
        WWW_AUTHENTICATE,
        SEEN,
    ] {
        let there = answer.headers.contains_key(&name);
        // Some headers are not there each time.
        let told = described["headers"].as_object();
        let told = told.is_some_and(|told| {
            told.keys()
                .any(|told| name.as_str().eq_ignore_ascii_case(told))
        });
        assert!(
            told || !there,
            "{method} {template} {status} does not tell of {name}"
        );
    }
    // RFC 9110, section 15.5.2.
    if answer.status == StatusCode::UNAUTHORIZED {
        let challenge = answer.header("www-authenticate");
        assert!(!challenge.is_empty(), "{method} {template}");
    }
    match described["content"]
        .as_object()
        .and_then(|content| content.iter().next())
    {
        Some((media_type, content)) => {
            assert_eq!(
                answer.header("content-type"),
                media_type,
                "{method} {template}"
            );
            assert_fits(
                &answer.json(),
                &content["schema"],
                &format!("{method} {template}"),
            );
        }
        None => assert!(
            answer.body.is_empty(),
            "{method} {template} {status}: {}",
            answer.text()
        ),
    }
}

fn operation(method: &Method, path: &str) -> Option<(&'static str, &'static Value)> {
    let path = path.split('?').next().unwrap_or_default();
    let paths = DOCUMENT["paths"].as_object()?;
    // A path without parameters goes first.
    let exact = paths.get_key_value(path);
    let found = exact.or_else(|| {
        paths
            .iter()
            .find(|(template, _)| separate::fits(template, path))
    });
    let (template, item) = found?;
    Some((template, item.get(method.as_str().to_lowercase())?))
}

/// What must be there is, of its type, and nothing else.
fn assert_fits(value: &Value, schema: &'static Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = DOCUMENT
            .pointer(&reference[1..])
            .expect("references resolve");
        return assert_fits(value, schema, at);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let choice = choices
            .iter()
            .find(|choice| (choice["type"] == "null") == value.is_null());
        let choice = choice.unwrap_or_else(|| panic!("{at}: {value} is none of {choices:?}"));
        return assert_fits(value, choice, at);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let types = &schema["type"];
    let fits = types == kind
        || types
            .as_array()
            .is_some_and(|types| types.contains(&kind.into()));
    assert!(fits, "{at} is {value}, and should be {types}");
    for (number, item) in value.as_array().into_iter().flatten().enumerate() {
        assert_fits(item, &schema["items"], &format!("{at}[{number}]"));
    }
    let (Some(members), Some(properties)) = (value.as_object(), schema["properties"].as_object())
    else {
        return;
    };
    for (name, member) in members {
        let property = properties.get(name);
        let property = property.unwrap_or_else(|| panic!("{at} does not tell of {name}"));
        assert_fits(member, property, &format!("{at}.{name}"));
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().expect("names are text");
        assert!(members.contains_key(name), "{at} has no {name}");
    }
}
