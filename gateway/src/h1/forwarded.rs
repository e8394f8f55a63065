//! What Pingora's proxy sees of a request that is handed over to it.

use http::{HeaderValue, header};
use pingora_core::Result;
use pingora_core::protocols::Digest;
use pingora_http::{RequestHeader, ResponseHeader};

use super::session::{Session, Slot};

/// A request in Pingora's terms.
pub(super) struct Forwarded {
    pub(super) head: Box<RequestHeader>,
    pub(super) digest: Digest,
    /// The final head of the answer.
    pub(super) answer: Option<Box<ResponseHeader>>,
    /// Where the connection comes back.
    pub(super) slot: Slot,
}

impl Session {
    /// Prepares it for Pingora's proxy, which knows the request by this head.
    ///
    /// # Errors
    /// When the head is beyond what Pingora's can hold.
    pub(super) fn forward(&mut self, mut head: Box<RequestHeader>, slot: Slot) -> Result<()> {
        if self.asks_for_tunnel() {
            head.insert_header(header::CONNECTION, HeaderValue::from_static("Upgrade"))?;
            head.insert_header(header::UPGRADE, HeaderValue::from_static("websocket"))?;
        }
        self.forwarded = Some(Box::new(Forwarded {
            head,
            digest: self.connection().digest(),
            answer: None,
            slot,
        }));
        Ok(())
    }
}
