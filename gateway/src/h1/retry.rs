//! The beginning of a body, kept so that a request can be sent to another endpoint.

use bytes::{Bytes, BytesMut};

/// What was read of a body so far, as long as it is small.
#[derive(Debug, Default)]
pub(super) struct RetryBuffer {
    enabled: bool,
    kept: BytesMut,
    truncated: bool,
}

/// A longer body is not kept.
const LIMIT: usize = 64 << 10;

impl RetryBuffer {
    /// Begins to keep.
    pub(super) fn enable(&mut self) {
        self.enabled = true;
    }

    /// Keeps a piece.
    pub(super) fn keep(&mut self, bytes: &Bytes) {
        if !self.enabled || self.truncated {
            return;
        }
        if self.kept.len() + bytes.len() > LIMIT {
            self.truncated = true;
            self.kept = BytesMut::new();
        } else {
            self.kept.extend_from_slice(bytes);
        }
    }

    /// Whether it could not be kept whole.
    pub(super) fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// All of it, which may be nothing yet; none when it was not kept or too long.
    pub(super) fn whole(&self) -> Option<Bytes> {
        let whole = self.enabled && !self.truncated;
        whole.then(|| self.kept.clone().freeze())
    }

    /// All of it; none when there is nothing or it was too long.
    pub(super) fn bytes(&self) -> Option<Bytes> {
        let any = !self.truncated && !self.kept.is_empty();
        any.then(|| self.kept.clone().freeze())
    }
}
