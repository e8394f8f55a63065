//! What goes wrong with an upstream, in Pingora's words, which the rest of the gateway understands.

use std::io;

use pingora_core::{Error, ErrorType};

/// An error of the upstream.
pub(super) fn upstream(kind: ErrorType, what: &'static str) -> Box<Error> {
    Error::explain(kind, what).into_up()
}

/// The same with its cause.
pub(super) fn because(kind: ErrorType, what: &'static str, cause: io::Error) -> Box<Error> {
    Error::because(kind, what, cause).into_up()
}
