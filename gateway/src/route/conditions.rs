//! What a route asks of a request beside host and path.

use chassis::config::Diagnostic;
use http::{HeaderName, HeaderValue, Method};
use plugins::RequestHead;

use crate::config::RouteConfig;

/// Methods and headers that a request must have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Conditions {
    methods: Vec<Method>,
    /// None stands for any value.
    headers: Vec<(HeaderName, Option<HeaderValue>)>,
}

impl Conditions {
    pub(crate) fn compile(route: &RouteConfig) -> Result<Self, Diagnostic> {
        let mut methods = Vec::new();
        for text in &route.methods {
            let known = text
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte == b'-');
            let method = Method::from_bytes(text.as_bytes()).ok().filter(|_| known);
            let method = method.ok_or_else(|| {
                text.wrong("not a method")
                    .help("methods are written in upper case: \"GET\"")
            })?;
            if method == Method::GET && !methods.contains(&Method::HEAD) {
                methods.push(Method::HEAD);
            }
            if !methods.contains(&method) {
                methods.push(method);
            }
        }
        methods.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        let headers = route.headers.iter().map(|(name, text)| {
            let value =
                HeaderValue::from_str(text).map_err(|_| text.wrong("not a value of a header"))?;
            let name =
                HeaderName::try_from(&***name).map_err(|_| name.wrong("not a name of a header"))?;
            Ok((name, (**text != "*").then_some(value)))
        });
        Ok(Self {
            methods,
            headers: headers.collect::<Result<_, Diagnostic>>()?,
        })
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.headers.len() + usize::from(!self.methods.is_empty())
    }

    pub(crate) fn methods(&self) -> &[Method] {
        &self.methods
    }

    pub(super) fn method_fits(&self, method: &Method) -> bool {
        self.methods.is_empty() || self.methods.contains(method)
    }

    pub(super) fn headers_fit(&self, head: &RequestHead) -> bool {
        self.headers.iter().all(|(name, wanted)| match wanted {
            Some(value) => head
                .header_all(name)
                .any(|given| given.as_bytes() == value.as_bytes()),
            None => head.header(name).is_some(),
        })
    }
}
