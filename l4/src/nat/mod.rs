//! Mode `nat`: the kernel forwards, with translated addresses, as LVS-NAT does. No packet comes to this process.
//!
//! ```text
//! packet -> conntrack: a flow that is known -> its endpoint
//!                      a new one -> services (map: address -> chain) -> jhash of both ends -> slots (map: slot -> endpoint)
//! [Service] -> Ruleset -> script: what differs from what is there -> nft, one transaction -> flows of dead endpoints forgotten
//! ```
//!
//! The slots are a Maglev table, so that another balancer with the same endpoints leads a flow to the same one. One
//! table of nftables holds all there is; it stays when the process ends, and goes by [`Nat::stop`] or [`flush`].
//! Everything here blocks.

mod chains;
mod config;
mod counters;
mod flows;
mod gone;
mod kernel;
mod netlink;
mod ruleset;
mod script;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use self::gone::Gone;
use self::netlink::Netlink;
use self::ruleset::Ruleset;
use self::script::Place;
use crate::forward::Service;

pub use self::config::NatConfig;

/// The rules of this process in the kernel.
#[derive(Debug)]
pub struct Nat {
    config: NatConfig,
    place: Place,
    services: Vec<Service>,
    applied: Option<Ruleset>,
    /// Tables that it has made and that are there: after a change of the name also the one before, until another is loaded.
    tables: BTreeSet<String>,
    loads: Loads,
    /// Flows that are to be forgotten once more: a packet that was under way may have made one anew.
    again: Gone,
}

/// How often rules were loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loads {
    /// All of them, in place of whatever there was.
    pub whole: u64,
    /// Only what had changed.
    pub changes: u64,
}

/// What an endpoint has got of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// The listener's name.
    pub service: Arc<str>,
    /// The endpoint.
    pub endpoint: SocketAddr,
    /// Flows that were dealt to it.
    pub flows: u64,
    /// Packets and bytes, with their IP headers, from clients.
    pub received: (u64, u64),
    /// Packets and bytes, with their IP headers, to clients.
    pub sent: (u64, u64),
}

/// Why the kernel does not forward.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration's fault: the table or its options.
    #[error("{0}")]
    Config(String),
    /// The configuration's fault: a table that is not ours.
    #[error("the table {0} is there already, and no balancer has made it: it would be removed")]
    Strange(String),
    /// The configuration's fault: two listeners.
    #[error("listeners {0:?} and {1:?} have the same address")]
    Twice(Arc<str>, Arc<str>),
    /// The configuration's fault: an address that stands for all.
    #[error("listener {0:?}: the kernel forwards what comes to one address, not to all of them")]
    Unspecified(Arc<str>),
    /// The configuration's fault: an endpoint of the other family.
    #[error("listener {service:?}: endpoint {endpoint} is not of the family of its address")]
    Family {
        /// The listener's name.
        service: Arc<str>,
        /// Whose family is another.
        endpoint: SocketAddr,
    },
    /// The machine's: a setting.
    #[error("{name} is not {want}: the kernel {why}")]
    Sysctl {
        /// Its name.
        name: &'static str,
        /// What it must be.
        want: &'static str,
        /// What the kernel does while it is not.
        why: &'static str,
    },
    /// The machine's: a program.
    #[error("there is no program `nft`")]
    NoNft,
    /// `nft` cannot be run.
    #[error("nft: {0}")]
    Nft(#[source] io::Error),
    /// `nft` or the kernel refuses the rules.
    #[error("nft refuses: {0}")]
    Refused(String),
    /// The kernel's answers over netlink.
    #[error("the kernel's packet filter: {0}")]
    Netlink(#[from] io::Error),
}

impl Error {
    /// What somebody can do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Sysctl { name, want, .. } => Some(format!("run `sysctl -w {name}={want}`")),
            Self::Strange(table) => Some(format!(
                "name another one in `nat.table`, or remove that one: `nft delete table inet {table}`"
            )),
            Self::NoNft => Some("install the package nftables".to_owned()),
            _ => None,
        }
    }
}

