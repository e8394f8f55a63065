//! HTTP/2 with TLS from the client, HTTP/1.1 to the origin.

use super::Suite;
use crate::load::{Client, Http2, Kind, Requests, Resumption, Target};
use crate::peer::{Front, Log, Running, Setup};
use crate::report::Row;
use crate::stage::Stage;

pub(super) const SUITE: Suite = Suite {
    name: "h2",
    shows: "HTTP/2 over TLS, 8 requests under way on each connection, 80 bytes, access log on",
    run: |context| {
        let setup = Setup {
            front: Front::Tls,
            log: Log::Combined,
            ..Setup::default()
        };
        let mut stage = Stage::start(context, SUITE.name, CASE, &setup)?;
        let over = |alpn: &'static [u8]| Client::new(&context.certificate, Resumption::Never, alpn);
        let (http1, http2) = (over(b"http/1.1")?, over(b"h2")?);
        let target = |running: &Running, tls: Client| Target {
            address: running.address,
            tls: Some(tls),
        };
        let requests = Requests::get(["/"], "");
        stage.check_answers(&requests, |running| target(running, http1.clone()))?;
        let load = Http2 {
            connections: context.options.connections.div_ceil(STREAMS),
            streams: STREAMS,
            kind: Kind::Get,
        };
        let measured =
            stage.rounds(|running, time| load.run(&target(running, http2.clone()), time))?;
        let workers = context.options.workers;
        Ok(Row::of_case(SUITE.name, CASE, workers, &measured))
    },
};

/// The only case.
const CASE: &str = "80 B";

/// Requests under way on each connection.
const STREAMS: usize = 8;
