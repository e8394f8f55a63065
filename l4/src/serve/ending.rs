//! How a connection ended.

use crate::admission::Full;
use crate::relay::End;

/// How a connection of a client ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Both sides have ended what they send, and all of it was delivered.
    Done,
    /// Nothing moved for too long.
    Idle,
    /// It was there for too long.
    Expired,
    /// The client broke it.
    ClientBroke,
    /// The endpoint broke it.
    EndpointBroke,
    /// The endpoint was drained, or this process left.
    Drained,
    /// The client may not connect.
    Denied,
    /// There were too many over all listeners.
    ProcessFull,
    /// The listener had too many.
    ListenerFull,
    /// The client had too many.
    ClientFull,
    /// New ones came too fast.
    TooFast,
    /// The PROXY header was missing or wrong.
    ProxyHeader,
    /// What it begins with did not come in time.
    Slow,
    /// The client left before it was known what it wants.
    Left,
    /// What it begins with breaks the rules of its protocol.
    Malformed,
    /// What it begins with is too long.
    TooLong,
    /// The TLS handshake failed.
    Handshake,
    /// No route is for it.
    NoRoute,
    /// The cluster has no endpoint that is well.
    NoEndpoint,
    /// No endpoint took it.
    NotConnected,
    /// A fault of this program.
    Fault,
}

impl Ending {
    /// All of them, by their numbers.
    pub(crate) const ALL: [Self; 21] = [
        Self::Done,
        Self::Idle,
        Self::Expired,
        Self::ClientBroke,
        Self::EndpointBroke,
        Self::Drained,
        Self::Denied,
        Self::ProcessFull,
        Self::ListenerFull,
        Self::ClientFull,
        Self::TooFast,
        Self::ProxyHeader,
        Self::Slow,
        Self::Left,
        Self::Malformed,
        Self::TooLong,
        Self::Handshake,
        Self::NoRoute,
        Self::NoEndpoint,
        Self::NotConnected,
        Self::Fault,
    ];

    /// Its name in metrics and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Idle => "idle",
            Self::Expired => "expired",
            Self::ClientBroke => "client_broke",
            Self::EndpointBroke => "endpoint_broke",
            Self::Drained => "drained",
            Self::Denied => "denied",
            Self::ProcessFull => "process_full",
            Self::ListenerFull => "listener_full",
            Self::ClientFull => "client_full",
            Self::TooFast => "too_fast",
            Self::ProxyHeader => "proxy_header",
            Self::Slow => "slow",
            Self::Left => "left",
            Self::Malformed => "malformed",
            Self::TooLong => "too_long",
            Self::Handshake => "handshake",
            Self::NoRoute => "no_route",
            Self::NoEndpoint => "no_endpoint",
            Self::NotConnected => "not_connected",
            Self::Fault => "fault",
        }
    }

    /// Whether it is the fault of this side.
    pub(crate) fn failed(self) -> bool {
        matches!(
            self,
            Self::ProcessFull
                | Self::NoEndpoint
                | Self::NotConnected
                | Self::EndpointBroke
                | Self::Fault
        )
    }
}

impl From<End> for Ending {
    fn from(end: End) -> Self {
        match end {
            End::Done => Self::Done,
            End::Idle => Self::Idle,
            End::Expired => Self::Expired,
            End::Drained => Self::Drained,
            End::ClientBroke => Self::ClientBroke,
            End::EndpointBroke => Self::EndpointBroke,
        }
    }
}

impl From<Full> for Ending {
    fn from(full: Full) -> Self {
        match full {
            Full::Listener => Self::ListenerFull,
            Full::Client => Self::ClientFull,
            Full::Rate => Self::TooFast,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_where_its_number_says() {
        for (at, ending) in Ending::ALL.into_iter().enumerate() {
            assert_eq!(ending as usize, at);
        }
    }
}
