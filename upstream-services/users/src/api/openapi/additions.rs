//! What follows from an operation's kind, and is not written at each: refusals, headers, who may call it.

use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Required, Response, ResponseBuilder};
use utoipa::{Modify, ToSchema};

use crate::api::seen::SEEN;

/// An RFC 9457 problem.
#[derive(ToSchema)]
#[schema(as = Problem)]
#[expect(
    dead_code,
    reason = "describes chassis::problem::Problem, which is what is sent"
)]
pub(super) struct ProblemBody {
    /// `urn:tidegate:problem:` and a stable word.
    #[schema(example = "urn:tidegate:problem:taken")]
    r#type: String,
    /// One line, the same for every problem of this type.
    #[schema(example = "A name of the account is taken")]
    title: String,
    /// The HTTP status.
    #[schema(example = 409)]
    status: u16,
    /// What is wrong this time.
    #[schema(
        nullable = false,
        example = "the username, the e-mail address or the phone number is taken"
    )]
    detail: Option<String>,
    /// The id of the request, also in the header `x-request-id`.
    #[schema(example = "0d7c6f2e-5a0c-4b8f-9d3e-0c6f3f0f2a11")]
    request_id: String,
}

/// Adds it all.
pub(super) struct Additions;

impl Modify for Additions {
    fn modify(&self, api: &mut OpenApi) {
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
            for operation in operations.into_iter().flatten() {
                add_refusals(operation);
                add_headers(operation);
                add_parameters(operation);
            }
        }
    }
}

fn add_refusals(operation: &mut Operation) {
    let mut refusals = vec![
        ("500", "Something went wrong on our side"),
        (
            "503",
            "Overloaded or out of reach, or the profile is changed by others all the time; try again after Retry-After",
        ),
    ];
    if operation.security.is_some() {
        refusals.push(("401", "No access token, or one that is not valid any more"));
    }
    if has_parameter(operation, ParameterIn::Path) {
        refusals.push(("400", "The path is not UTF-8"));
    }
    if operation.request_body.is_some() {
        refusals.extend([
            ("400", "The body is not valid JSON"),
            ("408", "The body took more than 10 s to arrive"),
            ("413", "The body is larger than 64 KiB"),
            (
                "415",
                "The body is not declared as application/json, or it is compressed",
            ),
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

fn add_headers(operation: &mut Operation) {
    let secured = operation.security.is_some();
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else {
            continue;
        };
        let mut add = |name: &str, header: Header| {
            response.headers.insert(name.to_owned(), RefOr::T(header));
        };
        add(
            REQUEST_ID,
            header(
                Type::String,
                "The id of the request, from its header or made here",
            ),
        );
        match &**status {
            "401" => add(
                "WWW-Authenticate",
                header(Type::String, challenges(secured)),
            ),
            "415" => add(
                "Accept-Encoding",
                header(
                    Type::String,
                    "Where the body is compressed: `identity`, as it would have been read (RFC 9110)",
                ),
            ),
            "429" | "503" => add(
                "Retry-After",
                header(Type::Integer, "So many seconds later it may work"),
            ),
            _ => {}
        }
    }
}

/// What a 401 asks for.
const fn challenges(secured: bool) -> &'static str {
    match secured {
        true => {
            "`Bearer` where it is the access token that is missing or not valid (RFC 6750); `Tidegate-Body` where it is \
             something in the body"
        }
        false => "`Tidegate-Body`: it is something in the body that is not valid",
    }
}

fn header(kind: Type, description: &str) -> Header {
    HeaderBuilder::new()
        .schema(Some(plain(kind)))
        .description(Some(description))
        .build()
}

fn add_parameters(operation: &mut Operation) {
    let mut more = Vec::new();
    let mut responses = operation.responses.responses.values();
    let tells = responses.any(
        |response| matches!(response, RefOr::T(one) if one.headers.contains_key(SEEN.as_str())),
    );
    if operation.security.is_some() || tells {
        let why = "The last one that an answer had: what the client has seen is not undone for it";
        more.push(in_header(SEEN.as_str(), why));
    }
    let why = "An id for the request, 1 to 128 visible ASCII characters; without it one is made";
    more.push(in_header(REQUEST_ID, why));
    let parameters = operation.parameters.get_or_insert_default();
    parameters.iter_mut().for_each(take_null);
    parameters.extend(more.into_iter().map(RefOr::T));
}

/// A parameter may be absent, but there is no null in a header or a query.
fn take_null(parameter: &mut RefOr<Parameter>) {
    if let RefOr::T(parameter) = parameter
        && let Some(RefOr::T(Schema::Object(object))) = &mut parameter.schema
        && let SchemaType::Array(types) = &mut object.schema_type
    {
        types.retain(|one| *one != Type::Null);
        if let [one] = &**types {
            object.schema_type = one.clone().into();
        }
    }
}

fn in_header(name: &str, description: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(plain(Type::String)))
        .build()
}

fn plain(kind: Type) -> Schema {
    Schema::Object(ObjectBuilder::new().schema_type(kind).build())
}

fn has_parameter(operation: &Operation, place: ParameterIn) -> bool {
    let mut parameters = operation.parameters.iter().flatten();
    parameters.any(|one| matches!(one, RefOr::T(one) if one.parameter_in == place))
}

const REQUEST_ID: &str = "x-request-id";
