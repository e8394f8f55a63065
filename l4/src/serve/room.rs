//! How the process deals out the descriptors that it may have.

use chassis::net::{descriptor_limit, open_descriptors};

/// What fits into the limit of open files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    limit: usize,
    /// What is open without a connection.
    open: usize,
}

/// With room for fewer connections, somebody is told.
const FEW: u32 = 100;

impl Room {
    /// What there is now, before the first connection; none without a limit.
    pub(crate) fn find() -> Option<Self> {
        Some(Self {
            limit: descriptor_limit()?,
            open: open_descriptors()?,
        })
    }

    /// How many connections fit, each with its endpoint's: an eighth of all descriptors, at least 32, is for the rest.
    pub(crate) fn connections(self) -> u32 {
        let free = self.free();
        let rest = (self.limit / 8).max(32).min(free / 2);
        u32::try_from((free - rest) / 2).unwrap_or(u32::MAX)
    }

    /// How many pipes there may be beside so many connections: half of what they leave is for checks, operators and files.
    pub(crate) fn pipes(self, connections: u32) -> usize {
        let connections = usize::try_from(connections).unwrap_or(usize::MAX);
        self.free().saturating_sub(connections.saturating_mul(2)) / 4
    }

    /// Warns of a limit of open files into which few connections fit, or fewer than are wanted.
    pub(crate) fn warn(self, wanted: Option<u32>) {
        let Self { limit, open } = self;
        let room = self.connections();
        if let Some(connections) = wanted.filter(|wanted| *wanted > room) {
            tracing::warn!(
                limit,
                open,
                room,
                "more open files are needed for {connections} connections: some may wait"
            );
        } else if wanted.is_none() && room < FEW {
            tracing::warn!(
                limit,
                open,
                room,
                "the limit of open files leaves room for few connections"
            );
        }
    }

    fn free(self) -> usize {
        self.limit.saturating_sub(self.open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_and_pipes_share_what_is_free() {
        for (limit, open) in [(80, 60), (80, 90), (400, 70), (1024, 100), (1 << 20, 500)] {
            let room = Room { limit, open };
            let connections = room.connections();
            let taken = 2 * connections as usize + 2 * room.pipes(connections);
            assert!(open + taken <= limit.max(open), "{room:?}");
            assert!(connections > 0 || open >= limit, "{room:?}");
        }
        let room = Room {
            limit: 400,
            open: 60,
        };
        assert_eq!((room.connections(), room.pipes(145)), (145, 12));
        assert_eq!(room.pipes(u32::MAX), 0);
    }
}
