//! `request_id`: an id for every request, forwarded upstream and told to the client.

use std::sync::Arc;

use chassis::config::{Diagnostic, Located};
use http::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::exchange::RequestId;
use crate::plugin::{Flow, Plugin, Request, Response};
use crate::registry::{Registration, Setting};

pub(crate) const REGISTRATION: Registration = Registration::new::<Config>("request_id", build);

/// Gives every request an id, in a header to the upstream and to the client.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// The header that carries the id.
    header: Located<String>,
    /// Keep an id that the client sends, when it is 8 to 64 letters, digits, `-`, `_` or `.`.
    /// Turn it on only behind a proxy that you trust.
    trust: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            header: Located::nowhere("x-request-id".into()),
            trust: false,
        }
    }
}

struct RequestIds {
    header: HeaderName,
    trust: bool,
}

fn build(setting: &Setting<'_>) -> Result<Arc<dyn Plugin>, Diagnostic> {
    let config: Config = setting.config()?;
    let header = HeaderName::try_from(&**config.header)
        .map_err(|_| config.header.wrong("not a header name"))?;
    Ok(Arc::new(RequestIds {
        header,
        trust: config.trust,
    }))
}

impl Plugin for RequestIds {
    fn request(&self, request: &mut Request<'_>) -> Flow {
        let given = match self.trust {
            true => request.head.header(&self.header),
            false => None,
        };
        let id = given
            .and_then(|id| RequestId::parse(id.as_bytes()))
            .unwrap_or_else(|| RequestId::generate(request.exchange.started_at));
        request.exchange.request_id = id;
        let fields = request.head.fields_mut();
        fields.set_text(&self.header, id.as_bytes());
        Flow::Continue
    }

    fn response(&self, response: &mut Response<'_>) {
        let id = &response.exchange.request_id;
        let fields = response.head.fields_mut();
        fields.set_text(&self.header, id.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn an_id_reaches_upstream_and_client() {
        let mut bench = Bench::new("request_id", "");
        let forwarded = bench.get("/", &[("x-request-id", "client-chose-this")]);
        let id = forwarded.header("x-request-id").unwrap();
        assert_eq!(id.len(), 36);
        assert_eq!(bench.response(200, &[]).header("x-request-id"), Some(id));
    }

    #[test]
    fn a_trusted_id_is_kept_when_it_is_plain() {
        let mut bench = Bench::new("request_id", "trust = true\nheader = \"x-id\"");
        let kept = bench.get("/", &[("x-id", "abc-12345")]);
        assert_eq!(kept.header("x-id").unwrap(), "abc-12345");
        for hostile in ["short", "has space inside", "quote\"quote", &"x".repeat(65)] {
            let replaced = bench.get("/", &[("x-id", hostile)]);
            assert_ne!(replaced.header("x-id").unwrap(), hostile);
        }
    }
}
