//! Listeners, judged.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chassis::config::{Diagnostic, Located};
use chassis::net::proxy_protocol::ProxyHeader;
use chassis::net::{ListenOptions, Networks, may_be_transparent, overlap};
use chassis::tls::{Handshakes, Reading};

use super::clusters::{Clusters, zero};
use super::routes;
use super::tls::Ending;
use crate::admission::Admission;
use crate::config::{Config, LimitsConfig, ListenerConfig, Mode, TimeoutsConfig};
use crate::forward::Transport;
use crate::relay;
use crate::state::{Limits, ListenerState, Routing, State, Timeouts};

pub(super) fn compile(
    config: &Config,
    clusters: &Clusters,
    before: Option<&State>,
    now: Instant,
    reading: &mut Reading<'_>,
) -> Vec<ListenerState> {
    let mut found = Vec::new();
    let mistakes = &mut found;
    routes::judge(config, clusters, mistakes);
    let mut listeners: Vec<ListenerState> = Vec::new();
    for listener in &config.listener {
        twice(listener, &listeners, *config.admin.address, mistakes);
        let known = before.and_then(|before| {
            let mut known = before.listeners.iter();
            known.find(|known| *known.name == **listener.name)
        });
        let handshakes = known.map_or_else(
            || Arc::new(Handshakes::new(listener.name.as_str().into())),
            |known| known.handshakes.clone(),
        );
        let ending = Ending {
            reading,
            listener: &listener.name,
            handshakes: &handshakes,
            before: known,
        };
        let routing = routes::compile(listener, config, clusters, ending, mistakes);
        mistakes.extend(without_use(listener, &routing));
        mistakes.extend(tls_for_nobody(listener));
        only_for_proxies(listener, mistakes);
        transparent(listener, &routing, reading);
        listeners.push(ListenerState {
            name: listener.name.as_str().into(),
            address: *listener.address,
            mode: *listener.mode,
            transport: *listener.protocol,
            place: listener.address.place(),
            options: options(listener, mistakes),
            routing: Arc::new(routing),
            proxy_header: *listener.proxy_protocol,
            trusted: Networks::compile(&listener.trusted, mistakes),
            allow: (!listener.allow.is_empty())
                .then(|| Networks::compile(&listener.allow, mistakes)),
            deny: Networks::compile(&listener.deny, mistakes),
            limits: limits(&listener.limits, mistakes),
            timeouts: timeouts(listener, mistakes),
            transparent: *listener.transparent,
            handshakes,
            admission: match known {
                Some(known) => known.admission.clone(),
                None => Arc::new(Admission::new(now)),
            },
            counts: known.map_or_else(Arc::default, |known| known.counts.clone()),
            datagrams: known.map_or_else(Arc::default, |known| known.datagrams.clone()),
        });
    }
    if listeners.is_empty() {
        let nowhere = Diagnostic::new(config.admin.address.place(), "there is no listener");
        mistakes.push(nowhere.help("add one: `[[listener]]` with `name`, `address` and `cluster`"));
    }
    // What is wrong with a route is so for each listener that has it.
    once(&mut reading.mistakes);
    once(&mut reading.warnings);
    reading.mistakes.extend(found);
    listeners
}

/// What listeners of datagrams do not do.
pub(super) fn warnings(listeners: &[ListenerState]) -> Vec<Diagnostic> {
    let datagrams = listeners
        .iter()
        .filter(|one| one.transport == Transport::Udp && one.mode == Mode::Proxy);
    let warning = |listener: &ListenerState| {
        let cluster = listener
            .routing
            .clusters()
            .find(|cluster| cluster.proxy_protocol.is_some())?;
        let what = format!(
            "the cluster `{}` gets no PROXY headers from the listener `{}`: datagrams never begin with one",
            cluster.name, listener.name
        );
        Some(Diagnostic::new(listener.place, what))
    };
    datagrams.filter_map(warning).collect()
}

/// Leaves each out that was told before.
fn once(told: &mut Vec<Diagnostic>) {
    let mut before = BTreeSet::new();
    told.retain(|one| before.insert((one.place, one.message.clone())));
}

