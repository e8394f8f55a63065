//! Certificates from a certificate authority, without an operator: ACME (RFC 8555).
//!
//! ```text
//! [acme.NAME]  -> Authority: account, storage, pending challenges   carried over between states
//! [[tls.acme]] -> Issuer: one set of names
//!                   storage -> ArcSwap -> handshakes
//!                   its task: due? -> lock -> stored by another process? -> order -> store -> swap
//! ```
//!
//! Handshakes read a pointer and nothing else. All that waits for the authority runs on the
//! control thread, and what fails there leaves the certificate that is served as it is.

mod account;
mod authority;
mod certificate;
mod challenge;
mod client;
mod error;
mod issuer;
mod metrics;
mod names;
mod order;
mod pending;
mod renewal;
mod storage;
mod task;

use std::sync::Arc;

use tokio::runtime::Handle;

pub(crate) use self::account::decode_key;
pub(crate) use self::authority::{Authority, ExternalAccount, Settings};
pub(crate) use self::challenge::ACME_TLS;
pub(crate) use self::issuer::Issuer;
pub(crate) use self::metrics::metrics;
pub(crate) use self::names::Names;

/// The authorities and issuers of one configuration.
#[derive(Default)]
pub(crate) struct Acme {
    /// Of all authorities that are written, also of those with a mistake.
    pub(crate) names: Vec<String>,
    pub(crate) authorities: Vec<Arc<Authority>>,
    pub(crate) issuers: Vec<Arc<Issuer>>,
}

impl Acme {
    /// Has every issuer see to its certificate from now on; those that do already go on.
    pub(crate) fn start(&self, runtime: &Handle) {
        for issuer in &self.issuers {
            issuer.start(runtime);
        }
    }

    /// The answer to a request for this path, while an authority waits for it (RFC 8555, section 8.3).
    pub(crate) async fn answer(&self, path: &str) -> Option<Arc<str>> {
        let token = path.strip_prefix(CHALLENGES)?;
        for authority in &self.authorities {
            if let Some(answer) = authority.answer(token).await {
                return Some(answer);
            }
        }
        None
    }
}

/// Where authorities ask over HTTP.
const CHALLENGES: &str = "/.well-known/acme-challenge/";
