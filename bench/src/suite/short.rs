//! A connection for each request.

use super::{Case, Suite, compare};
use crate::load::{Closed, Requests, Reuse};
use crate::peer::{Log, Setup};

pub(super) const SUITE: Suite = Suite {
    name: "short",
    shows: "a connection a request (Connection: close), 80 bytes",
    run: |context| {
        let requests = Requests::get(["/"], "Connection: close\r\n");
        let load = Closed::new(context.options.connections, requests).reuse(Reuse::Never);
        let setup = Setup {
            log: Log::Combined,
            ..Setup::default()
        };
        Ok(compare(
            context,
            SUITE.name,
            &[Case::new("80 B", setup, load)],
        ))
    },
};
