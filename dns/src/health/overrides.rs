//! What operators and `control` have set, and the file that keeps it.
//!
//! The file is replaced as a whole ([`chassis::files`]): a crash leaves the old one or the new one. What is acknowledged
//! is in the file.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use chassis::files;
use serde::{Deserialize, Serialize};

use crate::policy::LARGEST_WEIGHT;

/// All that is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overrides {
    /// The form of the file.
    version: Version,
    /// What is set for policies, by name.
    #[serde(default)]
    policies: BTreeMap<String, PolicyOverride>,
}

/// The form of the file: 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
struct Version;

impl TryFrom<u32> for Version {
    type Error = String;
    fn try_from(version: u32) -> Result<Self, String> {
        match version {
            1 => Ok(Self),
            other => Err(format!("version {other} is not known here")),
        }
    }
}

impl From<Version> for u32 {
    fn from(_: Version) -> Self {
        1
    }
}

/// What is set for a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyOverride {
    /// The share of clients whom the public pool serves first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) spill: Option<f64>,
    /// What is set for its endpoints, by address.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) endpoints: BTreeMap<IpAddr, EndpointOverride>,
}

/// For logs: `spill 0.5, 192.0.2.1 down, 192.0.2.2 weight 5`.
impl fmt::Display for PolicyOverride {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut set: Vec<String> = Vec::new();
        set.extend(self.spill.map(|spill| format!("spill {spill}")));
        for (address, endpoint) in &self.endpoints {
            set.extend(match endpoint.state {
                Forced::Up => Some(format!("{address} up")),
                Forced::Down => Some(format!("{address} down")),
                Forced::Auto => None,
            });
            let weight = endpoint.weight;
            set.extend(weight.map(|weight| format!("{address} weight {weight}")));
        }
        match set.is_empty() {
            true => f.write_str("nothing"),
            false => f.write_str(&set.join(", ")),
        }
    }
}

/// What is set for an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndpointOverride {
    /// What it is, whatever checks say.
    #[serde(default, skip_serializing_if = "Forced::is_auto")]
    pub(super) state: Forced,
    /// Its weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) weight: Option<u32>,
}

/// What an endpoint is, whatever checks say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Forced {
    /// It serves.
    Up,
    /// It does not.
    Down,
    /// What checks say.
    #[default]
    Auto,
}

impl Forced {
    pub(super) fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

/// The file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the state file {}: {why}", .path.display())]
pub struct StateFileError {
    path: PathBuf,
    why: String,
}

/// A file of this many bytes holds a hundred thousand endpoints.
const LARGEST_FILE: u64 = 16 << 20;

impl Overrides {
    /// Reads what a file keeps; nothing is set when there is none yet.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was written.
    pub fn read(path: &Path) -> Result<Self, StateFileError> {
        let wrong = |why: String| StateFileError {
            path: path.to_owned(),
            why,
        };
        match fs::metadata(path) {
            Ok(file) if file.len() > LARGEST_FILE => {
                return Err(wrong("larger than 16 MiB".into()));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            _ => {}
        }
        let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let read: Self = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        match read.judge() {
            Ok(()) => Ok(read),
            Err(why) => Err(wrong(why)),
        }
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// When it cannot be written; then the old one is still there.
    pub(super) fn write(&self, path: &Path) -> Result<(), StateFileError> {
        let written = || -> io::Result<()> {
            let text = serde_json::to_vec_pretty(self)?;
            files::replace(path, 0o644, |mut file| file.write_all(&text))
        };
        written().map_err(|error| StateFileError {
            path: path.to_owned(),
            why: error.to_string(),
        })
    }

    /// What is set for a policy.
    pub(super) fn policy(&self, policy: &str) -> Option<&PolicyOverride> {
        self.policies.get(policy)
    }

    /// Changes what is set for a policy. What sets nothing is not kept.
    pub(super) fn change(&mut self, policy: &str, change: impl FnOnce(&mut PolicyOverride)) {
        let mut set = self.policies.remove(policy).unwrap_or_default();
        change(&mut set);
        set.endpoints
            .retain(|_, endpoint| *endpoint != EndpointOverride::default());
        if set != PolicyOverride::default() {
            self.policies.insert(policy.to_owned(), set);
        }
    }

    fn judge(&self) -> Result<(), String> {
        for (name, policy) in &self.policies {
            if policy
                .spill
                .is_some_and(|spill| !(0.0..=1.0).contains(&spill))
            {
                return Err(format!("the spill of `{name}` is not from 0 to 1"));
            }
            let weights = policy
                .endpoints
                .values()
                .filter_map(|endpoint| endpoint.weight);
            if weights.max().is_some_and(|weight| weight > LARGEST_WEIGHT) {
                return Err(format!(
                    "a weight of `{name}` is more than {LARGEST_WEIGHT}"
                ));
            }
        }
        Ok(())
    }
}
