//! Handshakes, and small answers over connections with TLS that are kept.
//!
//! All peers have the same ECDSA P-256 certificate; the client asks for TLS 1.3 with
//! `TLS_AES_128_GCM_SHA256` and X25519, so that they agree on the same work.

use super::{Case, Suite, compare};
use crate::load::{Closed, Requests, Resumption, Reuse};
use crate::peer::{Front, Log, Setup};

pub(super) const SUITE: Suite = Suite {
    name: "tls",
    shows: "TLS 1.3: full handshakes, resumed handshakes, keep-alive; 80 bytes",
    run: |context| {
        let cases = [
            ("full handshake", Reuse::ClientCloses, Resumption::Never),
            (
                "resumed handshake",
                Reuse::ClientCloses,
                Resumption::Tickets,
            ),
            ("keep-alive", Reuse::KeepAlive, Resumption::Never),
        ];
        let cases = cases.map(|(name, reuse, resumption)| {
            let load = Closed::new(context.options.connections, Requests::get(["/"], ""));
            let setup = Setup {
                front: Front::Tls,
                log: Log::Combined,
                ..Setup::default()
            };
            Case {
                resumption,
                ..Case::new(name, setup, load.reuse(reuse))
            }
        });
        compare(context, SUITE.name, &cases)
    },
};
