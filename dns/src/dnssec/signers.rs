//! What signs the zones of a compilation.

use std::sync::Arc;

use chassis::config::Diagnostic;

use super::online::{Counts, Limit, Online};
use super::sign::ZoneSigner;
use crate::zone::Zone;

/// What signs each zone, by its number.
#[derive(Clone, Debug, Default)]
pub struct Signers {
    zones: Vec<Option<Arc<ZoneSigner>>>,
    limit: Option<Arc<Limit>>,
}

impl Signers {
    /// Signers of zones in their order; none for those that are not signed. Each thread makes so many signatures in a
    /// second for the names that are asked.
    pub fn new(zones: Vec<Option<Arc<ZoneSigner>>>, online_signatures: u32) -> Self {
        Self::counted(zones, online_signatures, Arc::default())
    }

    /// The same, counted.
    pub(super) fn counted(
        zones: Vec<Option<Arc<ZoneSigner>>>,
        online_signatures: u32,
        counts: Arc<Counts>,
    ) -> Self {
        Self {
            zones,
            limit: Some(Arc::new(Limit::new(online_signatures, counts))),
        }
    }

    /// What signs a zone.
    pub(crate) fn of(&self, number: usize) -> Option<&ZoneSigner> {
        self.zones.get(number)?.as_deref()
    }

    /// What signs for queries in a zone; `ttl` is how long denials may be kept, in seconds.
    pub(crate) fn online(&self, signer: &ZoneSigner, ttl: u32) -> Option<Online> {
        let limit = self.limit.as_ref()?;
        Some(Online::new(signer, ttl, limit))
    }

    /// Why zones cannot be served as they were compiled.
    pub(crate) fn failures(&self, zones: &[Arc<Zone>]) -> Vec<Diagnostic> {
        let signed = zones.iter().zip(&self.zones);
        let failures = signed.filter_map(|(zone, signer)| {
            let why = signer.as_ref()?.failure()?;
            let what = format!("`{}` cannot be signed: {why}", zone.apex);
            Some(Diagnostic::new(zone.place, what))
        });
        failures.collect()
    }
}
