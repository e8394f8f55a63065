//! `cors`: which web pages may call (the Fetch standard's CORS protocol).

use std::collections::HashSet;
use std::sync::Arc;

use chassis::config::{Diagnostic, Located};
use chassis::units::Period;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::head::Value;
use crate::plugin::{Flow, Plugin, Reply, Request, Response};
use crate::registry::{Registration, Setting};

pub(crate) const REGISTRATION: Registration = Registration::new::<Config>("cors", build);

/// Tells browsers which pages may call, and answers their preflight requests.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Origins that may call, such as `"https://app.example.com"`; `"*"` stands for all.
    origins: Vec<Located<String>>,
    /// Methods that they may use.
    #[serde(default = "default_methods")]
    methods: Vec<Located<String>>,
    /// Request headers that they may send.
    #[serde(default = "default_headers")]
    headers: Vec<Located<String>>,
    /// Response headers that they may read.
    #[serde(default)]
    expose: Vec<Located<String>>,
    /// Whether cookies and other credentials may be sent. Not with the origin `"*"`.
    #[serde(default)]
    credentials: bool,
    /// How long a browser may remember the answer to a preflight request.
    #[serde(default = "default_max_age")]
    max_age: Period,
}

fn default_methods() -> Vec<Located<String>> {
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
        .map(|method| Located::nowhere(method.into()))
        .into()
}

fn default_headers() -> Vec<Located<String>> {
    ["authorization", "content-type", "if-match", "if-none-match"]
        .map(|name| Located::nowhere(name.into()))
        .into()
}

const fn default_max_age() -> Period {
    Period::from_secs(600)
}

struct Cors {
    any: bool,
    origins: HashSet<Box<[u8]>>,
    methods: HeaderValue,
    headers: HeaderValue,
    expose: Option<HeaderValue>,
    credentials: bool,
    max_age: HeaderValue,
}

fn build(setting: &Setting<'_>) -> Result<Arc<dyn Plugin>, Diagnostic> {
    let config: Config = setting.config()?;
    let any = config.origins.iter().any(|origin| **origin == "*");
    if let (true, true, Some(first)) = (any, config.credentials, config.origins.first()) {
        return Err(first
            .wrong("credentials cannot be allowed for every origin")
            .help("name the origins, or remove `credentials`"));
    }
    for origin in config.origins.iter().filter(|origin| ***origin != "*") {
        let rest = origin
            .strip_prefix("https://")
            .or(origin.strip_prefix("http://"));
        if rest.is_none_or(|rest| rest.is_empty() || rest.contains('/')) {
            return Err(origin
                .wrong("not an origin")
                .help("an origin is scheme, host and port: \"https://app.example.com\""));
        }
    }
    for method in &config.methods {
        Method::from_bytes(method.as_bytes()).map_err(|_| method.wrong("not a method"))?;
    }
    for name in config.headers.iter().chain(&config.expose) {
        HeaderName::try_from(&***name).map_err(|_| name.wrong("not a name of a header"))?;
    }
    Ok(Arc::new(Cors {
        any,
        origins: config
            .origins
            .iter()
            .map(|origin| origin.as_bytes().into())
            .collect(),
        methods: list(&config.methods),
        headers: list(&config.headers),
        expose: (!config.expose.is_empty()).then(|| list(&config.expose)),
        credentials: config.credentials,
        max_age: config.max_age.as_secs().into(),
    }))
}

fn list(items: &[Located<String>]) -> HeaderValue {
    let items: Vec<&str> = items.iter().map(|item| item.as_str()).collect();
    HeaderValue::from_str(&items.join(", ")).expect("names were checked")
}

impl Cors {
    /// The value of `access-control-allow-origin`, if this origin may call.
    fn allow(&self, origin: Value<'_>) -> Option<HeaderValue> {
        match self.any {
            true => Some(HeaderValue::from_static("*")),
            false => match self.origins.contains(origin.as_bytes()) {
                true => origin.to_header_value(),
                false => None,
            },
        }
    }

