//! What is known of one request and its response beside their heads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::tls::{ClientCertificate, TlsSession};

/// One request and its response, from the first byte to the access log.
#[derive(Debug)]
pub struct Exchange {
    /// Who sent the request.
    pub client: Client,
    /// When its head had been read.
    pub started: Instant,
    /// The same by the clock on the wall, read once for every plugin.
    pub started_at: SystemTime,
    /// Its id; empty until the `request_id` plugin ran.
    pub request_id: RequestId,
    /// Who the client proved to be; none until a plugin such as `jwt` found out.
    pub identity: Option<Arc<Identity>>,
    /// The route that it took; none when no route matched.
    pub route: Option<Arc<str>>,
    /// The endpoint that it was forwarded to, the last one when it was tried again.
    pub upstream: Option<SocketAddr>,
    /// What a plugin wants to keep until the response; one value of each type.
    pub notes: http::Extensions,
}

impl Exchange {
    /// An exchange of which only the client is known.
    pub fn new(client: Client, started: Instant) -> Self {
        Self {
            client,
            started,
            started_at: SystemTime::now(),
            request_id: RequestId::default(),
            identity: None,
            route: None,
            upstream: None,
            notes: http::Extensions::new(),
        }
    }
}

/// The client's connection.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its address; none on Unix sockets.
    pub address: Option<SocketAddr>,
    /// The name of the listener that it came to.
    pub listener: Arc<str>,
    /// Whether it speaks TLS, with the gateway or with a trusted proxy before it.
    pub tls: bool,
    /// What it has agreed on with the gateway; none when the gateway does not speak TLS with it.
    pub session: Option<Arc<TlsSession>>,
}

impl Client {
    /// The certificate that it has shown to the gateway, which was verified.
    pub fn certificate(&self) -> Option<&ClientCertificate> {
        self.session.as_ref()?.certificate.as_ref()
    }
}

/// Who a client proved to be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    /// The subject: the user's id.
    pub subject: String,
    /// Everything else that was asserted about it.
    pub claims: serde_json::Map<String, serde_json::Value>,
}

/// A request's id, at most 64 bytes, kept without an allocation.
#[derive(Clone, Copy)]
pub struct RequestId {
    bytes: [u8; Self::MAX],
    len: u8,
}

impl RequestId {
    /// The longest id.
    pub const MAX: usize = 64;

    /// An id from outside: 8 to 64 letters, digits, `-`, `_`, `.`, or none.
    pub fn parse(id: &[u8]) -> Option<Self> {
        let fits = (8..=Self::MAX).contains(&id.len());
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        (fits && id.iter().all(is_plain)).then(|| Self::copy(id))
    }

    /// A new id: a UUID of version 7 whose `rand_a` has the parts of a millisecond (RFC 9562,
    /// section 6.2, method 3), so that ids sort by time to a quarter of a microsecond.
    pub fn generate(now: SystemTime) -> Self {
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        let since = since.unwrap_or_default();
        let millis = since.as_secs() * 1000 + u64::from(since.subsec_millis());
        let part = u64::from(since.subsec_nanos() % 1_000_000) * 4096 / 1_000_000;
        // Not `Uuid::now_v7`, which counts behind a lock of the whole process. The second half of
        // version 4 has the form of that of version 7: the variant and 62 random bits.
        let (_, random) = uuid::Uuid::new_v4().as_u64_pair();
        let id = uuid::Uuid::from_u64_pair(millis << 16 | 7 << 12 | part, random);
        let mut buffer = [0; uuid::fmt::Hyphenated::LENGTH];
        Self::copy(id.hyphenated().encode_lower(&mut buffer).as_bytes())
    }

    /// The id; empty when there is none.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The same as bytes, which are letters, digits, `-`, `_` and `.`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len as usize]
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn copy(id: &[u8]) -> Self {
        let mut bytes = [0; Self::MAX];
        bytes[..id.len()].copy_from_slice(id);
        Self {
            bytes,
            len: u8::try_from(id.len()).unwrap_or(0),
        }
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self {
            bytes: [0; Self::MAX],
            len: 0,
        }
    }
}

impl std::fmt::Debug for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;

    #[test]
    fn ids_are_uuids_of_version_7_that_sort_by_time() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789);
        let ids: Vec<RequestId> = (0..10_000)
            .map(|at| RequestId::generate(start + Duration::from_micros(at)))
            .collect();
        assert!(ids.windows(2).all(|two| two[0].as_str() < two[1].as_str()));
        let first = uuid::Uuid::parse_str(ids[0].as_str()).unwrap();
        assert_eq!(first.get_version_num(), 7);
        assert_eq!(first.get_variant(), uuid::Variant::RFC4122);
        let (seconds, nanos) = first.get_timestamp().unwrap().to_unix();
        assert_eq!((seconds, nanos), (1_700_000_000, 123_000_000));
    }

    #[test]
    fn ids_of_one_moment_differ() {
        let ids = (0..10_000).map(|_| RequestId::generate(SystemTime::UNIX_EPOCH));
        let ids: HashSet<String> = ids.map(|id| id.as_str().into()).collect();
        assert_eq!(ids.len(), 10_000);
    }
}
