//! The peers of the suite `dns`: authoritative servers with the same names and answers.

mod geo;
mod plans;
mod zone;

use std::sync::Arc;

use super::{OURS, Peer, Program};

pub(crate) use self::geo::{NETWORKS, network, site_of};
pub(crate) use self::zone::{ZONE, address, name, zone};

/// What a DNS server is to serve.
#[derive(Clone, Debug)]
pub(crate) struct Dns {
    /// How many names its zone has.
    pub(crate) names: usize,
    /// What they are answered with.
    pub(crate) answers: Answers,
}

/// What names are answered with.
#[derive(Clone, Debug)]
pub(crate) enum Answers {
    /// An address of its own each.
    Fixed,
    /// The address of the site that a map of networks has for the client.
    ByNetwork,
    /// An address of its own each, signed; with the signed zone, for those that do not sign by themselves.
    Signed(Arc<str>),
}

/// All, the one under test first.
pub(crate) const PEERS: &[Peer] = &[
    Peer {
        name: OURS,
        program: Program::UnderTest,
        version: &["--version"],
        install: "cargo build --release",
        tokens: false,
        plan: plans::tidegate,
    },
    Peer {
        name: "nsd",
        program: Program::Installed("nsd"),
        version: &["-v"],
        install: "apt-get install nsd",
        tokens: false,
        plan: plans::nsd,
    },
    Peer {
        name: "knot",
        program: Program::Installed("knotd"),
        version: &["--version"],
        install: "apt-get install knot knot-module-geoip",
        tokens: false,
        plan: plans::knot,
    },
    Peer {
        name: "gdnsd",
        program: Program::Installed("gdnsd"),
        version: &["-V"],
        install: "apt-get install gdnsd",
        tokens: false,
        plan: plans::gdnsd,
    },
];
