//! The proxies that are compared. A peer is data: what it is called, where its program is, and how
//! it is configured for what a suite asks for. One file each.

mod balancers;
mod behind;
mod caddy;
mod dns;
mod haproxy;
mod nginx;
mod pingora;
mod running;
mod tidegate;
mod users;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::error::Error;
use crate::load::Certificate;
use crate::policy::Policy;

pub(crate) use self::balancers::PEERS as BALANCERS;
pub(crate) use self::behind::Behind;
pub(crate) use self::dns::{
    Answers as DnsAnswers, Dns, NETWORKS as DNS_NETWORKS, PEERS as DNS_SERVERS, ZONE as DNS_ZONE,
    address as dns_address, name as dns_name, network as dns_network, site_of as dns_site_of,
    zone as dns_zone,
};
pub(crate) use self::pingora::{Bare, serve as serve_bare_pingora};
pub(crate) use self::running::{Launch, Running};
pub(crate) use self::users::{Cached, PEERS as USER_SERVICES, Users};

/// A proxy.
#[derive(Debug)]
pub(crate) struct Peer {
    /// What it is called on the command line and in reports.
    pub(crate) name: &'static str,
    /// Its program, found in `PATH`.
    pub(crate) program: Program,
    /// What prints its version.
    pub(crate) version: &'static [&'static str],
    /// How to get it.
    pub(crate) install: &'static str,
    /// Whether it verifies tokens where a policy asks for that.
    pub(crate) tokens: bool,
    /// How it is configured for this; `None` when it cannot do that.
    pub(crate) plan: fn(&Setup, &Place<'_>) -> Option<Plan>,
}

/// Where a program is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Program {
    /// By this name in `PATH` or where daemons are.
    Installed(&'static str),
    /// In this program itself.
    Here,
    /// The binary under test.
    UnderTest,
}

/// The binary under test; every ratio is of its figure to a peer's.
pub(crate) const OURS: &str = "tidegate";

/// All, the one under test first.
pub(crate) const PEERS: &[Peer] = &[
    tidegate::PEER,
    nginx::PEER,
    nginx::WITH_NJS,
    haproxy::PEER,
    caddy::PEER,
    pingora::PEER,
];

/// What a suite asks of a proxy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    /// What clients speak.
    pub(crate) front: Front,
    /// What the origin speaks.
    pub(crate) back: Back,
    /// Whether there is an access log.
    pub(crate) log: Log,
    /// Routes by the first segment of the path, `/route-N/`; a single one for everything when 0.
    pub(crate) routes: usize,
    /// Who may pass.
    pub(crate) policy: Option<Policy>,
    /// How user services are set up, which proxies know nothing of.
    pub(crate) users: Option<Users>,
    /// What a DNS server is to serve.
    pub(crate) dns: Option<Dns>,
    /// Workers or threads, on all cores, in place of what the run has.
    pub(crate) workers: Option<usize>,
}

/// What clients speak.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Front {
    /// HTTP/1.1.
    #[default]
    Http,
    /// HTTP/1.1 and HTTP/2 over TLS.
    Tls,
}

/// What the origin speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Back {
    /// HTTP/1.1.
    #[default]
    Http,
    /// gRPC: HTTP/2 without TLS.
    Grpc,
    /// HTTP/1.1 over TLS, with the peers' own certificate, which is to be verified.
    Tls,
}

/// What is written down of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Log {
    /// Nothing.
    #[default]
    Off,
    /// A line in the combined format, where the proxy has it.
    Combined,
    /// A line of JSON.
    Json,
}

impl Log {
    /// The name of a log's file, when there is a log.
    fn file(self, name: &'static str) -> Option<&'static str> {
        (self != Self::Off).then_some(name)
    }
}

/// Where a proxy is to run.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    /// Where it is to listen.
    pub(crate) address: SocketAddr,
    /// Where its metrics may be.
    pub(crate) admin: SocketAddr,
    /// What stands behind it: where it is to forward to, or the Redis of user services.
    pub(crate) origin: SocketAddr,
    /// Its folder.
    pub(crate) folder: &'a Path,
    /// Its workers or threads.
    pub(crate) workers: usize,
    /// What it shows in TLS handshakes, and the origin too.
    pub(crate) certificate: &'a Certificate,
}

