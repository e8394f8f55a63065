//! Longer answers.

use super::{Case, Suite, compare};
use crate::load::{Closed, Requests};
use crate::peer::{Log, Setup};

pub(super) const SUITE: Suite = Suite {
    name: "bodies",
    shows: "answers of 1 KB to 1 MB over HTTP/1.1 keep-alive",
    run: |context| {
        let cases = SIZES.map(|(name, length)| {
            let requests = Requests::get([format!("/bytes/{length}")], "");
            let load = Closed::new(context.options.connections, requests);
            let setup = Setup {
                log: Log::Combined,
                ..Setup::default()
            };
            Case::new(name, setup, load)
        });
        compare(context, SUITE.name, &cases)
    },
};

/// Lengths of bodies, by name.
pub(super) const SIZES: [(&str, usize); 4] = [
    ("1 KB", 1_000),
    ("10 KB", 10_000),
    ("100 KB", 100_000),
    ("1 MB", 1_000_000),
];
