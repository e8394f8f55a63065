//! TLS that ends here, judged.

use std::sync::Arc;

use chassis::config::Located;
use chassis::tls::{Handshakes, Reading, Terminator, Terms};

use crate::config::TlsConfig;
use crate::state::ListenerState;

/// How certificates are read for one listener.
pub(super) struct Ending<'a, 'b> {
    pub(super) reading: &'a mut Reading<'b>,
    pub(super) listener: &'a str,
    pub(super) handshakes: &'a Arc<Handshakes>,
    /// The listener as it is now.
    pub(super) before: Option<&'a ListenerState>,
}

impl Ending<'_, '_> {
    /// How TLS ends for these names, or for all that have no route; none when there is a mistake.
    pub(super) fn terminator(
        &mut self,
        names: &[Located<String>],
        tls: &Located<TlsConfig>,
    ) -> Option<Arc<Terminator>> {
        let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        let scope = format!("l4 {} {}", self.listener, names.join(" "));
        for protocol in &tls.alpn {
            if !(1..=255).contains(&protocol.len()) {
                let what = "a protocol has from 1 to 255 octets";
                self.reading.mistakes.push(protocol.wrong(what));
            }
        }
        let terms = Terms {
            scope: &scope,
            place: tls.place(),
            certificate: &tls.certificate,
            key: &tls.key,
            certificates: &tls.certificates,
            versions: &tls.versions,
            tickets: &tls.tickets,
            alpn: tls
                .alpn
                .iter()
                .map(|protocol| protocol.as_bytes().to_vec())
                .collect(),
            handshakes: self.handshakes.clone(),
        };
        let before = self.before.and_then(|before| {
            let mut terminators = before.terminators();
            terminators.find(|one| *one.scope == *scope)
        });
        let terminator = self.reading.terminator(&terms, before.map(|one| &**one));
        terminator.map(Arc::new)
    }
}