/// What the kernel would refuse.
fn transparent(config: &ListenerConfig, routing: &Routing, reading: &mut Reading<'_>) {
    if !*config.transparent || *config.mode != Mode::Proxy {
        return;
    }
    let place = config.transparent.place();
    if !may_be_transparent() {
        let what = format!("{NOT_ALLOWED}, which this process does not have");
        reading.warnings.push(Diagnostic::new(place, what));
    }
    let both = config.address.is_ipv6() && *config.dual_stack;
    let targets = routing.exact.values().chain(routing.below.values());
    for target in targets.chain(&routing.default) {
        let endpoints = target.cluster.cluster.endpoints().iter();
        let mut addresses = endpoints.map(|endpoint| endpoint.address);
        let other = |address: &SocketAddr| address.is_ipv6() != config.address.is_ipv6();
        if let Some(address) = addresses.find(other).filter(|_| !both) {
            let what = format!(
                "clients of {} are of another family than the endpoint {}, which cannot see their addresses",
                *config.address,
                address.ip()
            );
            reading.mistakes.push(Diagnostic::new(place, what));
        }
    }
}

/// That somebody has to give leave.
pub(crate) const NOT_ALLOWED: &str = "`transparent` needs the capability CAP_NET_ADMIN";

fn twice(
    config: &ListenerConfig,
    others: &[ListenerState],
    admin: SocketAddr,
    mistakes: &mut Vec<Diagnostic>,
) {
    if others.iter().any(|other| *other.name == **config.name) {
        let what = format!("a listener `{}` is there already", *config.name);
        mistakes.push(config.name.wrong(what));
    }
    let address = *config.address;
    let same = |other: &&ListenerState| {
        let theirs = (other.address, other.options.dual_stack);
        // What the kernel forwards comes no further.
        let proxies = [other.mode, *config.mode] == [Mode::Proxy; 2];
        let both = proxies && overlap(theirs, (address, *config.dual_stack));
        let equal = other.address == address && address.port() != 0;
        other.transport == *config.protocol && (both || equal)
    };
    if let Some(other) = others.iter().find(same) {
        let what = format!(
            "the listener `{}` is on {} already",
            other.name, other.address
        );
        mistakes.push(config.address.wrong(what));
    }
    let ours = *config.mode == Mode::Proxy && *config.protocol == Transport::Tcp;
    if ours && overlap((address, *config.dual_stack), (admin, false)) {
        let what = format!("the listener `admin` is on {admin} already");
        mistakes.push(config.address.wrong(what));
    }
    if config.name.is_empty() || config.name.contains(char::is_control) {
        let what = "a name is not empty and has no control characters";
        mistakes.push(config.name.wrong(what));
    }
    if *config.name == "admin" {
        mistakes.push(
            config
                .name
                .wrong("`admin` is the name of the admin listener"),
        );
    }
}

/// That nobody would get what is in TLS.
fn tls_for_nobody(config: &ListenerConfig) -> Option<Diagnostic> {
    let tls = config.tls.as_ref().filter(|_| config.cluster.is_none())?;
    let wrong = tls.wrong("nobody would get what is in it: the listener has no cluster");
    Some(wrong.help("add `cluster`, or write `tls` in a `[[route]]`"))
}

/// That nobody would get what comes.
fn without_use(config: &ListenerConfig, routing: &Routing) -> Option<Diagnostic> {
    let wanted = config.cluster.is_some() || (*config.mode == Mode::Proxy && routing.by_name());
    let what = format!("the listener `{}` leads to no cluster", *config.name);
    (!wanted).then(|| {
        let wrong = config.name.wrong(what);
        match *config.mode {
            Mode::Proxy => wrong.help("add `cluster`, or a `[[route]]`"),
            Mode::Nat | Mode::Dr => wrong.help("add `cluster`"),
        }
    })
}

