//! One endpoint: its address, its health and its counters, which survive reloads.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use chassis::telemetry::Cells;
use pingora_core::upstreams::peer::{HttpPeer, PeerOptions};
use pingora_core::utils::tls::WrappedX509;
use tokio::sync::watch;

use super::check::{CheckSettings, keep_checking};
use super::introduce::{group, introduce, introduction};
use super::tls_target::TlsTarget;
use crate::config::{Protocol, ProxyProtocol};

/// An endpoint of a cluster.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// As written: host and port.
    pub(crate) address: String,
    pub(crate) settings: PeerSettings,
    /// How TLS is spoken with it.
    pub(crate) tls: Option<TlsTarget>,
    check: Option<CheckSettings>,
    /// What to connect to; none while the name has no address.
    peer: ArcSwapOption<HttpPeer>,
    /// The same for our own relay.
    target: ArcSwapOption<Target>,
    healthy: AtomicBool,
    judged: watch::Sender<bool>,
    counts: Cells,
}

/// What the relay connects to.
#[derive(Debug)]
pub(crate) struct Target {
    /// No other target of this process has it.
    pub(crate) id: u64,
    pub(crate) address: SocketAddr,
}

/// How to connect to the endpoints of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PeerSettings {
    pub(crate) connect_timeout: Duration,
    pub(crate) read_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) tls: Option<PeerTls>,
    pub(crate) http: PeerHttp,
    /// Begins each connection with the addresses of its client.
    pub(crate) proxy_protocol: Option<ProxyProtocol>,
}

#[cfg(test)]
impl PeerSettings {
    /// HTTP/1.1 without TLS, and a second for everything.
    pub(crate) const fn for_tests() -> Self {
        const SECOND: Duration = Duration::from_secs(1);
        Self {
            connect_timeout: SECOND,
            read_timeout: SECOND,
            write_timeout: SECOND,
            idle_timeout: SECOND,
            tls: None,
            http: PeerHttp {
                protocol: Protocol::Http1,
                streams: 1,
                window: 65_536,
                ping: None,
            },
            proxy_protocol: None,
        }
    }
}

/// How to speak HTTP with endpoints.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PeerHttp {
    pub(crate) protocol: Protocol,
    /// Requests under way on one HTTP/2 connection.
    pub(crate) streams: u16,
    /// Bytes that a stream may be ahead of its client.
    pub(crate) window: u32,
    pub(crate) ping: Option<Duration>,
}

/// How to speak TLS with endpoints.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PeerTls {
    pub(crate) server_name: String,
    /// Authorities to trust, in DER; none stands for the system's.
    pub(crate) ca: Option<Vec<Vec<u8>>>,
}

/// What is counted for each endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    Requests,
    ConnectFailures,
    ChecksPassed,
    ChecksFailed,
}

/// Counts changes of the health of any endpoint, so that clusters notice.
static HEALTH_EPOCH: AtomicU64 = AtomicU64::new(0);

pub(super) fn health_epoch() -> u64 {
    HEALTH_EPOCH.load(Relaxed)
}

/// How often names are looked up again.
const RESOLVE_EVERY: Duration = Duration::from_secs(10);

impl Endpoint {
    /// An endpoint, checked and resolved on `runtime` until the last reference is gone.
    /// Without a runtime it is only there to be judged for its configuration.
    pub(crate) fn start(
        address: &str,
        settings: PeerSettings,
        check: Option<CheckSettings>,
        runtime: Option<&tokio::runtime::Handle>,
    ) -> Arc<Self> {
        let endpoint = Arc::new(Self {
            address: address.into(),
            peer: ArcSwapOption::empty(),
            target: ArcSwapOption::empty(),
            tls: settings.tls.as_ref().and_then(TlsTarget::new),
            healthy: AtomicBool::new(check.is_none()),
            judged: watch::channel(check.is_none()).0,
            counts: Cells::new(4),
            settings,
            check,
        });
        let literal: Option<SocketAddr> = address.parse().ok();
        if let Some(address) = literal {
            endpoint.set_peer(address);
        }
        if let Some(runtime) = runtime {
            if literal.is_none() {
                runtime.spawn(Self::keep_resolving(Arc::downgrade(&endpoint)));
            }
            if let Some(check) = &endpoint.check {
                runtime.spawn(keep_checking(Arc::downgrade(&endpoint), check.clone()));
            }
        }
        endpoint
    }

    /// Whether it can stand for an endpoint of a new configuration.
    pub(crate) fn is(
        &self,
        address: &str,
        settings: &PeerSettings,
        check: Option<&CheckSettings>,
    ) -> bool {
        self.address == address && self.settings == *settings && self.check.as_ref() == check
    }

    /// Whether it gets requests.
    pub(crate) fn is_healthy(&self) -> bool {
        self.healthy.load(Relaxed)
    }

    /// What to connect to.
    pub(crate) fn peer(&self) -> Option<Arc<HttpPeer>> {
        self.peer.load_full()
    }

