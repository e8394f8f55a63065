//! Longer answers.

use super::{Case, Suite, compare};
use crate::load::{Closed, Requests};
use crate::peer::{Log, Setup};
use crate::stage::Context;

pub(super) const SUITE: Suite = Suite {
    name: "bodies",
    shows: "answers of 1 KB to 1 MB over HTTP/1.1 keep-alive",
    run: |context| {
        let cases = SIZES.map(|(name, length)| {
            let requests = Requests::get([format!("/bytes/{length}")], "");
            let load = Closed::new(connections(context, length), requests);
            let setup = Setup {
                log: Log::Combined,
                ..Setup::default()
            };
            Case::new(name, setup, load)
        });
        Ok(compare(context, SUITE.name, &cases))
    },
};

/// Fewer for long bodies: when dozens of megabytes wait in its sockets, the loopback drops segments, and
/// what is measured is how long TCP takes to send them again.
pub(super) fn connections(context: &Context, length: usize) -> usize {
    let fewer = if length >= 1_000_000 { 8 } else { 1 };
    context.options.connections.div_ceil(fewer)
}

/// Lengths of bodies, by name.
pub(super) const SIZES: [(&str, usize); 4] = [
    ("1 KB", 1_000),
    ("10 KB", 10_000),
    ("100 KB", 100_000),
    ("1 MB", 1_000_000),
];
