//! Handshakes, and small answers over connections with TLS that are kept, on either side of the proxy.
//!
//! All peers, and the origin, have the same ECDSA P-256 certificate; the client, and the origin, want
//! TLS 1.3 with `TLS_AES_128_GCM_SHA256` and X25519, so that they agree on the same work.

use super::{Case, Suite, compare};
use crate::load::{Closed, Requests, Resumption, Reuse};
use crate::peer::{Back, Front, Log, Setup};

pub(super) const SUITE: Suite = Suite {
    name: "tls",
    shows: "TLS 1.3: full handshakes, resumed handshakes, keep-alive, TLS to the origin; 80 bytes",
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
        let load = Closed::new(context.options.connections, Requests::get(["/"], ""));
        let handshakes = cases.map(|(name, reuse, resumption)| {
            let setup = Setup {
                front: Front::Tls,
                log: Log::Combined,
                ..Setup::default()
            };
            Case {
                resumption,
                ..Case::new(name, setup, load.clone().reuse(reuse))
            }
        });
        let setup = Setup {
            back: Back::Tls,
            log: Log::Combined,
            ..Setup::default()
        };
        let to_origin = Case::new("TLS to the origin", setup, load.clone());
        let cases: Vec<Case> = handshakes.into_iter().chain([to_origin]).collect();
        Ok(compare(context, SUITE.name, &cases))
    },
};
