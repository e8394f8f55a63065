//! Text that must never be printed.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

/// A secret: write `"${VARIABLE}"` or `"${file:PATH}"` rather than the secret itself.
#[derive(Clone, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Secret(String);

impl Secret {
    /// The secret itself, for the one place that uses it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}
