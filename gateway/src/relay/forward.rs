//! Which endpoint a request goes to, and to which one after that.

use std::time::Instant;

use http::Method;
use pingora_core::{Error, ErrorSource, ErrorType, Result};

use super::connect::connect;
use super::converse::converse;
use super::pool;
use super::upstream::{Key, Upstream};
use crate::cluster::{Count, Endpoint};
use crate::exchange::{Attempts, Downstream, Started, no_endpoint};

/// Forwards a request and its answer.
///
/// # Errors
/// When there is no answer, or it could not be brought to the client in full.
pub(crate) async fn forward<D: Downstream>(client: &mut D, started: &mut Started) -> Result<()> {
    let route = started.route.clone();
    let cluster = route.cluster.as_deref().ok_or_else(no_endpoint)?;
    let mut attempts = Attempts::default();
    let mut fresh = false;
    loop {
        let endpoint = attempts.pick(cluster).ok_or_else(no_endpoint)?.clone();
        endpoint.count(Count::Requests);
        let mut upstream = match reach(&endpoint, client, started, fresh).await {
            Ok(upstream) => upstream,
            Err(error) => {
                endpoint.count(Count::ConnectFailures);
                match attempts.try_another(cluster) {
                    true => continue,
                    false => return Err(error),
                }
            }
        };
        let reused = upstream.reused;
        if reused && !client.is_bodiless() && started.head.method().is_idempotent() {
            client.keep();
        }
        match converse(client, started, &mut upstream).await {
            Ok(true) => {
                let now = Instant::now();
                started.ended = Some(now);
                pool::put(upstream, now + endpoint.settings.idle_timeout);
                return Ok(());
            }
            Ok(false) => return Ok(()),
            Err(error) if !broke(&error) || client.status() != 0 => return Err(error),
            Err(error) => {
                let method = started.head.method();
                // A kept connection may have been closed just when the request was sent.
                let stale = reused && !fresh && may_resend(client, method);
                fresh |= stale;
                let again = stale || (may_repeat(client, method) && attempts.try_another(cluster));
                if !again {
                    return Err(error);
                }
            }
        }
    }
}

/// A connection to an endpoint: a kept one, unless it must be `fresh`.
async fn reach<D: Downstream>(
    endpoint: &Endpoint,
    client: &D,
    started: &mut Started,
    fresh: bool,
) -> Result<Box<Upstream>> {
    let target = endpoint.target().ok_or_else(no_endpoint)?;
    started.exchange.upstream = Some(target.address);
    let addresses = client.connected().addresses();
    let key = Key::new(&target, endpoint.group(addresses));
    let kept = match fresh {
        true => None,
        false => pool::take(key, started.exchange.started),
    };
    match kept {
        Some(kept) => Ok(kept),
        None => Box::pin(connect(endpoint, &target, addresses)).await,
    }
}

/// Whether the connection broke, and not the answer.
fn broke(error: &Error) -> bool {
    let broke = matches!(
        error.etype(),
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError
    );
    broke && *error.esource() == ErrorSource::Upstream
}

/// Whether a request may be sent again over another connection: it means the same however often it
/// is sent (RFC 9110, section 9.2.2), and all that was read of its body is still here.
fn may_resend<D: Downstream>(client: &D, method: &Method) -> bool {
    method.is_idempotent() && (client.is_bodiless() || client.kept().is_some())
}

/// Whether a request may be sent to another endpoint: it changes nothing (RFC 9110, section 9.2.1).
fn may_repeat<D: Downstream>(client: &D, method: &Method) -> bool {
    method.is_safe() && client.is_bodiless()
}
