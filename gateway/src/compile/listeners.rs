//! Listeners and their certificates.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chassis::config::{Diagnostic, Located, Place};
use chassis::net::{Address, ListenOptions, TcpConfig};
use chassis::units::Size;

use super::http::{http1, networks, timeouts};
use super::{Compiler, Findings};
use crate::acme::Acme;
use crate::config::{Config, ListenerConfig, ProxyHeader};
use crate::serve::{ListenerCounts, Refusals};
use crate::state::{ListenerLimits, ListenerState};

impl Compiler<'_> {
    pub(super) fn listeners(
        &self,
        config: &Config,
        acme: &mut Acme,
        findings: &mut Findings,
    ) -> Vec<Arc<ListenerState>> {
        let mut listeners = Vec::new();
        let mut names: HashMap<&str, Place> = HashMap::new();
        let mut addresses = HashMap::new();
        for listener in &config.listener {
            let name = &listener.name;
            if let Some(first) = names.insert(name, name.place()) {
                let twice = name.wrong(format!("there are two listeners named `{}`", **name));
                findings.mistakes.push(self.with_first(twice, first));
            }
            let address = &listener.address;
            if !address.takes_any_port()
                && let Some(first) = addresses.insert(&**address, address.place())
            {
                let twice = address.wrong(format!("two listeners have the address {}", **address));
                findings.mistakes.push(self.with_first(twice, first));
            }
            listeners.extend(self.listener(listener, acme, findings).map(Arc::new));
        }
        listeners
    }

    pub(super) fn with_first(&self, twice: Diagnostic, first: Place) -> Diagnostic {
        twice.help(format!("the first is at {}", self.sources.locate(first)))
    }

    fn listener(
        &self,
        listener: &ListenerConfig,
        acme: &mut Acme,
        findings: &mut Findings,
    ) -> Option<ListenerState> {
        let (address, options) = findings.keep(self.socket(listener))?;
        let limits = findings.keep(limits(listener))?;
        findings.keep(protocols(listener));
        let tls = match &listener.tls {
            Some(tls) => Some(self.terminator(&listener.name, tls, acme, findings)?),
            None => None,
        };
        let http2 = findings.keep(super::http2::limits(&listener.http2))?;
        Some(ListenerState {
            name: listener.name.as_str().into(),
            counts: self.counts(&listener.name, &address),
            address,
            place: listener.address.place(),
            options,
            limits,
            tls,
            h2c: *listener.h2c,
            http1: http1(&listener.http1),
            body: listener.body.map(Size::bytes),
            timeouts: findings.keep(timeouts(&listener.timeouts))?,
            paths: listener.paths,
            underscores: listener.underscores,
            trusted: networks(&listener.trusted, findings),
            proxy_header: *listener.proxy_protocol,
            refusals: self.refusals(&listener.name),
            http2,
        })
    }

    fn refusals(&self, name: &str) -> Arc<Refusals> {
        let before = self.previous.and_then(|state| state.listener(name));
        match before {
            Some(listener) => listener.refusals.clone(),
            None => Arc::new(Refusals::new(name.into())),
        }
    }

    /// Where it listens, and how its sockets are set up.
    fn socket(&self, listener: &ListenerConfig) -> Result<(Address, ListenOptions), Diagnostic> {
        let written = &listener.address;
        let any = Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        if *listener.dual_stack && written.tcp().map(|tcp| tcp.ip()) != any {
            let wrong = listener
                .dual_stack
                .wrong("only a listener on every IPv6 address can take IPv4 clients too");
            return Err(wrong.help("listen on \"[::]:PORT\""));
        }
        if let (Some(mode), Some(_)) = (&listener.mode, written.tcp()) {
            return Err(mode.wrong("only a Unix socket has a mode"));
        }
        if *listener.backlog == 0 {
            return Err(listener.backlog.wrong("must be at least 1"));
        }
        let tcp = &listener.tcp;
        tcp.validate().map_err(|why| tcp.wrong(why))?;
        let address = match &**written {
            Address::Unix(path) => Address::Unix(self.absolute(path, written.place())),
            tcp => tcp.clone(),
        };
        address.validate().map_err(|why| written.wrong(why))?;
        let options = ListenOptions {
            dual_stack: *listener.dual_stack,
            backlog: *listener.backlog,
            mode: listener.mode.as_deref().copied(),
            tcp: TcpConfig::clone(tcp),
            ..ListenOptions::default()
        };
        Ok((address, options))
    }

    /// A path that means the same to a process that was started elsewhere.
    pub(super) fn absolute(&self, path: &Path, place: Place) -> PathBuf {
        let path = self.sources.resolve(path, place);
        std::path::absolute(&path).unwrap_or(path)
    }

    /// What was counted for the listener of this name, or else of this address.
    fn counts(&self, name: &str, address: &Address) -> Arc<ListenerCounts> {
        let before = || self.previous.iter().flat_map(|state| &state.listeners);
        let named = before().find(|one| &*one.name == name);
        let there = || before().find(|one| !address.takes_any_port() && one.address == *address);
        let before = named.or_else(there);
        before.map_or_else(Arc::default, |one| one.counts.clone())
    }
}

/// Settings that could never have an effect together.
fn protocols(listener: &ListenerConfig) -> Result<(), Diagnostic> {
    if listener.tls.is_some() && *listener.h2c {
        let wrong = "`h2c` is for listeners without TLS: in TLS, HTTP/2 is offered anyway";
        return Err(listener.h2c.wrong(wrong));
    }
    let believes_nobody = listener.trusted.is_empty() && listener.address.tcp().is_some();
    if *listener.proxy_protocol != ProxyHeader::Off && believes_nobody {
        let wrong = "no PROXY header would be read: the listener trusts nobody";
        return Err(listener
            .proxy_protocol
            .wrong(wrong)
            .help("add the balancers' networks: `trusted = [\"10.0.0.0/8\"]`"));
    }
    Ok(())
}

fn limits(listener: &ListenerConfig) -> Result<ListenerLimits, Diagnostic> {
    let limits = &listener.limits;
    limit(limits.per_client.as_ref())?;
    Ok(ListenerLimits {
        connections: limit(limits.connections.as_ref())?,
        per_client: limits.per_client.as_deref().copied(),
    })
}

/// A number of connections, if one is set.
pub(super) fn limit(written: Option<&Located<u32>>) -> Result<Option<usize>, Diagnostic> {
    match written {
        Some(written) if **written == 0 => Err(written
            .wrong("must be at least 1")
            .help("leave it out for no limit")),
        written => Ok(written.map(|written| **written as usize)),
    }
}
