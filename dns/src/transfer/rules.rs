//! What is configured of transfers, judged.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chassis::config::{Diagnostic, Located, Place, Sources};
use ipnet::IpNet;

use super::config::{PeerConfig, TransferRuleConfig, TransfersConfig};
use super::key::{self, Key, Keys};
use super::receive::Limits;
use super::store;
use crate::config::{Config, ZoneConfig};
use crate::wire::rtype::ALIAS;
use crate::zone::{Name, Zone};

/// Keys, who may copy which zone, and where copies come from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transfers {
    pub(super) keys: Keys,
    /// Zones of which anything is said, by name.
    pub(super) zones: BTreeMap<Name, Rules>,
    pub(super) outgoing: OutgoingLimits,
    pub(super) incoming: IncomingLimits,
    /// Records of past changes that are kept of each zone.
    pub(super) journal: usize,
}

/// What is said of a zone.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    pub(super) allowed: Vec<Allowed>,
    pub(super) notify: Vec<Peer>,
    /// Where the zone comes from, and the file of its copy.
    pub(super) source: Option<Source>,
}

/// Where a zone comes from.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) primaries: Vec<Peer>,
    pub(super) file: PathBuf,
}

/// Who may copy a zone: all that is set must hold.
#[derive(Clone, Debug)]
pub(super) struct Allowed {
    from: Vec<IpNet>,
    key: Option<Name>,
}

/// Another server.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    /// An address of this machine.
    pub(super) from: Option<IpAddr>,
    pub(super) key: Option<Arc<Key>>,
}

/// Limits of transfers to others.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OutgoingLimits {
    pub(super) concurrent: u32,
    pub(super) concurrent_per_client: u32,
    /// In octets a second.
    pub(super) rate: Option<u64>,
}

/// Limits of transfers from primaries.
#[derive(Clone, Copy, Debug)]
pub(super) struct IncomingLimits {
    pub(super) size: Limits,
    /// For the whole transfer.
    pub(super) within: Duration,
    /// For each message.
    pub(super) progress: Duration,
}

impl Default for IncomingLimits {
    fn default() -> Self {
        Self {
            size: Limits {
                records: 0,
                octets: 0,
            },
            within: Duration::ZERO,
            progress: Duration::ZERO,
        }
    }
}

impl Allowed {
    fn holds(&self, client: IpAddr, key: Option<&Name>) -> bool {
        let from = self.from.is_empty() || self.from.iter().any(|net| net.contains(&client));
        from && (self.key.is_none() || self.key.as_ref() == key)
    }
}

impl Rules {
    /// Whether somebody may copy the zone.
    pub(super) fn may_copy(&self, client: IpAddr, key: Option<&Name>) -> bool {
        self.allowed.iter().any(|rule| rule.holds(client, key))
    }

    /// Whether somebody may say that the zone has changed: a primary, by its address or by its key.
    pub(super) fn may_notify(&self, client: IpAddr, key: Option<&Name>) -> bool {
        let primaries = self.source.iter().flat_map(|source| &source.primaries);
        let mut primaries = primaries.map(|peer| (peer.address.ip().to_canonical(), &peer.key));
        primaries.any(|(address, own)| {
            let by_key = own.as_ref().is_some_and(|own| Some(&own.name) == key);
            by_key || address == client
        })
    }

    /// Whether others learn of this zone's versions.
    pub(super) fn is_told(&self) -> bool {
        !self.allowed.is_empty() || !self.notify.is_empty()
    }
}

impl Transfers {
    /// Judges what is configured of transfers.
    pub(crate) fn compile(
        config: &Config,
        sources: &Sources,
        mistakes: &mut Vec<Diagnostic>,
    ) -> Self {
        let limits = &config.transfers;
        let keys = key::compile(&config.tsig, mistakes);
        let mut zones = BTreeMap::new();
        for zone in &config.zone {
            let rules = rules(zone, limits, &keys, sources, mistakes);
            if let Some(apex) = Name::from_text(&zone.name)
                && (rules.is_told() || rules.source.is_some())
            {
                zones.insert(apex, rules);
            }
        }
        Self {
            keys,
            zones,
            outgoing: OutgoingLimits {
                concurrent: *limits.concurrent,
                concurrent_per_client: *limits.concurrent_per_client,
                rate: limits.rate.as_ref().map(|rate| rate.bytes()),
            },
            incoming: IncomingLimits {
                size: Limits {
                    records: *limits.records as usize,
                    octets: limits.size.bytes(),
                },
                within: **limits.within,
                progress: **config.tcp.progress,
            },
            journal: *limits.journal as usize,
        }
    }

    /// Whether a zone comes from a primary.
    pub(crate) fn has_copies(&self) -> bool {
        self.sources().next().is_some()
    }

    /// Whether other servers get any zone.
    pub(crate) fn tell_any(&self) -> bool {
        self.zones.values().any(Rules::is_told)
    }

    /// What other servers do not get with a zone, which is probably not known.
    pub(crate) fn warnings(&self, config: &Config, zones: &[Arc<Zone>]) -> Vec<Diagnostic> {
        let is_told = |apex: &Name| self.zones.get(apex).is_some_and(Rules::is_told);
        let signed = config.zone.iter().filter_map(|zone| {
            let dnssec = zone.dnssec.as_ref()?;
            Name::from_text(&zone.name).filter(|apex| is_told(apex))?;
            let what = "other servers get this zone without signatures, which validators do not take from them";
            Some(dnssec.wrong(what))
        });
        let copied = zones.iter().filter(|zone| is_told(&zone.apex));
        let aliases = copied
            .flat_map(|zone| zone.sets())
            .filter(|(_, set)| set.rtype == ALIAS);
        let aliases = aliases.map(|(owner, set)| {
            let what = format!("other servers get this zone without the ALIAS record of `{owner}`, and its addresses");
            Diagnostic::new(set.place, what)
        });
        signed.chain(aliases).collect()
    }

