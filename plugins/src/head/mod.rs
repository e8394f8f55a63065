//! Request and response heads, behind accessors: plugins do not see what carries them.

mod fields;

use std::ops::Range;

use http::{HeaderName, HeaderValue, Method, StatusCode, Version, header};

pub use self::fields::{Field, Fields, Value};

/// The head of a request, to read and to change before it is forwarded.
#[derive(Clone, Debug)]
pub struct RequestHead {
    method: Method,
    version: Version,
    /// Path and query.
    target: String,
    /// How long the path is.
    path: usize,
    /// Host and port of HTTP/2.
    authority: Option<Range<usize>>,
    fields: Fields,
}

impl RequestHead {
    /// A head without fields. The target is a path, and a query if there is one.
    pub fn new(method: Method, version: Version, target: &str) -> Self {
        Self::of_text(method, version, target.to_owned(), Vec::new(), Vec::new())
    }

    /// A head whose fields stand in `text`.
    pub fn of_text(
        method: Method,
        version: Version,
        target: String,
        text: Vec<u8>,
        fields: Vec<Field>,
    ) -> Self {
        let path = path_length(&target);
        Self {
            method,
            version,
            target,
            path,
            authority: None,
            fields: Fields::new(text, fields),
        }
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The protocol version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Path and query.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The path without the query, `/` at least.
    pub fn path(&self) -> &str {
        &self.target[..self.path]
    }

    /// The query, without the question mark.
    pub fn query(&self) -> Option<&str> {
        self.target.get(self.path + 1..)
    }

    /// Host and port as the client named them: the `Host` header, or `:authority` in HTTP/2.
    pub fn host(&self) -> Option<&str> {
        match self.header(&header::HOST) {
            Some(host) => host.to_str(),
            None => self.authority(),
        }
    }

    /// The `:authority` of HTTP/2.
    pub fn authority(&self) -> Option<&str> {
        let authority = self.authority.as_ref()?;
        Some(self.fields.text(authority))
    }

    /// Another path and query.
    pub fn set_target(&mut self, target: String) {
        self.path = path_length(&target);
        self.target = target;
    }

    /// The `:authority` of HTTP/2.
    pub fn set_authority(&mut self, authority: &str) {
        self.authority = Some(self.fields.write(authority.as_bytes()));
    }
}

fn path_length(target: &str) -> usize {
    let query = target.bytes().position(|byte| byte == b'?');
    query.unwrap_or(target.len())
}

/// The head of a response, to read and to change before the client gets it.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    status: StatusCode,
    /// As the upstream wrote it.
    reason: Option<Range<usize>>,
    fields: Fields,
}

impl ResponseHead {
    /// A head without fields.
    pub fn new(status: StatusCode) -> Self {
        Self::of_text(status, Vec::new(), None, Vec::new())
    }

    /// A head whose reason and fields stand in `text`.
    pub fn of_text(
        status: StatusCode,
        text: Vec<u8>,
        reason: Option<Range<usize>>,
        fields: Vec<Field>,
    ) -> Self {
        Self {
            status,
            reason,
            fields: Fields::new(text, fields),
        }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The words after the status: the upstream's, or else the usual ones.
    pub fn reason(&self) -> &str {
        match &self.reason {
            Some(reason) => self.fields.text(reason),
            None => self.status.canonical_reason().unwrap_or_default(),
        }
    }

    /// The same as bytes.
    pub fn reason_bytes(&self) -> &[u8] {
        match &self.reason {
            Some(reason) => self.fields.bytes(reason),
            None => self.reason().as_bytes(),
        }
    }

    /// Words of one's own after the status.
    pub fn set_reason(&mut self, reason: &str) {
        self.reason = Some(self.fields.write(reason.as_bytes()));
    }
}

/// What is the same for both.
macro_rules! fields {
    ($head:ident) => {
        impl $head {
            /// The first value of a header.
            pub fn header(&self, name: &HeaderName) -> Option<Value<'_>> {
                self.fields.get(name)
            }

            /// Every value of a header, in order.
            pub fn header_all<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = Value<'a>> {
                self.fields.get_all(name)
            }

            /// Every header in order, under its name as it was written, in any case.
            pub fn headers(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
                self.fields.iter()
            }

            /// Sets a header, in place of all that it had.
            pub fn set_header(&mut self, name: &HeaderName, value: HeaderValue) {
                self.fields.set(name, &value);
            }

            /// The same for a text. False, and nothing changes, when it is no value of a header.
            pub fn set_header_text(&mut self, name: &HeaderName, text: &str) -> bool {
                self.fields.set_text(name, text.as_bytes())
            }

            /// Adds a header to those of the same name.
            pub fn add_header(&mut self, name: &HeaderName, value: HeaderValue) {
                self.fields.add(name, &value);
            }

            /// Removes every header of this name.
            pub fn remove_header(&mut self, name: &HeaderName) {
                self.fields.remove(name);
            }

            /// All headers.
            pub fn fields(&self) -> &Fields {
                &self.fields
            }

            /// All headers, to change.
            pub fn fields_mut(&mut self) -> &mut Fields {
                &mut self.fields
            }
        }
    };
}

