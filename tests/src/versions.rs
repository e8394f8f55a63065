//! Configurations that replace each other at one stroke, unseen by the watch on files.
//!
//! `DIR/now` is a link to one of `DIR/a`, `DIR/b`...; the gateway reads
//! `DIR/now/gateway.toml`. Its watch is on the folder behind the link as it was
//! at the start, so that a reload has only the causes that the test gives it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A folder with several configurations, one of them current.
#[derive(Debug)]
pub struct Versions(TempDir);

impl Versions {
    /// Writes all configurations; the first is current.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn of(versions: &[(&str, String)]) -> Self {
        let this = Self(TempDir::new().expect("temporary folders can be made"));
        for (name, text) in versions {
            let folder = this.folder().join(name);
            fs::create_dir(&folder).expect("names of versions differ");
            fs::write(folder.join("gateway.toml"), text).expect("the folder is new");
        }
        let (first, _) = versions.first().expect("there is at least one version");
        this.switch_to(first);
        this
    }

    /// The folder that holds them all.
    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    /// The file to start the gateway with.
    pub fn file(&self) -> PathBuf {
        self.folder().join("now/gateway.toml")
    }

    /// Makes another version the current one.
    ///
    /// # Panics
    /// When the link cannot be replaced.
    pub fn switch_to(&self, name: &str) {
        let next = self.folder().join("next");
        symlink(name, &next).expect("there is no such link yet");
        fs::rename(&next, self.folder().join("now")).expect("a link can replace a link");
    }
}