impl Nat {
    /// Nothing yet.
    ///
    /// # Errors
    /// When options are wrong.
    pub fn new(config: NatConfig) -> Result<Self, Error> {
        if let Some(fault) = config.fault() {
            return Err(Error::Config(fault));
        }
        Ok(Self {
            place: Place::of(&config),
            config,
            services: Vec::new(),
            applied: None,
            tables: BTreeSet::new(),
            loads: Loads::default(),
            again: Gone::default(),
        })
    }

    /// Has other options from the next [`Self::apply`] on. Until then everything is forwarded as before, also when the
    /// table is to be another one.
    ///
    /// # Errors
    /// When options are wrong; nothing has changed then.
    pub fn reconfigure(&mut self, config: NatConfig) -> Result<(), Error> {
        let next = Self::new(config)?;
        self.config = next.config;
        self.place = next.place;
        self.applied = None;
        Ok(())
    }

    /// Its options.
    pub fn config(&self) -> &NatConfig {
        &self.config
    }

    /// Whether the kernel forwards exactly this, as far as is known.
    pub fn forwards(&self, services: &[Service]) -> bool {
        self.applied.is_some() && self.services == services
    }

    /// Makes the kernel forward exactly this, at one stroke, and takes flows from endpoints that are gone or not well. The
    /// first time it replaces whatever a predecessor has left; flows stay where they are, and what was counted goes on.
    ///
    /// # Errors
    /// When it cannot; what was applied before is in force then, unless it was only flows that could not be taken:
    /// [`Self::tend`] tries that again.
    pub fn apply(&mut self, services: &[Service]) -> Result<(), Error> {
        kernel::check(&self.config, services)?;
        let next = Ruleset::new(&self.config, services)?;
        let reset = self.config.reset;
        let mut gone = Gone::between(&self.services, services, reset);
        if self.load(next)? {
            gone = gone.and(Gone::strange(services, reset));
        }
        self.services = services.to_vec();
        self.again.clone_from(&gone);
        forget(&gone)
    }

    /// What is due every few seconds: takes flows that went to a dead endpoint while it was taken out, and loads the rules
    /// again that somebody else has removed; whether that was so.
    ///
    /// # Errors
    /// When it cannot; the next time may be better.
    pub fn tend(&mut self) -> Result<bool, Error> {
        if self.applied.is_none() {
            return Ok(false);
        }
        let counts = counters::read(&mut Netlink::open()?, &self.place.table)?;
        let missing = !counts.contains_key(&self.place.mark);
        if missing {
            self.applied = None;
            self.load(Ruleset::new(&self.config, &self.services)?)?;
            let strange = Gone::strange(&self.services, self.config.reset);
            self.again = std::mem::take(&mut self.again).and(strange);
        }
        let gone = std::mem::take(&mut self.again);
        if let Err(error) = forget(&gone) {
            self.again = gone;
            return Err(error);
        }
        Ok(missing)
    }

    /// How often this process has loaded rules.
    pub fn loads(&self) -> Loads {
        self.loads
    }

    /// What a clean stop does: removes the rules, unless they are to be kept. Flows that are under way end.
    ///
    /// # Errors
    /// When they cannot be removed.
    pub fn stop(mut self) -> Result<(), Error> {
        if self.config.keep {
            return Ok(());
        }
        self.remove()
    }

    /// Removes the rules of this process.
    ///
    /// # Errors
    /// When they cannot be removed.
    pub fn remove(&mut self) -> Result<(), Error> {
        if self.tables.is_empty() {
            return Ok(());
        }
        kernel::run(&script::nothing(&self.tables))?;
        self.tables.clear();
        self.applied = None;
        self.services.clear();
        Ok(())
    }

