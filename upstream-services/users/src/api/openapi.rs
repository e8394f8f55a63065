//! `GET /openapi.json`: the API described by the types and comments it is made of.

use std::sync::LazyLock;

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use utoipa::OpenApi;

use super::{
    accounts, admin, devices, history, profiles, records, recovery, service, sessions, totp,
};

mod additions;

use additions::{Additions, ProblemBody};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tidegate user services",
        description = "Accounts, sessions and profiles. Every error is an RFC 9457 problem, whose `type` is for \
                       programs; there may be more types some day. Unknown fields of a body are refused with \
                       422 and their name. A gateway in front may answer with problems of its own: 429 when its \
                       limit is reached, 502, 503 and 504 when it reaches no service."
    ),
    paths(
        accounts::register,
        accounts::change_password,
        sessions::login,
        sessions::refresh,
        sessions::logout,
        recovery::request,
        recovery::confirm,
        totp::begin,
        totp::confirm,
        totp::end,
        devices::list,
        devices::end,
        history::history,
        profiles::me,
        profiles::change_me,
        profiles::user,
        profiles::batch,
        records::export,
        records::erase,
        admin::find,
        admin::disable,
        admin::enable,
        service::jwks,
        service::healthz,
        document,
    ),
    components(schemas(ProblemBody)),
    tags(
        (name = "accounts", description = "Registration, passwords, second factors, recovery, and all that is stored"),
        (name = "sessions", description = "Logins, tokens, and where one is logged in"),
        (name = "profiles", description = "One's own profile, and what others show"),
        (name = "history", description = "What happened to the account"),
        (name = "admin", description = "For administrators"),
        (name = "service", description = "What other services ask"),
    ),
    modifiers(&Additions)
)]
struct Api;

/// This document
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "read_document", tag = "service",
    responses((status = 200, description = "The OpenAPI 3.1 document", body = Object))
)]
pub(super) async fn document() -> impl IntoResponse {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let text = Api::openapi().to_json();
        text.expect("the document is made of strings, numbers and maps")
    });
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "public, max-age=300"),
    ];
    (headers, TEXT.as_str())
}

/// The document, to be looked into.
#[cfg(test)]
pub(super) fn as_json() -> serde_json::Value {
    serde_json::to_value(Api::openapi()).expect("the document is made of strings, numbers and maps")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::api::routes;

    fn api() -> Value {
        as_json()
    }

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let api = api();
        assert_eq!(api["openapi"], "3.1.0");
        let mut described = 0;
        for item in api["paths"].as_object().unwrap().values() {
            described += item.as_object().unwrap().len();
        }
        for (method, path, _) in routes() {
            let operation = &api["paths"][path][method.as_str().to_lowercase()];
            assert!(operation.is_object(), "{method} {path} is not described");
            assert!(
                operation["summary"].is_string(),
                "{method} {path} has no summary"
            );
        }
        assert_eq!(described, routes().len());
    }

    /// Generated clients call their functions so.
    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let api = api();
        let items = api["paths"].as_object().unwrap().values();
        let operations = items.flat_map(|item| item.as_object().unwrap().values());
        let mut names = std::collections::HashSet::new();
        for operation in operations {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "`{name}` is there twice");
        }
        assert_eq!(names.len(), routes().len());
    }

    #[test]
    fn refusals_and_security_are_complete() {
        let api = api();
        assert_eq!(
            api["components"]["securitySchemes"]["bearer"]["scheme"],
            "bearer"
        );
        assert!(api["components"]["schemas"]["Problem"].is_object());
        for (_, item) in api["paths"].as_object().unwrap() {
            for (_, operation) in item.as_object().unwrap() {
                let responses = operation["responses"].as_object().unwrap();
                assert!(responses.contains_key("500") && responses.contains_key("503"));
                if operation["security"].is_array() {
                    assert!(responses.contains_key("401"), "{operation}");
                }
                if operation["requestBody"].is_object() {
                    for status in ["400", "408", "413", "415", "422"] {
                        assert!(responses.contains_key(status), "{operation}");
                    }
                }
                for (status, response) in responses {
                    let problem = &response["content"]["application/problem+json"];
                    assert_eq!(problem.is_object(), status.as_str() >= "400", "{status}");
                }
            }
        }
    }

    #[test]
    fn every_reference_resolves() {
        fn check(value: &Value, api: &Value) {
            if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
                assert!(api.pointer(&reference[1..]).is_some(), "{reference}");
            }
            match value {
                Value::Object(members) => members.values().for_each(|value| check(value, api)),
                Value::Array(items) => items.iter().for_each(|value| check(value, api)),
                _ => {}
            }
        }
        let api = api();
        check(&api, &api);
    }
}
