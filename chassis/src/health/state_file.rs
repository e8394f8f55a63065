//! The file that keeps what is set at the admin API.
//!
//! It is replaced as a whole ([`crate::files`]): a crash leaves the old one or the new one. What is acknowledged is in
//! the file.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::{Diagnostic, Located, Sources};
use crate::files;

/// What is kept of health.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthConfig {
    /// The file that keeps what is set by the admin API, such as states and weights of endpoints, over restarts. It is
    /// written by this process alone. Without it what is set is lost with the process.
    #[serde(default)]
    pub state: Option<Located<PathBuf>>,
}

/// What a state file holds.
pub trait Kept: Clone + Default + Serialize + DeserializeOwned {
    /// Whether it can be.
    ///
    /// # Errors
    /// Why it cannot.
    fn judge(&self) -> Result<(), String>;
}

/// A state file and what is in it.
#[derive(Clone, Debug)]
pub struct StateFile<T> {
    /// Where it is.
    pub path: PathBuf,
    /// What it keeps.
    pub kept: T,
}

/// The form of a state file: 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Version;

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

/// The file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the state file {}: {why}", .path.display())]
pub struct StateFileError {
    path: PathBuf,
    why: String,
}

/// A file of this many bytes holds a hundred thousand endpoints.
const LARGEST_FILE: u64 = 16 << 20;

impl HealthConfig {
    /// Reads the file; none when none is configured.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was written.
    pub fn read<T: Kept>(&self, sources: &Sources) -> Result<Option<StateFile<T>>, Diagnostic> {
        let Some(path) = &self.state else {
            return Ok(None);
        };
        let read = StateFile::read(&sources.resolve(path, path.place()));
        read.map(Some)
            .map_err(|error| path.wrong(error.to_string()))
    }
}

impl<T: Kept> StateFile<T> {
    /// Reads a state file; nothing is set when there is none yet.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was written.
    pub fn read(path: &Path) -> Result<Self, StateFileError> {
        let wrong = |why: String| StateFileError {
            path: path.to_owned(),
            why,
        };
        let file = |kept| Self {
            path: path.to_owned(),
            kept,
        };
        match fs::metadata(path) {
            Ok(file) if file.len() > LARGEST_FILE => {
                return Err(wrong("larger than 16 MiB".into()));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(file(T::default()));
            }
            _ => {}
        }
        let text = files::read_text(path).map_err(|error| wrong(error.to_string()))?;
        let kept: T = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        match kept.judge() {
            Ok(()) => Ok(file(kept)),
            Err(why) => Err(wrong(why)),
        }
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// When it cannot be written; then the old one is still there.
    pub(super) fn write(&self) -> Result<(), StateFileError> {
        let written = || -> io::Result<()> {
            let text = serde_json::to_vec_pretty(&self.kept)?;
            files::replace(&self.path, 0o644, |mut file| file.write_all(&text))
        };
        written().map_err(|error| StateFileError {
            path: self.path.clone(),
            why: error.to_string(),
        })
    }
}
