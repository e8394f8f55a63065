//! The gateway alone, with a configuration of the test's own.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::admin::Admin;
use crate::answer::Answer;
use crate::eventually::{SOON, eventually};
use crate::process::Process;
use crate::wire;

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    /// Its process.
    pub process: Process,
    /// Its admin listener.
    pub admin: Admin,
    ready: Value,
    home: Option<TempDir>,
}

/// What a configuration has beside the usual: a listener `http` and a route to one upstream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keys<'a> {
    /// Keys of the gateway, and tables.
    pub gateway: &'a str,
    /// Keys of the listener.
    pub listener: &'a str,
    /// Keys of the cluster.
    pub cluster: &'a str,
}

impl Keys<'_> {
    /// The configuration of a gateway before this upstream.
    pub fn before(&self, upstream: &str) -> String {
        let Self {
            gateway,
            listener,
            cluster,
        } = self;
        format!(
            r#"admin = {{ address = "127.0.0.1:0" }}
{gateway}
[[listener]]
name = "http"
address = "127.0.0.1:0"
{listener}
[[route]]
name = "all"
cluster = "up"
[cluster.up]
endpoints = [{{ address = "{upstream}" }}]
{cluster}
"#
        )
    }
}

impl Gateway {
    /// Starts one with a listener `http` of these keys, in front of one upstream.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn before(upstream: SocketAddr, listener: &str) -> Self {
        let keys = Keys {
            listener,
            ..Keys::default()
        };
        Self::with(&keys.before(&upstream.to_string())).await
    }

    /// Starts one with this configuration, in a folder of its own.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn with(configuration: &str) -> Self {
        let home = TempDir::new().expect("temporary folders can be made");
        let file = home.path().join("gateway.toml");
        fs::write(&file, configuration).expect("files can be written in a new folder");
        let mut gateway = Self::of(&file).await;
        gateway.home = Some(home);
        gateway
    }

    /// Starts one with this file.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn of(file: &Path) -> Self {
        let args = ["gateway".into(), "-c".into(), file.into()];
        Self::running(Process::start(&args, &[])).await
    }

    /// The gateway of a process that was just started.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn running(mut process: Process) -> Self {
        let ready = process.ready().await;
        Self {
            admin: Admin {
                address: address(&ready, "admin"),
            },
            process,
            ready,
            home: None,
        }
    }

    /// The address of a listener that was there at the start.
    ///
    /// # Panics
    /// When there was none of this name.
    pub fn listener(&self, name: &str) -> SocketAddr {
        address(&self.ready, name)
    }

    /// The address of a listener that a reload has opened, from the log.
    ///
    /// # Panics
    /// When none of this name opens.
    pub async fn opened(&self, name: &str) -> SocketAddr {
        let wanted = |line: &str| {
            let event: Value = serde_json::from_str(line).ok()?;
            let this = event["message"] == "listening" && event["listener"] == name;
            event["address"].as_str()?.parse().ok().filter(|_| this)
        };
        eventually(&format!("the listener {name} opens"), SOON, async || {
            self.process.stderr().lines().find_map(wanted)
        })
        .await
    }

    /// Asks the listener `http` for a path, with more header lines, each ended by `\r\n`.
    pub async fn get(&self, path: &str, headers: &str) -> Answer {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n{headers}\r\n");
        wire::ask(self.listener("http"), &request).await
    }

    /// Overwrites its configuration, as an editor does.
    ///
    /// # Panics
    /// When it was started with a file of the test's.
    pub fn rewrite(&self, configuration: &str) {
        let home = self.home.as_ref().expect("it was started by `with`");
        fs::write(home.path().join("gateway.toml"), configuration)
            .expect("the file can be written again");
    }
}

/// An address of a ready file.
///
/// # Panics
/// When there is none of this name.
pub fn address(ready: &Value, name: &str) -> SocketAddr {
    let text = ready["addresses"][name].as_str();
    text.and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("no address `{name}` in {ready}"))
}
