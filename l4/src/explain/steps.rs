//! The steps of a connection, in words.

use std::net::{IpAddr, SocketAddr};

use chassis::health::Forced;
use chassis::net::proxy_protocol::ProxyHeader;

use super::live::Live;
use crate::balance::{Flow, Scheduler};
use crate::config::Mode;
use crate::dr;
use crate::forward::Transport;
use crate::sniff::ServerName;
use crate::state::{ClusterState, ListenerState, Routing, State};

/// A connection, or a flow of datagrams.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) name: Option<ServerName>,
    pub(super) client: IpAddr,
    /// None when any is meant.
    pub(super) port: Option<u16>,
    /// What the client connects to.
    pub(super) service: Option<SocketAddr>,
    pub(super) transport: Transport,
}

impl Wanted {
    /// What becomes of it.
    ///
    /// # Errors
    /// When it is not said which listener is meant.
    pub(super) fn explain(&self, state: &State, live: &Live) -> Result<Vec<String>, String> {
        let listener = self.listener(state)?;
        let mut lines = vec![self.title(listener), of_listener(listener)];
        if listener.mode == Mode::Proxy {
            lines.extend(self.of_client(listener));
            if !listener.lets_in(self.client) {
                return Ok(lines);
            }
        }
        lines.push(self.of_name(listener));
        let Some(target) = listener.routing.target(self.name.as_ref()) else {
            lines.push("cluster   none: the connection is closed".to_owned());
            return Ok(lines);
        };
        if target.tls.is_some() {
            lines.push("tls       ends here; endpoints get what is in it".to_owned());
        }
        let cluster = &target.cluster;
        let scheduler = cluster.cluster.scheduler();
        lines.push(format!("cluster   {}, {}", cluster.name, scheduler.name()));
        let from = &live.from;
        lines.push(match live.is_known() {
            true => format!("health    as {from} knows it"),
            false => {
                format!("health    not known, for nobody answers at {from}: as if all were up")
            }
        });
        lines.extend(of_endpoints(cluster, live));
        match listener.mode {
            Mode::Dr => lines.push(self.of_direct_return(state, listener)),
            Mode::Proxy | Mode::Nat => lines.extend(self.of_endpoint(listener, cluster)),
        }
        if let (Some(version), Mode::Proxy) = (cluster.proxy_protocol, listener.mode) {
            let version = format!("{version:?}").to_lowercase();
            lines.push(format!(
                "header    PROXY {version} with the client's address goes first"
            ));
        }
        Ok(lines)
    }

    fn listener<'a>(&self, state: &'a State) -> Result<&'a ListenerState, String> {
        let suits = |listener: &&ListenerState| {
            let address = listener.address;
            listener.transport == self.transport
                && self.service.is_none_or(|service| {
                    let any = address.ip().is_unspecified() || listener.transparent;
                    address == service || (any && address.port() == service.port())
                })
        };
        let mut suitable: Vec<_> = state.listeners.iter().filter(suits).collect();
        // One for this very address comes first.
        suitable.sort_by_key(|listener| Some(listener.address) != self.service);
        let all = || {
            let listeners = state.listeners.iter();
            let all = listeners.map(|one| format!("{} ({} {})", one.name, named(one), one.address));
            all.collect::<Vec<_>>().join(", ")
        };
        match suitable[..] {
            [] => Err(format!("no listener takes it; there are: {}", all())),
            [_, _, ..] if self.service.is_none() => Err(format!(
                "there is more than one listener: say which with --to ADDRESS:PORT; there are: {}",
                all()
            )),
            [listener, ..] => Ok(listener),
        }
    }

    fn service(&self, listener: &ListenerState) -> SocketAddr {
        self.service.unwrap_or(listener.address)
    }

    fn title(&self, listener: &ListenerState) -> String {
        let client = match self.port {
            Some(port) => SocketAddr::new(self.client, port).to_string(),
            None => self.client.to_string(),
        };
        let name = self.name.as_ref();
        let name = name.map_or_else(String::new, |name| format!(" for {}", name.as_str()));
        let service = self.service(listener);
        format!("{} from {client} to {service}{name}", named(listener))
    }

    fn of_client(&self, listener: &ListenerState) -> Vec<String> {
        let mut lines = Vec::new();
        if listener.proxy_header != ProxyHeader::Off {
            lines.push(match listener.trusts(self.client) {
                true => "header    a PROXY header of this client is believed; who it names counts from there on",
                false => "header    no PROXY header of this client is believed",
            }.to_owned());
        }
        lines.push(match listener.lets_in(self.client) {
            true => "client    may connect".to_owned(),
            false => {
                "client    may not connect (`allow`, `deny`): the connection is closed".to_owned()
            }
        });
        lines
    }

    fn of_name(&self, listener: &ListenerState) -> String {
        let routing = &listener.routing;
        let default = match &routing.default {
            Some(_) => "the cluster of the listener",
            None => "no cluster",
        };
        match &self.name {
            _ if !routing.by_name() => {
                format!("name      not looked for: the listener has no route; {default}")
            }
            None => format!("name      none: {default}"),
            Some(name) => match route(routing, name) {
                Some(route) => format!("name      {}: the route for {route}", name.as_str()),
                None => format!("name      {}: no route; {default}", name.as_str()),
            },
        }
    }

    /// Which endpoint the kernel leads it to, whatever the scheduler of the cluster is, if that can be said.
    fn of_direct_return(&self, state: &State, listener: &ListenerState) -> String {
        if !dr::BUILT_IN {
            return "endpoint  not known: this binary was built without the mode dr".to_owned();
        }
        let services = state.services(Mode::Dr);
        let service = services.iter().find(|one| one.name == listener.name);
        let (what, port) = match (service.is_some_and(|one| one.by_source), self.port) {
            (true, port) => ("client's address", port.unwrap_or(0)),
            (false, Some(port)) => ("flow", port),
            (false, None) => return format!("endpoint  {SAY_THE_PORT}"),
        };
        let client = SocketAddr::new(self.client, port);
        let chosen = service.and_then(|service| {
            let at = dr::endpoint_of(service, client)?;
            service.members.get(at)
        });
        match chosen {
            Some(member) => {
                let address = member.address;
                format!("endpoint  {address}, by the kernel's hash of the {what}")
            }
            None => "endpoint  none takes connections: the connection is refused".to_owned(),
        }
    }

    /// Which endpoint it gets, if that can be said.
    fn of_endpoint(&self, listener: &ListenerState, cluster: &ClusterState) -> Vec<String> {
        let scheduler = cluster.cluster.scheduler();
        let line = |text: String| vec![format!("endpoint  {text}")];
        if cluster.cluster.pick(0, &[]).is_none() {
            return line("none takes connections: the connection is closed".to_owned());
        }
        let port = match (scheduler, self.port) {
            (Scheduler::RoundRobin, _) => return line("each in its turn, by share".to_owned()),
            (Scheduler::LeastConnections, _) => {
                return line("the one that has the fewest connections for its share".to_owned());
            }
            (Scheduler::TwoChoices, _) => {
                let text = "of two drawn by share the one that has fewer connections for it";
                return line(text.to_owned());
            }
            (Scheduler::SourceHash, port) => port.unwrap_or(0),
            (Scheduler::Maglev, Some(port)) => port,
            (Scheduler::Maglev, None) => {
                return line(SAY_THE_PORT.to_owned());
            }
        };
        if listener.mode != Mode::Proxy {
            return line("by the kernel's hash of the flow".to_owned());
        }
        let hash = cluster.cluster.hash(|| Flow {
            transport: self.transport,
            client: SocketAddr::new(self.client, port),
            service: self.service(listener),
        });
        let mut tried = Vec::new();
        while let Some(at) = cluster.cluster.pick(hash, &tried) {
            tried.push(at);
        }
        let named = |at: &usize| cluster.cluster.endpoints()[*at].address.to_string();
        let [first, others @ ..] = &tried[..] else {
            return line("none".to_owned());
        };
        let others: Vec<_> = others.iter().take(2).map(named).collect();
        let mut lines = line(format!("{}, by the hash of the flow", named(first)));
        if scheduler == Scheduler::SourceHash {
            lines = line(format!(
                "{}, by the hash of the client's address",
                named(first)
            ));
        }
        if !others.is_empty() {
            let others = others.join(", then ");
            lines.push(format!("          when it does not take it: {others}"));
        }
        lines
    }
}