/// How to start a proxy.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Files to write first, by name.
    pub(crate) files: Vec<(&'static str, String)>,
    /// Arguments.
    pub(crate) args: Vec<String>,
    /// Environment.
    pub(crate) environment: Vec<(&'static str, String)>,
    /// How it is told that its files have changed; `None` when it cannot be.
    pub(crate) reload: Option<Reload>,
    /// The file that its access log ends up in, when it has one.
    pub(crate) log: Option<&'static str>,
}

/// How a proxy is told that its files have changed.
#[derive(Clone, Debug)]
pub(crate) enum Reload {
    /// By a signal to its first process.
    Signal(Signal),
    /// By its own program with these arguments.
    Command(Vec<String>),
}

/// A peer, and where its program is.
pub(crate) type Found = (&'static Peer, PathBuf);

/// The programs of a run: which peer is where.
#[derive(Debug, Default)]
pub(crate) struct Programs {
    under_test: PathBuf,
    /// Those to compare, in the order of [`PEERS`].
    pub(crate) found: Vec<Found>,
    /// Those that are not installed.
    pub(crate) missing: Vec<&'static Peer>,
}

impl Programs {
    /// Finds the peers of these names, and the binary under test, which is always in.
    pub(crate) fn find(names: &[String], tidegate: PathBuf) -> Result<Self, Error> {
        if let Some(unknown) = names
            .iter()
            .find(|name| PEERS.iter().all(|peer| peer.name != **name))
        {
            let known: Vec<_> = PEERS.iter().map(|peer| peer.name).collect();
            let known = known.join(", ");
            return Err(Error::Usage(format!(
                "no peer `{unknown}`; there are {known}"
            )));
        }
        if !tidegate.is_file() {
            return Err(Error::NoTidegate(tidegate));
        }
        let mut programs = Self {
            under_test: tidegate,
            ..Self::default()
        };
        let wanted =
            |peer: &&Peer| peer.name == OURS || names.iter().any(|name| peer.name == *name);
        for peer in PEERS.iter().filter(wanted) {
            match programs.path(peer.program) {
                Some(path) if peer.name != nginx::WITH_NJS.name || nginx::has_njs() => {
                    programs.found.push((peer, path));
                }
                _ => programs.missing.push(peer),
            }
        }
        Ok(programs)
    }

    /// Those that a suite brings along, whatever peers were asked for.
    pub(crate) fn brought(&self, peers: &'static [Peer]) -> Vec<Found> {
        let found = |peer: &'static Peer| Some((peer, self.path(peer.program)?));
        peers.iter().filter_map(found).collect()
    }

    fn path(&self, program: Program) -> Option<PathBuf> {
        match program {
            Program::Here => std::env::current_exe().ok(),
            Program::UnderTest => Some(self.under_test.clone()),
            Program::Installed(name) => installed(name),
        }
    }

    /// What each says of its version.
    pub(crate) fn versions(&self) -> BTreeMap<&'static str, String> {
        let version = |(peer, path): &(&'static Peer, PathBuf)| {
            let said = Command::new(path).args(peer.version).output().ok();
            let said = said.map(|output| [output.stdout, output.stderr].concat());
            let text = String::from_utf8_lossy(&said.unwrap_or_default()).into_owned();
            let line = text.lines().next().unwrap_or("unknown");
            (peer.name, line.trim().to_owned())
        };
        self.found.iter().map(version).collect()
    }
}

/// A program in `PATH`, or where Debian keeps daemons.
fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let mut places = folders.map(|folder| folder.join(name));
    places.find(|place| place.is_file())
}
