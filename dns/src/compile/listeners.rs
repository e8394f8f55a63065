//! Where clients ask.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chassis::config::{Diagnostic, Sources};
use chassis::net::proxy_protocol::ProxyHeader;
use chassis::net::{Networks, overlap};
use chassis::tls::Reading;

use crate::config::{Config, HttpConfig, ListenerConfig};
use crate::state::{HttpState, ListenerState};
use crate::tls::{Memory, terminator};

/// Listeners, and what was found on the way to them.
pub(super) struct Listeners {
    pub(super) listeners: Vec<ListenerState>,
    /// What is to be watched.
    pub(super) files: Vec<PathBuf>,
    pub(super) mistakes: Vec<Diagnostic>,
    pub(super) warnings: Vec<Diagnostic>,
}

/// Judges listeners. `memory` has those that serve now.
pub(super) fn compile(configs: &[ListenerConfig], sources: &Sources, memory: &Memory) -> Listeners {
    let mut reading = Reading::new(sources);
    let listeners = listeners(configs, &mut reading, memory);
    Listeners {
        listeners,
        files: reading.files,
        mistakes: reading.mistakes,
        warnings: reading.warnings,
    }
}

fn listeners(
    configs: &[ListenerConfig],
    reading: &mut Reading<'_>,
    memory: &Memory,
) -> Vec<ListenerState> {
    let mut listeners: Vec<ListenerState> = Vec::new();
    for config in configs {
        if listeners.iter().any(|other| *other.name == **config.name) {
            let what = format!("a listener `{}` is there already", *config.name);
            reading.mistakes.push(config.name.wrong(what));
        }
        if *config.name == "admin" {
            let what = "`admin` is the name of the admin listener";
            reading.mistakes.push(config.name.wrong(what));
        }
        listeners.push(listener(config, reading, memory));
    }
    listeners
}

/// Judges whether two listeners, or one and the admin listener, would take each other's clients.
pub(super) fn judge_addresses(config: &Config, mistakes: &mut Vec<Diagnostic>) {
    let at = |listener: &ListenerConfig| (*listener.address, listener.dual_stack);
    let admin = *config.admin.address;
    for (number, listener) in config.listener.iter().enumerate() {
        let mut earlier = config.listener[..number].iter();
        let other = earlier.find(|other| overlap(at(other), at(listener)));
        let other = other.map(|other| (other.name.as_str(), *other.address));
        let admin = overlap(at(listener), (admin, false)).then_some(("admin", admin));
        if let Some((name, address)) = other.or(admin) {
            let what = format!("the listener `{name}` is on {address} already");
            mistakes.push(listener.address.wrong(what));
        }
    }
}

fn listener(config: &ListenerConfig, reading: &mut Reading<'_>, memory: &Memory) -> ListenerState {
    // RFC 7858 has no name for it; `dot` is the one that IANA has registered.
    let alpn: &[&[u8]] = match config.http.is_some() {
        true => &[b"h2", b"http/1.1"],
        false => &[b"dot"],
    };
    let tls = config.tls.as_ref();
    let tls = tls.and_then(|tls| terminator(&config.name, tls, alpn, reading, memory));
    let proxy_header = *config.proxy_protocol;
    if proxy_header != ProxyHeader::Off && config.trusted.is_empty() {
        let what = "no PROXY header would be read: the listener trusts nobody";
        let wrong = config.proxy_protocol.wrong(what);
        let help = "add the balancers' networks: `trusted = [\"10.0.0.0/8\"]`";
        reading.mistakes.push(wrong.help(help));
    }
    ListenerState {
        name: config.name.as_str().into(),
        address: *config.address,
        dual_stack: config.dual_stack,
        place: config.address.place(),
        proxy_header,
        trusted: Networks::compile(&config.trusted, &mut reading.mistakes),
        tls: tls.map(Arc::new),
        handshake: config
            .tls
            .as_ref()
            .map_or(Duration::ZERO, |tls| **tls.handshake),
        http: config
            .http
            .as_ref()
            .map(|http| judged(http, &mut reading.mistakes)),
    }
}

fn judged(http: &HttpConfig, mistakes: &mut Vec<Diagnostic>) -> HttpState {
    let path = &http.path;
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'{' | b'}');
    if !path.starts_with('/') || !path.bytes().all(plain) {
        let wrong = path.wrong("a path begins with `/`, and holds neither `?` nor a template");
        mistakes.push(
            wrong.help("clients are told `https://HOST/dns-query{?dns}`, and this is its path"),
        );
    }
    if !(1..=1000).contains(&*http.streams) {
        mistakes.push(http.streams.wrong("from 1 to 1000 requests"));
    }
    HttpState {
        path: path.as_str().into(),
        streams: u32::from(*http.streams),
    }
}