    /// What to connect to for a client's connection: its address, and what it connected to.
    pub(crate) fn peer_for(&self, client: Option<(SocketAddr, SocketAddr)>) -> Option<HttpPeer> {
        let mut peer = HttpPeer::clone(&*self.peer()?);
        if let Some(version) = self.settings.proxy_protocol {
            introduce(&mut peer, version, client);
        }
        Some(peer)
    }

    /// What the relay connects to; none while the name has no address.
    pub(crate) fn target(&self) -> Option<Arc<Target>> {
        self.target.load_full()
    }

    /// What a new connection begins with.
    pub(crate) fn introduction(&self, client: Option<(SocketAddr, SocketAddr)>) -> Option<Vec<u8>> {
        let version = self.settings.proxy_protocol?;
        Some(introduction(version, client))
    }

    /// Connections are shared within a group only.
    pub(crate) fn group(&self, client: Option<(SocketAddr, SocketAddr)>) -> u64 {
        match self.settings.proxy_protocol {
            Some(_) => client.map_or(0, group),
            None => 0,
        }
    }

    /// Whether no request goes to it over HTTP/1.1.
    pub(crate) fn speaks_http2_only(&self) -> bool {
        self.settings.http.protocol == Protocol::Http2
    }

    /// Whether requests surely or perhaps go to it over HTTP/2.
    pub(crate) fn may_speak_http2(&self) -> bool {
        self.settings.http.protocol != Protocol::Http1
    }

    /// Waits for the first verdict of its check.
    pub(super) async fn judged(&self) {
        let _ = self.judged.subscribe().wait_for(|judged| *judged).await;
    }

    /// The verdict of its checks.
    pub(super) fn judge(&self, healthy: bool) {
        if self.healthy.swap(healthy, Relaxed) != healthy {
            HEALTH_EPOCH.fetch_add(1, Relaxed);
        }
        self.judged.send_replace(true);
    }

    pub(crate) fn count(&self, what: Count) {
        self.counts.add(what as usize, 1);
    }

    pub(crate) fn counted(&self, what: Count) -> u64 {
        self.counts.sum(what as usize)
    }

    fn set_peer(&self, address: SocketAddr) {
        let tls = self.settings.tls.as_ref();
        let name = tls.map(|tls| tls.server_name.clone()).unwrap_or_default();
        let mut peer = HttpPeer::new(address, tls.is_some(), name);
        let options: &mut PeerOptions = &mut peer.options;
        options.connection_timeout = Some(self.settings.connect_timeout);
        options.total_connection_timeout = Some(self.settings.connect_timeout);
        options.read_timeout = Some(self.settings.read_timeout);
        options.write_timeout = Some(self.settings.write_timeout);
        options.idle_timeout = Some(self.settings.idle_timeout);
        options.ca = tls.and_then(|tls| tls.ca.as_ref()).map(|authorities| {
            let parsed = authorities.iter();
            parsed
                .map(|der| WrappedX509::new(der.clone(), pingora_core::utils::tls::parse_x509))
                .collect()
        });
        self.settings.http.apply(options);
        if let Some(version) = self.settings.proxy_protocol {
            // Until a client is known: health checks come from the gateway itself.
            introduce(&mut peer, version, None);
        }
        self.peer.store(Some(Arc::new(peer)));
        static IDS: AtomicU64 = AtomicU64::new(0);
        let id = IDS.fetch_add(1, Relaxed);
        self.target.store(Some(Arc::new(Target { id, address })));
    }

    async fn keep_resolving(this: Weak<Self>) {
        let mut current: Option<SocketAddr> = None;
        loop {
            let Some(endpoint) = this.upgrade() else {
                return;
            };
            match tokio::net::lookup_host(&endpoint.address).await {
                Ok(mut addresses) => {
                    let first = addresses.next();
                    if let Some(address) = first.filter(|_| first != current) {
                        tracing::info!(endpoint = endpoint.address, %address, "resolved");
                        endpoint.set_peer(address);
                        current = first;
                    }
                }
                Err(error) => {
                    tracing::warn!(endpoint = endpoint.address, %error, "cannot resolve");
                }
            }
            drop(endpoint);
            tokio::time::sleep(RESOLVE_EVERY).await;
        }
    }
}

impl PeerHttp {
    fn apply(&self, options: &mut PeerOptions) {
        match self.protocol {
            Protocol::Http1 => options.set_http_version(1, 1),
            Protocol::Http2 => options.set_http_version(2, 2),
            Protocol::Auto => options.set_http_version(2, 1),
        }
        options.max_h2_streams = usize::from(self.streams);
        options.h2_ping_interval = self.ping;
        options.h2_stream_window_size = Some(self.window);
        // So large that clients who do not read hold up nobody but themselves.
        let all = u32::from(self.streams).saturating_mul(self.window);
        options.h2_connection_window_size = Some(all.min(LARGEST_WINDOW));
    }
}

/// RFC 9113, section 6.9.1.
const LARGEST_WINDOW: u32 = (1 << 31) - 1;
