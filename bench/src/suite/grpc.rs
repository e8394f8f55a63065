//! Unary calls of gRPC: HTTP/2 with TLS from the client, without to the origin.

use std::time::Duration;

use super::Suite;
use crate::load::{Client, Http2, Kind, Resumption, Target};
use crate::peer::{Back, Front, Log, Running, Setup};
use crate::report::Row;
use crate::stage::Stage;

pub(super) const SUITE: Suite = Suite {
    name: "grpc",
    shows: "unary calls over TLS, 8 under way on each connection, messages of 80 bytes",
    run: |context| {
        let setup = Setup {
            front: Front::Tls,
            back: Back::Grpc,
            log: Log::Combined,
            ..Setup::default()
        };
        let mut stage = Stage::start(context, SUITE.name, CASE, &setup)?;
        let client = Client::new(&context.certificate, Resumption::Never, b"h2")?;
        let target = |running: &Running| Target {
            address: running.address,
            tls: Some(client.clone()),
        };
        let load = Http2 {
            connections: context.options.connections.div_ceil(STREAMS),
            streams: STREAMS,
            kind: Kind::Grpc,
        };
        stage.each(|running| {
            let sample = load.run(&target(running), Duration::from_millis(100))?;
            match sample.error {
                Some(error) => Err(running.failed(&format!("a call fails: {error}"))),
                None => Ok(()),
            }
        })?;
        let measured = stage.rounds(|running, time| load.run(&target(running), time))?;
        let workers = context.options.workers;
        Ok(Row::of_case(SUITE.name, CASE, workers, &measured))
    },
};

/// The only case.
const CASE: &str = "80 B";

/// Calls under way on each connection.
const STREAMS: usize = 8;