    /// The zones that come from primaries, with the files of their copies.
    pub(super) fn sources(&self) -> impl Iterator<Item = (&Name, &Source)> {
        let zones = self.zones.iter();
        zones.filter_map(|(apex, rules)| Some((apex, rules.source.as_ref()?)))
    }
}

fn rules(
    zone: &ZoneConfig,
    limits: &TransfersConfig,
    keys: &Keys,
    sources: &Sources,
    mistakes: &mut Vec<Diagnostic>,
) -> Rules {
    let allowed = zone.transfer.iter();
    let allowed = allowed.map(|rule| allowed_by(rule, zone, keys, mistakes));
    let allowed = allowed.collect();
    let mut peers = |peers: &[PeerConfig]| -> Vec<Peer> {
        let peers = peers.iter();
        peers.map(|one| peer(one, keys, mistakes)).collect()
    };
    let notify = peers(&zone.notify);
    let primaries = peers(&zone.primary);
    let source = match (zone.primary.is_empty(), &limits.state) {
        (true, _) => None,
        (false, None) => {
            let what = format!(
                "the zone `{}` has a primary, and no place for its copy",
                *zone.name
            );
            let help = "add `transfers = { state = \"/var/lib/tidegate/zones\" }`";
            mistakes.push(zone.name.wrong(what).help(help));
            None
        }
        (false, Some(state)) => {
            let folder = sources.resolve(state, state.place());
            let apex = Name::from_text(&zone.name);
            apex.map(|apex| Source {
                primaries,
                file: store::path(&folder, &apex),
            })
        }
    };
    if !zone.primary.is_empty()
        && let Some(place) = own_records(zone)
    {
        let what = format!("the records of `{}` come from its primary", *zone.name);
        let help = "remove `file`, `ttl`, `ns`, `soa` and `record`, or `primary`";
        mistakes.push(Diagnostic::new(place, what).help(help));
    }
    Rules {
        allowed,
        notify,
        source,
    }
}

/// Where something is written of a zone's records.
fn own_records(zone: &ZoneConfig) -> Option<Place> {
    let soa = &zone.soa;
    let times = [
        &soa.refresh,
        &soa.retry,
        &soa.expire,
        &soa.negative,
        &zone.ttl,
    ];
    let texts = soa.primary.iter().chain(&soa.contact).chain(&zone.ns);
    let places = texts.map(Located::place);
    let places = places.chain(times.map(Located::place));
    let places = places.chain(zone.file.as_ref().map(Located::place));
    let places = places.chain(zone.record.iter().map(|record| record.name.place()));
    let serial = soa.serial.map(|_| zone.name.place());
    // A default is written nowhere.
    places
        .chain(serial)
        .find(|place| *place != Place::default())
}

fn allowed_by(
    rule: &TransferRuleConfig,
    zone: &ZoneConfig,
    keys: &Keys,
    mistakes: &mut Vec<Diagnostic>,
) -> Allowed {
    if rule.from.is_empty() && rule.key.is_none() {
        let what = format!("a rule of `{}` says nothing of who may copy it", *zone.name);
        let help =
            "add `from = [\"192.0.2.0/24\"]` or a `key`; `0.0.0.0/0` and `::/0` are everybody";
        mistakes.push(zone.name.wrong(what).help(help));
    }
    let mut from = Vec::new();
    for written in &rule.from {
        match (written.parse::<IpNet>(), written.parse::<IpAddr>()) {
            (Ok(network), _) if network.trunc() == network => from.push(network),
            (Ok(network), _) => {
                let what = format!("`{}` has bits beyond its length", **written);
                let help = format!("did you mean `{}`?", network.trunc());
                mistakes.push(written.wrong(what).help(help));
            }
            (_, Ok(address)) => from.push(address.into()),
            _ => mistakes.push(written.wrong(format!("`{}` is not a network", **written))),
        }
    }
    let key = rule.key.as_ref();
    let key = key.and_then(|key| find(key, keys, mistakes));
    Allowed {
        from,
        key: key.map(|key| key.name.clone()),
    }
}

fn peer(config: &PeerConfig, keys: &Keys, mistakes: &mut Vec<Diagnostic>) -> Peer {
    let key = config.key.as_ref();
    if let Some(from) = &config.from
        && from.is_ipv4() != config.address.is_ipv4()
    {
        let what = format!(
            "`{}` cannot be spoken to from `{}`",
            *config.address, **from
        );
        mistakes.push(from.wrong(what).help("both are IPv4, or both IPv6"));
    }
    if config.address.port() == 0 {
        mistakes.push(config.address.wrong("a port is from 1 to 65535"));
    }
    Peer {
        address: *config.address,
        from: config.from.as_ref().map(|from| **from),
        key: key.and_then(|key| find(key, keys, mistakes)),
    }
}

fn find(
    written: &Located<String>,
    keys: &Keys,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<Arc<Key>> {
    let key = Name::from_text(written).and_then(|name| keys.get(&name));
    if key.is_none() {
        let what = format!("there is no key `{}`", **written);
        let known: Vec<String> = keys.keys().map(ToString::to_string).collect();
        let known = known.iter().map(|name| name.trim_end_matches('.'));
        mistakes.push(written.wrong(what).suggest(written, known));
    }
    key.cloned()
}

#[cfg(test)]
mod tests;