const SAY_THE_PORT: &str = "by the flow's hash: say the client's port with --from ADDRESS:PORT";

fn named(listener: &ListenerState) -> &'static str {
    match listener.transport {
        Transport::Tcp => "TCP",
        Transport::Udp => "UDP",
    }
}

fn of_listener(listener: &ListenerState) -> String {
    let mode = match listener.mode {
        Mode::Proxy => "mode proxy: this process carries the bytes",
        Mode::Nat => "mode nat: the kernel carries the packets",
        Mode::Dr => "mode dr: the kernel carries the packets, answers go straight to the client",
    };
    format!("listener  {}, {mode}", listener.name)
}

/// The name in the configuration that a name is led by.
fn route(routing: &Routing, name: &ServerName) -> Option<String> {
    if routing.exact.contains_key(name.as_str()) {
        return Some(name.as_str().to_owned());
    }
    let mut above = name.and_above().skip(1);
    let found = above.find(|above| routing.below.contains_key(*above));
    found.map(|above| format!("*.{above}"))
}

fn of_endpoints(cluster: &ClusterState, live: &Live) -> Vec<String> {
    let members = cluster.cluster.members();
    let all: u64 = members.iter().map(|member| u64::from(member.share)).sum();
    let endpoints = cluster.cluster.endpoints().iter().zip(&members);
    let line = |(endpoint, member): (
        &std::sync::Arc<crate::balance::Endpoint>,
        &crate::forward::Member,
    )| {
        let known = live.endpoint(&cluster.name, endpoint.address);
        let share = f64::from(member.share) / all.max(1) as f64;
        let share = known.map_or(share, |known| known.share) * 100.0;
        let why = known.and_then(|known| known.why.as_deref());
        let health = match (endpoint.forced(), endpoint.is_well(), why) {
            (Forced::Up, ..) => "set to up".to_owned(),
            (Forced::Down, ..) => "set to down".to_owned(),
            (Forced::Auto, true, _) => "well".to_owned(),
            (Forced::Auto, false, Some(why)) => format!("not well: {why}"),
            (Forced::Auto, false, None) if known.is_some() => "not checked yet".to_owned(),
            (Forced::Auto, false, None) => "not known to the running process".to_owned(),
        };
        let set = match known.is_some_and(|known| known.weight_is_set) {
            true => " (set)",
            false => "",
        };
        let open = known.map_or_else(String::new, |known| {
            let limit = known.limit;
            let limit = limit.map_or_else(String::new, |limit| format!(" of {limit}"));
            format!(", {}{limit} open", known.open)
        });
        let (address, weight) = (endpoint.address, endpoint.weight());
        format!("          {address}  weight {weight}{set}, share {share:.1}%, {health}{open}")
    };
    endpoints.map(line).collect()
}
