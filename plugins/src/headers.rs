//! `headers`: sets, adds and removes headers on the way in and on the way out.

use std::collections::BTreeMap;
use std::sync::Arc;

use chassis::config::{Diagnostic, Located};
use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::plugin::{Flow, Plugin, Request, Response};
use crate::registry::{Registration, Setting};

pub(crate) const REGISTRATION: Registration = Registration::new::<Config>("headers", build);

/// Changes headers. Removing comes first, then setting, then adding.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// On the way to the upstream.
    request: Edits,
    /// On the way to the client.
    response: Edits,
}

/// Changes of headers.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Edits {
    /// Names of headers to remove.
    remove: Vec<Located<String>>,
    /// Headers to set, in place of those of the same name.
    set: BTreeMap<Located<String>, Located<String>>,
    /// Headers to add to those of the same name.
    add: BTreeMap<Located<String>, Located<String>>,
}

struct Headers {
    request: Compiled,
    response: Compiled,
}

struct Compiled {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
}

/// Headers that frame messages: changing them would let the two sides read different messages.
const FRAMING: [&str; 6] = [
    "connection",
    "content-length",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
];

fn build(setting: &Setting<'_>) -> Result<Arc<dyn Plugin>, Diagnostic> {
    let config: Config = setting.config()?;
    Ok(Arc::new(Headers {
        request: compile(&config.request)?,
        response: compile(&config.response)?,
    }))
}

fn compile(edits: &Edits) -> Result<Compiled, Diagnostic> {
    let pairs = |map: &BTreeMap<Located<String>, Located<String>>| {
        map.iter()
            .map(|(name, text)| {
                let value = HeaderValue::from_str(text)
                    .map_err(|_| text.wrong("not a value of a header"))?;
                Ok((header_name(name)?, value))
            })
            .collect::<Result<Vec<_>, Diagnostic>>()
    };
    Ok(Compiled {
        remove: edits
            .remove
            .iter()
            .map(header_name)
            .collect::<Result<_, _>>()?,
        set: pairs(&edits.set)?,
        add: pairs(&edits.add)?,
    })
}

fn header_name(text: &Located<String>) -> Result<HeaderName, Diagnostic> {
    let name = HeaderName::try_from(&***text).map_err(|_| text.wrong("not a name of a header"))?;
    if FRAMING.contains(&name.as_str()) {
        return Err(text.wrong(format!(
            "`{name}` frames messages and cannot be changed here"
        )));
    }
    Ok(name)
}

impl Plugin for Headers {
    fn request(&self, request: &mut Request<'_>) -> Flow {
        let Compiled { remove, set, add } = &self.request;
        remove
            .iter()
            .for_each(|name| request.head.remove_header(name));
        for (name, value) in set {
            request.head.set_header(name, value.clone());
        }
        for (name, value) in add {
            request.head.add_header(name, value.clone());
        }
        Flow::Continue
    }

    fn response(&self, response: &mut Response<'_>) {
        let Compiled { remove, set, add } = &self.response;
        remove
            .iter()
            .for_each(|name| response.head.remove_header(name));
        for (name, value) in set {
            response.head.set_header(name, value.clone());
        }
        for (name, value) in add {
            response.head.add_header(name, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, mistake};

    #[test]
    fn removes_then_sets_then_adds() {
        let mut bench = Bench::new(
            "headers",
            "request = { remove = [\"x-secret\", \"x-b\"], set = { x-a = \"1\" }, add = { x-b = \"2\" } }\n\
             response = { remove = [\"server\"], set = { x-frame-options = \"DENY\" } }",
        );
        let sent = [("x-secret", "s"), ("x-a", "old"), ("x-b", "old")];
        let forwarded = bench.get("/", &sent);
        assert_eq!(forwarded.header("x-secret"), None);
        assert_eq!(forwarded.header("x-a").unwrap(), "1");
        assert_eq!(forwarded.header("x-b").unwrap(), "2");
        let answer = bench.response(200, &[("server", "x")]);
        assert_eq!(answer.header("server"), None);
        assert_eq!(answer.header("x-frame-options").unwrap(), "DENY");
    }

    #[test]
    fn framing_headers_are_refused() {
        for table in [
            "request = { set = { content-length = \"1\" } }",
            "response = { remove = [\"Transfer-Encoding\"] }",
            "request = { add = { Host = \"x\" } }",
        ] {
            assert!(
                mistake("headers", table).contains("frames messages"),
                "{table}"
            );
        }
        let split = "request = { set = { x = \"a\\r\\nb: c\" } }";
        assert_eq!(mistake("headers", split), "not a value of a header");
    }
}
