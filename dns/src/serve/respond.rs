//! The answer to a query that came over a connection, whatever it is wrapped in.

use std::cell::RefCell;
use std::net::IpAddr;
use std::time::{Instant, SystemTime};

use super::Shared;
use crate::answer::Limits;
use crate::guard::Verdict;
use crate::metrics::{Tally, Transport};
use crate::querylog::Event;
use crate::transfer::{Asked, Reply, Transfer, reply};
use crate::wire::{QueryName, rcode};

/// Who asks, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    pub(super) client: IpAddr,
    pub(super) transport: Transport,
    /// How long the connection is kept, in tenths of a second; none where that is not said.
    pub(super) keepalive: Option<u16>,
}

/// What a query gets.
pub(super) enum Answer<'a> {
    /// Nothing.
    None,
    /// A message.
    One(&'a [u8]),
    /// A zone.
    Transfer(Box<Transfer>),
}

/// Answers a query; `take` gets the answer. There are no transfers over HTTP.
pub(super) fn respond<T>(
    shared: &Shared,
    query: &[u8],
    asking: &Asking,
    take: impl FnOnce(Answer<'_>) -> T,
) -> T {
    thread_local! {
        static SCRATCH: RefCell<(Vec<u8>, QueryName, u32)> =
            RefCell::new((vec![0; usize::from(u16::MAX)], QueryName::default(), 0));
    }
    let began = Instant::now();
    let taken = SCRATCH.with_borrow_mut(|(out, name, unlogged)| {
        let state = shared.state.load();
        let limits = Limits {
            tcp: true,
            padded: matches!(asking.transport, Transport::Tls | Transport::Https),
            keepalive: asking.keepalive,
            ..state.guard.limits(state.largest_udp)
        };
        let client = asking.client.to_canonical();
        let mut outcome = state.snapshot.respond(query, client, limits, name, out);
        let mut transfer = None;
        if outcome.odd {
            let asked = Asked {
                packet: query,
                client,
                limits,
                takes_transfers: asking.transport != Transport::Https,
            };
            match reply(shared, &state, &asked, name, out) {
                Reply::Answer(answer) => outcome = answer,
                Reply::Transfer(begun) => {
                    // Counted as an answer, and sent as many.
                    outcome.code = rcode::NOERROR;
                    transfer = Some(begun);
                }
            }
        }
        let mut tally = Tally::default();
        tally.count(&outcome, Verdict::Send);
        if let Some(log) = &state.query_log {
            log.turn(unlogged, |line| {
                let event = Event {
                    client,
                    transport: asking.transport,
                    packet: query,
                    outcome: &outcome,
                    verdict: Verdict::Send,
                    chooser: state.chooser.as_deref(),
                };
                event.write(SystemTime::now(), line);
            });
        }
        shared.counts.add(asking.transport, &mut tally, 0);
        take(match (transfer, outcome.len) {
            (Some(transfer), _) => Answer::Transfer(transfer),
            (None, 0) => Answer::None,
            (None, len) => Answer::One(&out[..len]),
        })
    });
    shared.pressure.ended(1, began.elapsed());
    taken
}
