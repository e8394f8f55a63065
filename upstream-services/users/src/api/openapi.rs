//! `GET /openapi.json`: the API described by the types and comments it is made of.

use std::sync::LazyLock;

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{Modify, OpenApi, ToSchema};

use super::{
    accounts, admin, devices, history, profiles, records, recovery, service, sessions, totp,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tidegate user services",
        description = "Accounts, sessions and profiles. Every error is an RFC 9457 problem; \
                       unknown fields of a body are refused with 422 and their name."
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
    modifiers(&Refusals)
)]
struct Api;

/// An RFC 9457 problem.
#[derive(ToSchema)]
#[schema(as = Problem)]
#[expect(
    dead_code,
    reason = "describes chassis::problem::Problem, which is what is sent"
)]
struct ProblemBody {
    /// `urn:tidegate:problem:` and a stable word.
    #[schema(example = "urn:tidegate:problem:taken")]
    r#type: String,
    /// One line, the same for every problem of this type.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What is wrong this time.
    detail: Option<String>,
    /// The id of the request, also in the header `x-request-id`.
    request_id: String,
}

/// Adds what follows from an operation's kind: refusals, and the security scheme.
struct Refusals;

impl Modify for Refusals {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("An access token from login or refresh."));
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
        for item in api.paths.paths.values_mut() {
            let operations = [
                &mut item.get,
                &mut item.post,
                &mut item.patch,
                &mut item.delete,
            ];
            operations.into_iter().flatten().for_each(add_refusals);
        }
    }
}

fn add_refusals(operation: &mut Operation) {
    let mut refusals = vec![
        ("500", "Something went wrong on our side"),
        (
            "503",
            "Overloaded or out of reach; try again after Retry-After",
        ),
    ];
    if operation.security.is_some() {
        refusals.push(("401", "No access token, or one that is not valid any more"));
    }
    if operation.request_body.is_some() {
        refusals.extend([
            ("400", "The body is not valid JSON"),
            ("413", "The body is larger than 64 KiB"),
            ("415", "The body is not declared as application/json"),
            (
                "422",
                "A field is unknown, missing or not valid; the detail names it",
            ),
        ]);
    }
    let responses = &mut operation.responses.responses;
    for (status, description) in refusals {
        let refusal = || RefOr::T(ResponseBuilder::new().description(description).build());
        responses.entry(status.to_owned()).or_insert_with(refusal);
    }
    for (status, response) in responses {
        if let RefOr::T(response) = response
            && (status.starts_with('4') || status.starts_with('5'))
        {
            describe_problem(response);
        }
    }
}

fn describe_problem(response: &mut Response) {
    let problem = RefOr::Ref(Ref::from_schema_name("Problem"));
    let content = ContentBuilder::new().schema(Some(problem)).build();
    let media_type = chassis::problem::CONTENT_TYPE.to_owned();
    response.content.insert(media_type, RefOr::T(content));
}

/// This document
#[utoipa::path(
    get, path = "/openapi.json", tag = "service",
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

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::api::routes;

    fn api() -> Value {
        serde_json::to_value(Api::openapi()).unwrap()
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
                    for status in ["400", "413", "415", "422"] {
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
