//! The answer to a query that came over a connection, whatever it is wrapped in.

use std::cell::RefCell;
use std::net::IpAddr;
use std::time::Instant;

use super::Shared;
use crate::answer::Limits;
use crate::metrics::{Tally, Transport};
use crate::wire::QueryName;

/// Who asks, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    pub(super) client: IpAddr,
    pub(super) transport: Transport,
    /// How long the connection is kept, in tenths of a second; none where that is not said.
    pub(super) keepalive: Option<u16>,
}

/// Answers a query. `take` gets the answer, which is empty when there is to be none.
pub(super) fn respond<T>(
    shared: &Shared,
    query: &[u8],
    asking: &Asking,
    take: impl FnOnce(&[u8]) -> T,
) -> T {
    thread_local! {
        static SCRATCH: RefCell<(Vec<u8>, QueryName)> =
            RefCell::new((vec![0; usize::from(u16::MAX)], QueryName::default()));
    }
    let began = Instant::now();
    let taken = SCRATCH.with_borrow_mut(|(out, name)| {
        let state = shared.state.load();
        let limits = Limits {
            largest_udp: state.largest_udp,
            tcp: true,
            padded: matches!(asking.transport, Transport::Tls | Transport::Https),
            keepalive: asking.keepalive,
        };
        let client = asking.client.to_canonical();
        let outcome = state.snapshot.respond(query, client, limits, name, out);
        let mut tally = Tally::default();
        tally.count(&outcome);
        shared.counts.add(asking.transport, &mut tally, 0);
        take(&out[..outcome.len])
    });
    shared.pressure.ended(1, began.elapsed());
    taken
}
