//! Request and response heads, behind accessors: plugins do not see what carries them.

use http::{HeaderName, HeaderValue, Method, StatusCode};
use pingora_http::{RequestHeader, ResponseHeader};

/// The head of a request, to read and to change before it is forwarded.
#[derive(Debug)]
pub struct RequestHead<'a>(&'a mut RequestHeader);

impl<'a> RequestHead<'a> {
    /// Wraps the head that the proxy holds.
    pub fn new(head: &'a mut RequestHeader) -> Self {
        Self(head)
    }

    /// The head, to read only.
    pub fn view(&self) -> RequestView<'_> {
        RequestView(self.0)
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.0.method
    }

    /// The path without the query, `/` at least.
    pub fn path(&self) -> &str {
        self.0.uri.path()
    }

    /// The first value of a header.
    pub fn header(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.0.headers.get(name)
    }

    /// Every value of a header, in order.
    pub fn header_all(&self, name: &HeaderName) -> impl Iterator<Item = &HeaderValue> {
        self.0.headers.get_all(name).iter()
    }

    /// Every header, in no certain order.
    pub fn headers(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.0.headers.iter()
    }

    /// Sets a header, in place of all that it had.
    pub fn set_header(&mut self, name: &HeaderName, value: HeaderValue) {
        let set = self.0.insert_header(name.clone(), value);
        debug_assert!(set.is_ok(), "name and value are already valid");
    }

    /// Adds a header to those of the same name.
    pub fn add_header(&mut self, name: &HeaderName, value: HeaderValue) {
        let added = self.0.append_header(name.clone(), value);
        debug_assert!(added.is_ok(), "name and value are already valid");
    }

    /// Removes every header of this name.
    pub fn remove_header(&mut self, name: &HeaderName) {
        self.0.remove_header(name);
    }
}

/// The head of a request, to read only.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a>(&'a RequestHeader);

impl<'a> RequestView<'a> {
    /// Wraps the head that the proxy holds.
    pub fn new(head: &'a RequestHeader) -> Self {
        Self(head)
    }

    /// The method.
    pub fn method(self) -> &'a Method {
        &self.0.method
    }

    /// The path without the query.
    pub fn path(self) -> &'a str {
        self.0.uri.path()
    }

    /// The query, without the question mark.
    pub fn query(self) -> Option<&'a str> {
        self.0.uri.query()
    }

    /// Host and port as the client named them: the `Host` header, or `:authority` in HTTP/2.
    pub fn host(self) -> Option<&'a str> {
        match self.0.headers.get(http::header::HOST) {
            Some(host) => host.to_str().ok(),
            None => self.0.uri.authority().map(|authority| authority.as_str()),
        }
    }

    /// The protocol version.
    pub fn version(self) -> http::Version {
        self.0.version
    }

    /// The first value of a header.
    pub fn header(self, name: &HeaderName) -> Option<&'a HeaderValue> {
        self.0.headers.get(name)
    }
}

/// The head of a response, to read and to change before the client gets it.
#[derive(Debug)]
pub struct ResponseHead<'a>(&'a mut ResponseHeader);

impl<'a> ResponseHead<'a> {
    /// Wraps the head that the proxy holds.
    pub fn new(head: &'a mut ResponseHeader) -> Self {
        Self(head)
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The first value of a header.
    pub fn header(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.0.headers.get(name)
    }

    /// Every header, in no certain order.
    pub fn headers(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.0.headers.iter()
    }

    /// Sets a header, in place of all that it had.
    pub fn set_header(&mut self, name: &HeaderName, value: HeaderValue) {
        let set = self.0.insert_header(name.clone(), value);
        debug_assert!(set.is_ok(), "name and value are already valid");
    }

    /// Adds a header to those of the same name.
    pub fn add_header(&mut self, name: &HeaderName, value: HeaderValue) {
        let added = self.0.append_header(name.clone(), value);
        debug_assert!(added.is_ok(), "name and value are already valid");
    }

    /// Removes every header of this name.
    pub fn remove_header(&mut self, name: &HeaderName) {
        self.0.remove_header(name);
    }
}
