//! Clusters and their endpoints.

use std::collections::BTreeMap;
use std::sync::Arc;

use chassis::config::{Diagnostic, Located};
use chassis::health::Thresholds;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::{Compiler, Findings};
use crate::cluster::{CheckSettings, Cluster, Endpoint, PeerHttp, PeerSettings, PeerTls};
use crate::config::{
    CheckConfig, ClusterConfig, Config, EndpointConfig, Protocol, UpstreamTlsConfig,
};

impl Compiler<'_> {
    pub(super) fn clusters(
        &self,
        config: &Config,
        findings: &mut Findings,
    ) -> BTreeMap<String, Arc<Cluster>> {
        let mut clusters = BTreeMap::new();
        for (name, cluster) in &config.cluster {
            if let Some(cluster) = self.cluster(name, cluster, findings) {
                clusters.insert(name.to_string(), Arc::new(cluster));
            }
        }
        clusters
    }

    fn cluster(
        &self,
        name: &Located<String>,
        config: &ClusterConfig,
        findings: &mut Findings,
    ) -> Option<Cluster> {
        let tls = match &config.tls {
            Some(tls) => Some(self.peer_tls(tls, findings)?),
            None => None,
        };
        let http = findings.keep(peer_http(config))?;
        let settings = PeerSettings {
            connect_timeout: *config.connect_timeout,
            read_timeout: *config.read_timeout,
            write_timeout: *config.write_timeout,
            idle_timeout: *config.idle_timeout,
            tls,
            http,
            proxy_protocol: config.proxy_protocol.map(Located::into_inner),
        };
        let check = match &config.check {
            Some(check) => Some(findings.keep(check_settings(check))?),
            None => None,
        };
        if config.endpoints.is_empty() {
            let empty = config
                .endpoints
                .wrong(format!("the cluster `{}` has no endpoint", **name));
            findings.mistakes.push(empty);
        }
        let previous = self.previous.and_then(|state| state.clusters.get(&**name));
        let mut members: Vec<(Arc<Endpoint>, u32)> = Vec::new();
        for endpoint in &*config.endpoints {
            if let Some(twice) = twice(&members, endpoint) {
                findings.mistakes.push(twice);
                continue;
            }
            if findings.keep(validate(endpoint)).is_none() {
                continue;
            }
            let address = endpoint.address.as_str();
            let kept = previous
                .into_iter()
                .flat_map(|cluster| &cluster.members)
                .map(|(endpoint, _)| endpoint)
                .find(|one| one.is(address, &settings, check.as_ref()));
            let started = match kept {
                Some(kept) => kept.clone(),
                None => Endpoint::start(address, settings.clone(), check.clone(), self.runtime),
            };
            members.push((started, *endpoint.weight));
        }
        Some(Cluster::new(
            name.as_str().into(),
            members,
            usize::from(*config.retries),
            config.relay,
        ))
    }

    fn peer_tls(&self, tls: &UpstreamTlsConfig, findings: &mut Findings) -> Option<PeerTls> {
        let ca = match &tls.ca {
            None => None,
            Some(ca) => {
                let path = self.sources.resolve(ca, ca.place());
                let read = CertificateDer::pem_file_iter(&path)
                    .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                    .map_err(|error| ca.wrong(format!("cannot read {}: {error}", path.display())));
                let authorities = findings.keep(read)?;
                if authorities.is_empty() {
                    let none = ca.wrong(format!("no certificate in {}", path.display()));
                    findings.mistakes.push(none);
                    return None;
                }
                findings.files.push(path);
                Some(authorities.iter().map(|der| der.to_vec()).collect())
            }
        };
        let name = &tls.server_name;
        if rustls_pki_types::ServerName::try_from(name.as_str()).is_err() {
            findings.mistakes.push(name.wrong("not a host name"));
        }
        Some(PeerTls {
            server_name: name.to_string(),
            ca,
        })
    }
}

fn twice(members: &[(Arc<Endpoint>, u32)], endpoint: &EndpointConfig) -> Option<Diagnostic> {
    let address = &endpoint.address;
    let known = members.iter().any(|(one, _)| one.address == **address);
    known.then(|| {
        address
            .wrong(format!("the endpoint `{}` is listed twice", **address))
            .help("give it a larger weight instead")
    })
}

fn validate(endpoint: &EndpointConfig) -> Result<(), Diagnostic> {
    let address = &endpoint.address;
    let wrong = || {
        address
            .wrong(format!("`{}` is not a host and port", **address))
            .help("write \"10.0.0.1:8080\", \"[::1]:8080\" or \"users.internal:8080\"")
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let literal = address.parse::<std::net::SocketAddr>().is_ok();
    let name = rustls_pki_types::DnsName::try_from(host).is_ok();
    if port.parse::<u16>().is_ok_and(|port| port > 0) && (literal || name) {
        return match *endpoint.weight <= 1_000_000 {
            true => Ok(()),
            false => Err(endpoint.weight.wrong("a weight is at most 1000000")),
        };
    }
    Err(wrong())
}

fn peer_http(config: &ClusterConfig) -> Result<PeerHttp, Diagnostic> {
    let ClusterConfig {
        protocol, http2, ..
    } = config;
    if **protocol == Protocol::Auto && config.tls.is_none() {
        return Err(protocol
            .wrong("`auto` needs `tls`: the protocol is agreed on in its handshake")
            .help("write \"http2\" for HTTP/2 without TLS"));
    }
    if **protocol == Protocol::Auto && config.proxy_protocol.is_some() {
        // Pingora remembers for each peer that it is bad at HTTP/2, and each client is a peer then.
        return Err(protocol.wrong("with `proxy_protocol` it is either \"http1\" or \"http2\""));
    }
    if !(1..=10_000).contains(&*http2.streams) {
        return Err(http2.streams.wrong("must be from 1 to 10000"));
    }
    let window = http2.window.bytes();
    if !(WINDOWS.contains(&window)) {
        return Err(http2.window.wrong("must be from 16KiB to 16MiB"));
    }
    if let Some(ping) = http2.ping
        && ping.as_millis() < 1000
    {
        return Err(ping.wrong("must be at least 1s"));
    }
    Ok(PeerHttp {
        protocol: **protocol,
        streams: *http2.streams,
        window: u32::try_from(window).unwrap_or(u32::MAX),
        ping: http2.ping.map(|ping| **ping),
    })
}

/// Smaller than a frame it would slow everything down; larger it is only memory to fill.
const WINDOWS: std::ops::RangeInclusive<u64> = 16 << 10..=16 << 20;

fn check_settings(check: &CheckConfig) -> Result<CheckSettings, Diagnostic> {
    if !check.path.starts_with('/')
        || check
            .path
            .contains(|c: char| c.is_whitespace() || c.is_control())
    {
        return Err(check.path.wrong("a path begins with `/` and has no spaces"));
    }
    if let Some(host) = &check.host
        && host.parse::<http::uri::Authority>().is_err()
    {
        return Err(host.wrong("not a host name"));
    }
    if check.interval.as_millis() < 10 {
        return Err(check.interval.wrong("must be at least 10ms"));
    }
    for threshold in [&check.rise, &check.fall] {
        if !(1..=1000).contains(&**threshold) {
            return Err(threshold.wrong("must be from 1 to 1000"));
        }
    }
    Ok(CheckSettings {
        path: check.path.to_string(),
        host: check.host.clone().map(Located::into_inner),
        interval: **check.interval,
        timeout: *check.timeout,
        thresholds: Thresholds {
            rise: *check.rise,
            fall: *check.fall,
            damping: None,
        },
    })
}