fields!(RequestHead);
fields!(ResponseHead);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_set_in_place_of_all_others_of_the_name() {
        let mut head = RequestHead::new(Method::GET, Version::HTTP_11, "/a?b?c");
        let name = HeaderName::from_static("x-a");
        for value in ["1", "2"] {
            head.add_header(&name, HeaderValue::from_static(value));
        }
        assert!(head.fields_mut().set_text(&header::HOST, b"h:1"));
        let all: Vec<_> = head.header_all(&name).map(Value::as_bytes).collect();
        assert_eq!(all, [b"1", b"2"]);
        head.set_header(&name, HeaderValue::from_static("3"));
        assert_eq!(head.header(&name).and_then(Value::to_str), Some("3"));
        assert_eq!(head.headers().count(), 2);
        head.remove_header(&name);
        assert_eq!(head.header(&name), None);
        assert_eq!((head.path(), head.query()), ("/a", Some("b?c")));
        assert_eq!(head.host(), Some("h:1"));
        head.set_target("/d".into());
        assert_eq!((head.path(), head.query()), ("/d", None));
    }

    #[test]
    fn names_are_compared_in_any_case_and_kept_as_they_were() {
        let text = b"X-A: b".to_vec();
        let field = Field {
            name: 0..3,
            value: 5..6,
        };
        let head = ResponseHead::of_text(StatusCode::OK, text, None, vec![field]);
        let value = head.header(&HeaderName::from_static("x-a"));
        assert_eq!(value.map(Value::as_bytes), Some(&b"b"[..]));
        assert_eq!(head.headers().next().map(|(name, _)| name), Some("X-A"));
        assert_eq!(head.reason(), "OK");
    }

    #[test]
    fn lines_come_out_as_they_are_whatever_became_of_the_buffer() {
        let text = b"A:1\r\nBb: 2\r\nC:  3 \r\nD: 4\r\n".to_vec();
        let places = [
            (0..1, 2..3),
            (5..7, 9..10),
            (12..13, 16..17),
            (20..21, 23..24),
        ];
        let fields = places.map(|(name, value)| Field { name, value });
        let mut fields = Fields::new(text, fields.into());
        let written = |fields: &Fields, without: &str| {
            let mut out = Vec::new();
            fields.write_lines(&mut out, |name, _| name != without.as_bytes());
            String::from_utf8(out).unwrap()
        };
        let all = "A: 1\r\nBb: 2\r\nC: 3\r\nD: 4\r\n";
        assert_eq!(written(&fields, ""), all);
        assert_eq!(written(&fields, "Bb"), "A: 1\r\nC: 3\r\nD: 4\r\n");
        let (e, f) = (HeaderName::from_static("e"), HeaderName::from_static("f"));
        fields.add(&e, &HeaderValue::from_static("5"));
        fields.add_same(&f, &e);
        fields.remove(&HeaderName::from_static("d"));
        assert_eq!(
            written(&fields, ""),
            "A: 1\r\nBb: 2\r\nC: 3\r\ne: 5\r\nf: 5\r\n"
        );
    }

    #[test]
    fn no_text_becomes_a_second_header() {
        let mut head = ResponseHead::new(StatusCode::OK);
        assert!(!head.set_header_text(&header::SERVER, "a\r\nx-b: c"));
        assert_eq!(head.headers().count(), 0);
    }
}
