//! Asks resolvers, and judges what they say. They repeat what strangers say: all of it is hostile input.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig as Servers,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name as Asked, RData, RecordType};

use super::compile::Resolving;
use super::target::Answer;
use crate::wire::rtype::A;
use crate::zone::{Name, labels, suffixes};

/// Addresses of one target and family, at most: what is more is left out.
const MOST_ADDRESSES: usize = 32;

/// Asks, and keeps nothing: how long answers count is judged elsewhere.
pub(super) struct Asker {
    resolver: TokioResolver,
    private: bool,
}

impl Asker {
    /// # Errors
    /// When the system's resolvers are wanted and cannot be read.
    pub(super) fn new(resolving: &Resolving) -> Result<Self, NetError> {
        let mut builder = match resolving.servers.is_empty() {
            true => TokioResolver::builder_tokio()?,
            false => {
                let servers = resolving.servers.iter().copied().map(server).collect();
                let servers = Servers::from_name_servers(servers);
                TokioResolver::builder_with_config(servers, TokioRuntimeProvider::default())
            }
        };
        let options = builder.options_mut();
        options.timeout = resolving.timeout;
        options.attempts = 1;
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        options.try_tcp_on_error = true;
        Ok(Self {
            resolver: builder.build()?,
            private: resolving.private,
        })
    }

    /// The addresses of a name; `rtype` is A or AAAA.
    ///
    /// # Errors
    /// Why they are not known.
    pub(super) async fn ask(&self, name: &Name, rtype: u16) -> Result<Answer, String> {
        let labels = suffixes(name).take(labels(name));
        let labels = labels.map(|suffix| &suffix[1..=usize::from(suffix[0])]);
        let asked = Asked::from_labels(labels).map_err(|error| error.to_string())?;
        let family = if rtype == A {
            RecordType::A
        } else {
            RecordType::AAAA
        };
        match self.resolver.lookup(asked, family).await {
            Ok(found) => self.judge(&found),
            Err(error) => nothing(&error),
        }
    }

    fn judge(&self, found: &Lookup) -> Result<Answer, String> {
        let mut addresses = Vec::new();
        let mut ttl = u32::MAX;
        for record in found.answers() {
            ttl = ttl.min(record.ttl);
            match &record.data {
                RData::A(address) => addresses.push(IpAddr::from(address.0)),
                RData::AAAA(address) => addresses.push(IpAddr::from(address.0)),
                _ => {}
            }
        }
        if let Some(bad) = addresses
            .iter()
            .find(|address| !is_usable(**address, self.private))
        {
            return Err(format!("{bad} is not an address for clients"));
        }
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(MOST_ADDRESSES);
        Ok(Answer {
            addresses,
            ttl: Duration::from_secs(ttl.into()),
        })
    }
}

fn server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
    let connections = connections.map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.to_vec())
}

/// That a name has no address of a family is an answer when its zone says it (RFC 2308, 2.2), and else a failure.
fn nothing(error: &NetError) -> Result<Answer, String> {
    let NetError::Dns(DnsError::NoRecordsFound(NoRecords {
        response_code,
        soa,
        negative_ttl,
        ..
    })) = error
    else {
        return Err(error.to_string());
    };
    match (response_code, soa) {
        (ResponseCode::NoError, Some(_)) => Ok(Answer {
            addresses: Vec::new(),
            ttl: Duration::from_secs(negative_ttl.unwrap_or(0).into()),
        }),
        (ResponseCode::NoError, None) => {
            Err("answered with nothing, and nobody says so".to_owned())
        }
        (ResponseCode::NXDomain, _) => Err("there is no such name".to_owned()),
        (code, _) => Err(format!("answered with {code}")),
    }
}

/// Whether clients may be sent there.
fn is_usable(address: IpAddr, private: bool) -> bool {
    match address {
        IpAddr::V4(v4) => is_usable_v4(v4, private),
        IpAddr::V6(v6) => is_usable_v6(v6, private),
    }
}

fn is_usable_v4(v4: Ipv4Addr, private: bool) -> bool {
    let never = v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast();
    !never && v4.octets()[0] != 0 && (private || !v4.is_private())
}

fn is_usable_v6(v6: Ipv6Addr, private: bool) -> bool {
    let never = v6.is_loopback()
        || v6.is_unspecified()
        || v6.is_multicast()
        || v6.is_unicast_link_local()
        || v6.to_ipv4_mapped().is_some();
    !never && (private || !v6.is_unique_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_sent_nowhere_odd() {
        let usable = |address: &str, private| is_usable(address.parse().unwrap(), private);
        for address in ["192.0.2.1", "2001:db8::1", "8.8.8.8"] {
            assert!(usable(address, false), "{address}");
        }
        for address in ["10.0.0.1", "192.168.1.1", "172.16.0.1", "fd00::1"] {
            assert!(
                usable(address, true) && !usable(address, false),
                "{address}"
            );
        }
        let never = [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "ff02::1",
            "::ffff:192.0.2.1",
        ];
        for address in never {
            assert!(!usable(address, true), "{address}");
        }
    }
}