    fn preflight(&self, origin: Value<'_>) -> Reply {
        let vary = HeaderValue::from_static("origin, access-control-request-method");
        let reply = Reply::new(StatusCode::NO_CONTENT).header(header::VARY, vary);
        let Some(allow) = self.allow(origin) else {
            return reply;
        };
        let mut reply = reply
            .header(header::ACCESS_CONTROL_ALLOW_ORIGIN, allow)
            .header(header::ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone())
            .header(header::ACCESS_CONTROL_ALLOW_HEADERS, self.headers.clone())
            .header(header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        if self.credentials {
            let yes = HeaderValue::from_static("true");
            reply = reply.header(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
        reply
    }
}

impl Plugin for Cors {
    fn request(&self, request: &mut Request<'_>) -> Flow {
        let head = &request.head;
        if *head.method() != Method::OPTIONS
            || head
                .header(&header::ACCESS_CONTROL_REQUEST_METHOD)
                .is_none()
        {
            return Flow::Continue;
        }
        match head.header(&header::ORIGIN) {
            Some(origin) => {
                request.exchange.notes.insert(Preflight);
                self.preflight(origin).into()
            }
            None => Flow::Continue,
        }
    }

    fn response(&self, response: &mut Response<'_>) {
        if response.exchange.notes.get::<Preflight>().is_some() {
            return;
        }
        let head = &mut response.head;
        for name in ALLOWANCES {
            head.remove_header(&name);
        }
        if !self.any {
            head.add_header(&header::VARY, HeaderValue::from_static("origin"));
        }
        let origin = response.request.header(&header::ORIGIN);
        let Some(allow) = origin.and_then(|origin| self.allow(origin)) else {
            return;
        };
        head.set_header(&header::ACCESS_CONTROL_ALLOW_ORIGIN, allow);
        if self.credentials {
            let yes = HeaderValue::from_static("true");
            head.set_header(&header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
        if let Some(expose) = &self.expose {
            head.set_header(&header::ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
    }
}

/// The request was a preflight, and its answer is complete.
#[derive(Clone, Copy)]
struct Preflight;

/// What an upstream may not decide where this plugin decides.
const ALLOWANCES: [HeaderName; 3] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
];

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, mistake};

    const ORIGIN: &str = "https://app.example.com";

    #[test]
    fn a_preflight_is_answered() {
        let mut bench = Bench::new(
            "cors",
            "origins = [\"https://app.example.com\"]\ncredentials = true",
        );
        let asks = ("access-control-request-method", "PATCH");
        let reply = bench
            .send("OPTIONS", "/", &[("origin", ORIGIN), asks])
            .unwrap_err();
        assert_eq!(reply.status, 204);
        assert_eq!(reply.header("access-control-allow-origin").unwrap(), ORIGIN);
        assert!(
            reply
                .header("access-control-allow-methods")
                .unwrap()
                .contains("PATCH")
        );
        assert_eq!(
            reply.header("access-control-allow-credentials").unwrap(),
            "true"
        );
        assert_eq!(reply.header("access-control-max-age").unwrap(), "600");

        let other = ("origin", "https://evil.example.com");
        let reply = bench.send("OPTIONS", "/", &[other, asks]).unwrap_err();
        assert_eq!(reply.header("access-control-allow-origin"), None);
    }

    #[test]
    fn a_call_gets_its_origin_back_and_nothing_of_the_upstream() {
        let mut bench = Bench::new(
            "cors",
            "origins = [\"https://app.example.com\"]\nexpose = [\"etag\"]",
        );
        let upstream = [("access-control-allow-origin", "*")];
        bench.get("/", &[("origin", ORIGIN)]);
        let answer = bench.response(200, &upstream);
        assert_eq!(
            answer.header("access-control-allow-origin").unwrap(),
            ORIGIN
        );
        assert_eq!(
            answer.header("access-control-expose-headers").unwrap(),
            "etag"
        );
        assert_eq!(answer.header("vary").unwrap(), "origin");

        bench.get("/", &[("origin", "null")]);
        let answer = bench.response(200, &upstream);
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }

    #[test]
    fn credentials_for_everybody_are_a_mistake() {
        let found = mistake("cors", "origins = [\"*\"]\ncredentials = true");
        assert!(found.contains("every origin"), "{found}");
        assert_eq!(
            mistake("cors", "origins = [\"app.example.com\"]"),
            "not an origin"
        );
    }
}
