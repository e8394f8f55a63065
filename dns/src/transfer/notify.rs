//! Tells others of new versions (RFC 1996).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::base::Message;
use domain::base::iana::Rcode;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::pull::{PullError, judge, socket_to};
use super::receive::Wrong;
use super::request::{Request, now};
use super::rules::Peer;
use super::version::Entry;
use crate::zone::Name;

/// Sends NOTIFY until it is answered. Word of a later version takes the place of that of an earlier one.
#[derive(Debug, Default)]
pub(super) struct Notifier(Mutex<BTreeMap<Name, Vec<AbortHandle>>>);

/// How long to wait for an answer the first time; twice as long each time after.
const FIRST: Duration = Duration::from_secs(2);
/// How often to try (RFC 1996, 3.6).
const TRIES: u32 = 6;

impl Notifier {
    /// Tells servers of a version.
    pub(super) fn tell(&self, soa: &Entry, peers: &[Peer]) {
        let begin = |peer: &Peer| {
            let telling = tell(soa.clone(), peer.clone());
            tokio::spawn(telling).abort_handle()
        };
        let begun = peers.iter().map(begin).collect();
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = running.insert(soa.owner.clone(), begun);
        before.iter().flatten().for_each(AbortHandle::abort);
    }
}

async fn tell(soa: Entry, peer: Peer) {
    let zone = soa.owner.to_string();
    let serial = soa.times().map_or(0, |times| times.serial);
    let mut patience = FIRST;
    for _ in 0..TRIES {
        let began = tokio::time::Instant::now();
        match timeout(patience, once(&soa, &peer)).await {
            Ok(Ok(Rcode::NOERROR)) => {
                tracing::info!(zone, serial, to = %peer.address, "told of a new version");
                return;
            }
            Ok(Ok(code)) => {
                tracing::warn!(zone, serial, to = %peer.address, %code, "NOTIFY was refused");
                return;
            }
            Ok(Err(error)) => {
                tracing::debug!(zone, to = %peer.address, %error, "NOTIFY has no answer");
                // Nobody listens there now: the pause is the same as for one who says nothing.
                tokio::time::sleep_until(began + patience).await;
            }
            Err(_) => {}
        }
        patience *= 2;
    }
    tracing::warn!(zone, serial, to = %peer.address, "NOTIFY was not answered");
}

async fn once(soa: &Entry, peer: &Peer) -> Result<Rcode, PullError> {
    let mut request = Request::notify(soa, peer.key.as_ref());
    let socket = socket_to(peer).await?;
    socket.send(&request.message).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let mut answer = buffer[..length].to_vec();
        if judge(&request, &answer).is_err() {
            continue;
        }
        if let Some(chain) = &mut request.chain {
            chain.verify(&mut answer, now())?;
        }
        let message = Message::from_slice(&answer).map_err(|_| Wrong::Broken("no header"))?;
        return Ok(message.header().rcode());
    }
}