/// What the kernel does not do.
fn only_for_proxies(config: &ListenerConfig, mistakes: &mut Vec<Diagnostic>) {
    let header = *config.proxy_protocol;
    if header != ProxyHeader::Off && config.trusted.is_empty() {
        let wrong = config
            .proxy_protocol
            .wrong("no PROXY header would be read: the listener trusts nobody");
        mistakes.push(wrong.help("add the balancers' networks: `trusted = [\"10.0.0.0/8\"]`"));
    }
    if *config.protocol == Transport::Udp {
        only_for_connections(config, mistakes);
    }
    if *config.mode == Mode::Proxy {
        return;
    }
    let mode = match *config.mode {
        Mode::Nat => "nat",
        _ => "dr",
    };
    let address = &config.address;
    if address.port() == 0 || address.ip().is_unspecified() {
        let what = format!("mode `{mode}` needs the address and the port that clients use");
        mistakes.push(address.wrong(what));
    }
    let own = |place, key: &str| {
        let what =
            format!("`{key}` is for mode `proxy`: in mode `{mode}` the kernel carries what comes");
        Diagnostic::new(place, what)
    };
    if header != ProxyHeader::Off {
        mistakes.push(own(config.proxy_protocol.place(), "proxy_protocol"));
    }
    if let Some(tls) = &config.tls {
        mistakes.push(own(tls.place(), "tls"));
    }
    if *config.transparent {
        let help = "endpoints see the client's address anyway";
        mistakes.push(own(config.transparent.place(), "transparent").help(help));
    }
    for (key, list) in [("allow", &config.allow), ("deny", &config.deny)] {
        mistakes.extend(list.first().map(|first| own(first.place(), key)));
    }
    let LimitsConfig {
        connections,
        per_client,
        accept_rate,
    } = &config.limits;
    let rate = accept_rate.as_ref().map(|rate| &rate.per_second);
    for limit in [connections.as_ref(), per_client.as_ref(), rate]
        .into_iter()
        .flatten()
    {
        mistakes.push(own(limit.place(), "limits"));
    }
}

fn only_for_connections(config: &ListenerConfig, mistakes: &mut Vec<Diagnostic>) {
    let header = &config.proxy_protocol;
    if **header != ProxyHeader::Off {
        mistakes.push(header.wrong("datagrams never begin with a PROXY header"));
    }
    if let Some(tls) = &config.tls {
        mistakes.push(tls.wrong("datagrams hold no TLS that could end here"));
    }
}

fn options(config: &ListenerConfig, mistakes: &mut Vec<Diagnostic>) -> ListenOptions {
    if let Err(what) = config.tcp.validate() {
        mistakes.push(config.tcp.wrong(what));
    }
    if *config.dual_stack && !config.address.is_ipv6() {
        mistakes.push(
            config
                .dual_stack
                .wrong("an IPv4 address takes no IPv6 clients"),
        );
    }
    if *config.backlog == 0 {
        mistakes.push(config.backlog.wrong("must be 1 at least"));
    }
    ListenOptions {
        dual_stack: *config.dual_stack,
        transparent: *config.transparent,
        backlog: *config.backlog,
        tcp: config.tcp.clone().into_inner(),
        ..ListenOptions::default()
    }
}

fn limits(config: &LimitsConfig, mistakes: &mut Vec<Diagnostic>) -> Limits {
    let mut judged = |limit: Option<&Located<u32>>| {
        let limit = limit?;
        if **limit == 0 {
            mistakes.push(limit.wrong("must be 1 at least"));
        }
        Some(**limit)
    };
    let rate = config.accept_rate.as_ref();
    let per_second = judged(rate.map(|rate| &rate.per_second));
    let burst = judged(rate.and_then(|rate| rate.burst.as_ref()));
    Limits {
        connections: judged(config.connections.as_ref()),
        per_client: judged(config.per_client.as_ref()),
        accept_rate: per_second.map(|rate| (rate, burst.unwrap_or(rate))),
    }
}

fn timeouts(listener: &ListenerConfig, mistakes: &mut Vec<Diagnostic>) -> Timeouts {
    let TimeoutsConfig {
        first_bytes,
        idle,
        half_closed,
        total,
    } = &listener.timeouts;
    let periods = [first_bytes, half_closed].into_iter();
    mistakes.extend(periods.chain(idle).chain(total).filter_map(zero));
    let usual = match *listener.protocol {
        Transport::Tcp => Duration::from_secs(600),
        Transport::Udp => Duration::from_secs(120),
    };
    Timeouts {
        first_bytes: ***first_bytes,
        relay: relay::Limits {
            idle: idle.as_ref().map_or(usual, |idle| ***idle),
            half_closed: ***half_closed,
            total: total.as_ref().map(|total| ***total),
        },
    }
}
