//! How the log of queries is configured.

use std::path::PathBuf;

use chassis::config::Located;
use schemars::JsonSchema;
use serde::Deserialize;

/// A log of queries and what became of them, a JSON object a line. Lines are dropped, and counted, rather than holding up
/// an answer when the disk does not keep up.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueryLogConfig {
    /// A file to append to, in a folder that is there; standard output when it is not set. SIGHUP opens it anew.
    pub file: Option<Located<PathBuf>>,
    /// One query of so many is logged, of each thread; 1 logs all.
    pub sample: Located<u32>,
}

impl Default for QueryLogConfig {
    fn default() -> Self {
        Self {
            file: None,
            sample: Located::nowhere(1),
        }
    }
}
