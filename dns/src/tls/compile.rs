//! How a listener speaks TLS, as it is compiled.

use std::sync::Arc;

use chassis::config::Located;
use chassis::tls::{Handshakes, Reading, Terminator, Terms};

use super::Memory;
use crate::config::TlsConfig;

/// How a listener speaks TLS; none when there is a mistake.
pub(crate) fn terminator(
    listener: &str,
    tls: &Located<TlsConfig>,
    alpn: &[&[u8]],
    reading: &mut Reading<'_>,
    memory: &Memory,
) -> Option<Terminator> {
    let before = memory.of(listener);
    let handshakes = match &before {
        Some(before) => before.handshakes.clone(),
        None => Arc::new(Handshakes::new(listener.into())),
    };
    let terms = Terms {
        scope: &format!("dns {listener}"),
        place: tls.place(),
        certificate: &tls.certificate,
        key: &tls.key,
        certificates: &tls.certificates,
        versions: &tls.versions,
        tickets: &tls.tickets,
        alpn: alpn.iter().map(|protocol| protocol.to_vec()).collect(),
        handshakes,
    };
    reading.terminator(&terms, before.as_deref())
}
