//! Active health checks: a GET to each endpoint, judged by rise and fall.

use std::sync::Weak;
use std::time::{Duration, Instant};

use chassis::health::probe::Failed;
use chassis::health::{Judgement, Thresholds, pauses};
use chassis::net::is_exhaustion;
use http::uri::PathAndQuery;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_core::{ErrorType, OrErr};
use pingora_http::RequestHeader;
use pingora_load_balancing::Backend;
use pingora_load_balancing::health_check::{HealthCheck, HttpHealthCheck};

use super::endpoint::{Count, Endpoint};

/// How endpoints are checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CheckSettings {
    pub(crate) path: String,
    pub(crate) host: Option<String>,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) thresholds: Thresholds,
}

/// Checks an endpoint until nothing uses it any more.
pub(super) async fn keep_checking(endpoint: Weak<Endpoint>, settings: CheckSettings) {
    let mut judgement = Judgement::default();
    let mut pause = pauses(settings.interval);
    let mut probe: Option<(std::sync::Arc<HttpPeer>, HttpHealthCheck)> = None;
    loop {
        {
            let Some(endpoint) = endpoint.upgrade() else {
                return;
            };
            let outcome = match endpoint.peer() {
                None => Err(Failed::because("its name has no address")),
                Some(peer) => {
                    let fresh = probe
                        .as_ref()
                        .is_none_or(|(of, _)| !std::sync::Arc::ptr_eq(of, &peer));
                    if fresh {
                        probe = Some((peer.clone(), prepare(&endpoint.address, &peer, &settings)));
                    }
                    match &probe {
                        Some((peer, check)) => ask(check, peer, settings.timeout).await,
                        None => Err(Failed::because("not prepared")),
                    }
                }
            };
            if outcome.as_ref().is_err_and(|failed| failed.ours) {
                // This process lacks a descriptor: that says nothing about the endpoint.
                drop(endpoint);
                tokio::time::sleep(pause()).await;
                continue;
            }
            endpoint.count(match outcome {
                Ok(()) => Count::ChecksPassed,
                Err(_) => Count::ChecksFailed,
            });
            if let Some(healthy) =
                judgement.hear(outcome.is_ok(), Instant::now(), &settings.thresholds)
            {
                tell(&endpoint.address, healthy, outcome.err());
                endpoint.judge(healthy);
            }
        }
        tokio::time::sleep(pause()).await;
    }
}

fn tell(endpoint: &str, healthy: bool, failed: Option<Failed>) {
    match failed {
        Some(Failed { why, .. }) => tracing::warn!(endpoint, healthy, why = why.trim(), "health"),
        None => tracing::info!(endpoint, healthy, "health"),
    }
}

/// Whether a check failed for want of descriptors or memory.
fn is_ours(error: &pingora_core::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return is_exhaustion(io);
        }
        cause = match error.downcast_ref::<pingora_core::Error>() {
            Some(error) => error.cause.as_ref().map(|cause| &**cause as _),
            None => error.source(),
        };
    }
    false
}

fn prepare(address: &str, peer: &HttpPeer, settings: &CheckSettings) -> HttpHealthCheck {
    let host = settings.host.as_deref().unwrap_or(address);
    let mut check = HttpHealthCheck::new(host, peer.is_tls());
    check.reuse_connection = false;
    check.peer_template = peer.clone();
    let options = &mut check.peer_template.options;
    let http2 = options.alpn.get_min_http_version() == 2;
    if !http2 {
        // What is agreed on in the handshake would be known too late to write the request.
        options.set_http_version(1, 1);
    }
    check.peer_template.options.read_timeout = Some(settings.timeout);
    if let Ok(mut request) = RequestHeader::build("GET", settings.path.as_bytes(), Some(2)) {
        let host = match http2 {
            true => name_authority(&mut request, peer.is_tls(), host),
            false => request.insert_header("host", host),
        };
        let agent = request.insert_header("user-agent", "tidegate-check");
        debug_assert!(host.is_ok() && agent.is_ok(), "validated when compiled");
        check.req = request;
    }
    check.validator = Some(Box::new(|response| match response.status.as_u16() {
        200..=399 => Ok(()),
        status => pingora_core::Error::e_explain(
            pingora_core::ErrorType::CustomCode("status", status),
            "the check was answered badly",
        ),
    }));
    check
}

/// In HTTP/2 the host is part of the URI; beside it, a header of its own is one too many for some.
fn name_authority(request: &mut RequestHeader, tls: bool, host: &str) -> pingora_core::Result<()> {
    let path = request.uri.path_and_query().cloned();
    let uri = http::Uri::builder()
        .scheme(if tls { "https" } else { "http" })
        .authority(host)
        .path_and_query(path.unwrap_or(PathAndQuery::from_static("/")))
        .build()
        .or_err(ErrorType::InvalidHTTPHeader, "not a host name")?;
    request.set_uri(uri);
    Ok(())
}

async fn ask(check: &HttpHealthCheck, peer: &HttpPeer, limit: Duration) -> Result<(), Failed> {
    let SocketAddr::Inet(address) = peer.address() else {
        return Err(Failed::because("not an Internet address"));
    };
    let target = Backend::new(&address.to_string());
    let target = target.map_err(|error| Failed::because(error.to_string()))?;
    match tokio::time::timeout(limit, check.check(&target)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Failed {
            why: error.to_string(),
            ours: is_ours(&error),
        }),
        Err(_) => Err(Failed::because(format!("no answer within {limit:?}"))),
    }
}
