//! Bodies on the way up.

use super::bodies::{SIZES, connections};
use super::{Case, Suite, compare};
use crate::load::{Closed, Requests};
use crate::peer::{Log, Setup};

pub(super) const SUITE: Suite = Suite {
    name: "post",
    shows: "requests with bodies of 1 KB to 1 MB over HTTP/1.1 keep-alive, 80 bytes back",
    run: |context| {
        let cases = SIZES.map(|(name, length)| {
            let load = Closed::new(connections(context, length), Requests::post(length));
            let setup = Setup {
                log: Log::Combined,
                ..Setup::default()
            };
            Case::new(name, setup, load)
        });
        Ok(compare(context, SUITE.name, &cases))
    },
};
