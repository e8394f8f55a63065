//! Small answers over connections that are kept, with access logs and metrics on.

use super::{Case, Suite, compare};
use crate::load::{Closed, Requests};
use crate::peer::{Log, Setup};

pub(super) const SUITE: Suite = Suite {
    name: "plain",
    shows: "HTTP/1.1 keep-alive, 80 bytes, access log and metrics on",
    run: |context| {
        let requests = Requests::get(["/"], "");
        let load = Closed::new(context.options.connections, requests);
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
