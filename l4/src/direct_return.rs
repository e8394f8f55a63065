//! The mode `dr` in the life of the process: it begins with the first listener that has it.

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use prometheus::proto::MetricFamily;

use crate::config::Mode;
use crate::dr::{Dr, DrOptions};
use crate::state::State;

/// The kernel's part, once a listener needs it.
#[derive(Debug, Default)]
pub(crate) struct DirectReturn(OnceLock<Dr>);

/// How long a start or a reload waits until the kernel forwards what it is to.
const APPLIED: Duration = Duration::from_secs(2);

impl DirectReturn {
    /// Loads the program when a listener has the mode. Packets go as before until [`forward`](Self::forward).
    ///
    /// # Errors
    /// When the kernel or another process does not allow it.
    pub(crate) async fn begin(
        &self,
        state: &State,
        options: &DrOptions,
        taking_over: bool,
    ) -> io::Result<()> {
        let wanted = state.listeners.iter().any(|one| one.mode == Mode::Dr);
        if wanted && self.0.get().is_none() {
            let begun = Dr::start(options.clone(), taking_over).await;
            // There is one reload at a time, and none before the start.
            let _ = self.0.set(begun.map_err(io::Error::other)?);
        }
        Ok(())
    }

    /// Lets the kernel follow a state.
    pub(crate) fn follow(&self, state: &State) {
        if let Some(dr) = self.0.get() {
            dr.set(state.services(Mode::Dr));
        }
    }

    /// Has the kernel forward what a state says, and waits for it.
    pub(crate) async fn forward(&self, state: &State) {
        self.follow(state);
        if let Some(dr) = self.0.get()
            && !dr.applied(APPLIED).await
        {
            tracing::warn!("mode dr: not every endpoint is reached");
        }
    }

    /// Lets go of the kernel's part, which forwards on if it is to be kept.
    pub(crate) async fn leave(&self, keep: bool) {
        if let Some(dr) = self.0.get() {
            dr.leave(keep).await;
        }
    }

    /// What the kernel has counted, for Prometheus.
    pub(crate) fn families(&self) -> Vec<MetricFamily> {
        self.0.get().map_or_else(Vec::new, Dr::metrics)
    }
}
