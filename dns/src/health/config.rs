//! What is kept of health, as it is written.

use std::path::PathBuf;

use chassis::config::Located;
use schemars::JsonSchema;
use serde::Deserialize;

/// What is kept of health.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthConfig {
    /// The file that keeps what is set by the admin API (states, weights, spill) over restarts. It is written
    /// by this process alone. Without it what is set is lost with the process.
    #[serde(default)]
    pub state: Option<Located<PathBuf>>,
}