    /// Loads what differs, or everything; whether it was everything.
    fn load(&mut self, next: Ruleset) -> Result<bool, Error> {
        if let Some(applied) = &self.applied {
            let script = self.place.changes(applied, &next);
            if script.is_empty() {
                return Ok(false);
            }
            match kernel::run(&script) {
                Ok(()) => {
                    self.loads.changes += 1;
                    self.applied = Some(next);
                    return Ok(false);
                }
                // The table is not what was made of it.
                Err(error) => tracing::warn!("somebody else has changed the rules: {error}"),
            }
        }
        let table = &self.place.table;
        let mut netlink = Netlink::open()?;
        let mut counts = BTreeMap::new();
        let others: Vec<_> = self.tables.iter().filter(|one| *one != table).collect();
        for table in others.iter().copied().chain([table]) {
            counts.extend(counters::read(&mut netlink, table)?);
        }
        if !self.tables.contains(table) {
            leave_alone(&mut netlink, table)?;
        }
        kernel::run(&self.place.whole(&next, &counts, others))?;
        self.tables = BTreeSet::from([table.clone()]);
        self.loads.whole += 1;
        self.applied = Some(next);
        Ok(true)
    }
}

/// Refuses a table that somebody else has made.
fn leave_alone(netlink: &mut Netlink, table: &str) -> Result<(), Error> {
    if is_ours(netlink, table)? || !counters::is_there(netlink, table)? {
        return Ok(());
    }
    Err(Error::Strange(table.to_owned()))
}

fn is_ours(netlink: &mut Netlink, table: &str) -> io::Result<bool> {
    let counts = counters::read(netlink, table)?;
    Ok(counts.keys().any(|name| script::is_mark(name)))
}

fn forget(gone: &Gone) -> Result<(), Error> {
    if !gone.is_empty() {
        flows::forget(&mut Netlink::open()?, gone)?;
    }
    Ok(())
}

/// Whether this machine can forward this, without a change to it.
///
/// # Errors
/// When it cannot, with the reason.
pub fn check(config: &NatConfig, services: &[Service]) -> Result<(), Error> {
    let nat = Nat::new(config.clone())?;
    let ruleset = Ruleset::new(config, services)?;
    kernel::check(config, services)?;
    leave_alone(&mut Netlink::open()?, &config.table)?;
    kernel::judge(&nat.place.whole(&ruleset, &BTreeMap::new(), []))
}

/// What the endpoints have got since the rules were first loaded, by whichever process.
///
/// # Errors
/// When the kernel does not tell.
pub fn traffic(config: &NatConfig, services: &[Service]) -> Result<Vec<Traffic>, Error> {
    let counts = counters::read(&mut Netlink::open()?, &config.table)?;
    let count = |name: String| counts.get(&name).copied().unwrap_or_default();
    let mut traffic = Vec::new();
    for service in services {
        for member in &service.members {
            let name = |what| ruleset::counter(service, member.address, what);
            let (received, sent) = (count(name("in")), count(name("out")));
            traffic.push(Traffic {
                service: service.name.clone(),
                endpoint: member.address,
                flows: count(name("flows")).packets,
                received: (received.packets, received.bytes),
                sent: (sent.packets, sent.bytes),
            });
        }
    }
    Ok(traffic)
}

/// Whether there are rules of anybody who had these options.
///
/// # Errors
/// When the options are wrong, or the kernel does not tell.
pub fn is_there(config: &NatConfig) -> Result<bool, Error> {
    match config.fault() {
        Some(fault) => Err(Error::Config(fault)),
        None => Ok(is_ours(&mut Netlink::open()?, &config.table)?),
    }
}

/// Removes the rules of whoever had these options; whether there were any.
///
/// # Errors
/// When they cannot be removed.
pub fn flush(config: &NatConfig) -> Result<bool, Error> {
    if let Some(fault) = config.fault() {
        return Err(Error::Config(fault));
    }
    let ours = is_ours(&mut Netlink::open()?, &config.table)?;
    if ours {
        kernel::run(&script::nothing([&config.table]))?;
    }
    Ok(ours)
}
