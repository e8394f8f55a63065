//! Whether a listener expects the header, as it is written.

use schemars::JsonSchema;
use serde::Deserialize;

/// Whether connections begin with a PROXY header.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ProxyHeader {
    /// They do not.
    #[default]
    Off,
    /// Those from `trusted` networks do; others are closed.
    Required,
    /// Those from `trusted` networks may.
    Optional,
}
