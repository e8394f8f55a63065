//! What becomes of datagrams and sessions, in numbers.

use chassis::telemetry::Cells;

/// Counters of a listener, since it is known.
#[derive(Debug)]
pub struct Counts(Cells);

/// A counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Datagrams of clients that went on to an endpoint.
    Up,
    /// Their octets.
    OctetsUp,
    /// Datagrams of endpoints that went on to a client.
    Down,
    /// Their octets.
    OctetsDown,
    /// Sessions that began.
    Sessions,
    /// Sessions that went to another endpoint, because theirs refused or was not well any more.
    Moved,
    /// Datagrams that endpoints refused: nobody listened (ICMP port unreachable).
    Refused,
    /// Sessions whose client had not sent after an answer, ended for others when there were too many.
    Evicted,
    /// Datagrams dropped: their client may have no session, or none more.
    NotAdmitted,
    /// Datagrams dropped: no route is for them.
    NoRoute,
    /// Datagrams dropped: no endpoint is well and has room.
    NoEndpoint,
    /// Datagrams dropped: there was no socket for their session, mostly for want of descriptors.
    NoSocket,
    /// Datagrams dropped: the kernel did not take them.
    NotSent,
    /// Datagrams dropped: they have no sender, or came while the listener was closing.
    Stray,
    /// QUIC connections dropped: their first packets break the rules.
    Malformed,
    /// QUIC connections dropped: their first packets did not come in time, or too many waited.
    Slow,
    /// QUIC packets of a connection that nobody here knows.
    UnknownId,
}

impl Counter {
    /// All of them, by their numbers.
    pub const ALL: [Self; 17] = [
        Self::Up,
        Self::OctetsUp,
        Self::Down,
        Self::OctetsDown,
        Self::Sessions,
        Self::Moved,
        Self::Refused,
        Self::Evicted,
        Self::NotAdmitted,
        Self::NoRoute,
        Self::NoEndpoint,
        Self::NoSocket,
        Self::NotSent,
        Self::Stray,
        Self::Malformed,
        Self::Slow,
        Self::UnknownId,
    ];

    /// The reason in metrics, where it counts datagrams or connections that were dropped.
    pub fn dropped(self) -> Option<&'static str> {
        match self {
            Self::NotAdmitted => Some("not_admitted"),
            Self::NoRoute => Some("no_route"),
            Self::NoEndpoint => Some("no_endpoint"),
            Self::NoSocket => Some("no_socket"),
            Self::NotSent => Some("not_sent"),
            Self::Stray => Some("stray"),
            Self::Malformed => Some("malformed"),
            Self::Slow => Some("slow"),
            _ => None,
        }
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self(Cells::new(Counter::ALL.len()))
    }
}

impl Counts {
    /// What was counted.
    pub fn sum(&self, counter: Counter) -> u64 {
        self.0.sum(counter as usize)
    }

    pub(super) fn add(&self, counter: Counter, amount: u64) {
        if amount > 0 {
            self.0.add(counter as usize, amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_listed_by_their_numbers() {
        assert!(
            Counter::ALL
                .iter()
                .enumerate()
                .all(|(at, counter)| *counter as usize == at)
        );
    }
}
