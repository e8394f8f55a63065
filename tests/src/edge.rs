//! The whole edge: `tidegate up` in a folder of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::admin::Admin;
use crate::api::Api;
use crate::eventually::{SOON, eventually};
use crate::gateway::address;
use crate::process::{Process, naming, send};

/// A running edge.
#[derive(Debug)]
pub struct Edge {
    /// The process of `tidegate up`.
    pub process: Process,
    /// Its folder.
    pub dir: PathBuf,
    ready: Value,
}

/// A folder for an edge; it outlives the edge, so that another can be started in it.
#[derive(Debug)]
pub struct Home(TempDir);

impl Default for Home {
    fn default() -> Self {
        Self(TempDir::new().expect("temporary folders can be made"))
    }
}

impl Home {
    /// The folder of the edge.
    pub fn dir(&self) -> PathBuf {
        self.0.path().join("edge")
    }

    /// Puts a configuration there before the first start.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn configure(&self, name: &str, text: &str) {
        let folder = self.dir().join("conf");
        fs::create_dir_all(&folder).expect("folders can be made in a new folder");
        fs::write(folder.join(name), text).expect("files can be written in a new folder");
    }

    /// Starts the edge.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn up(&self) -> Edge {
        self.ready(start_up(&self.dir(), "auto", &[])).await
    }

    /// Starts the edge with its data on private database servers.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn up_on_servers(&self) -> Edge {
        let dir = self.dir();
        let args = ["up", "--ports", "auto", "--data", "servers", "--dir"];
        let mut args: Vec<_> = args.into_iter().map(Into::into).collect();
        args.push(dir.into());
        self.ready(Process::start(&args, &[]).patience(SERVERS))
            .await
    }

    async fn ready(&self, mut process: Process) -> Edge {
        let dir = self.dir();
        let ready = process.ready().await;
        Edge {
            process,
            dir,
            ready,
        }
    }
}

/// Starts `tidegate up` without waiting for it.
pub fn start_up(dir: &Path, ports: &str, environment: &[(&str, String)]) -> Process {
    let args = [
        "up".into(),
        "--dir".into(),
        dir.into(),
        "--ports".into(),
        ports.into(),
    ];
    Process::start(&args, environment).patience(STOP)
}

impl Edge {
    /// The user API over HTTP, by way of the L4 balancer.
    pub fn http(&self) -> Api {
        Api::plain(self.address("l4 http"))
    }

    /// The user API over HTTPS, by way of the L4 balancer, trusting the edge's certificate.
    pub fn https(&self) -> Api {
        let certificate = self.dir.join("tls/cert.pem");
        Api::trusting(self.address("l4 https"), &certificate)
    }

    /// Where a listener is, by its name in the ready file.
    ///
    /// # Panics
    /// When there is none.
    pub fn address(&self, name: &str) -> SocketAddr {
        address(&self.ready, name)
    }

    /// The user services themselves, without the gateway.
    pub fn users(&self) -> Api {
        Api::plain(address(&self.ready, "users"))
    }

    /// The DNS server.
    pub fn dns(&self) -> SocketAddr {
        address(&self.ready, "dns")
    }

    /// The admin listener of the gateway.
    pub fn gateway_admin(&self) -> Admin {
        Admin {
            address: address(&self.ready, "gateway admin"),
        }
    }

    /// The admin listener of the user services.
    pub fn users_admin(&self) -> Admin {
        Admin {
            address: address(&self.ready, "users admin"),
        }
    }

    /// The process id of a role, from its own ready file.
    ///
    /// # Panics
    /// When the role is not ready.
    pub async fn role(&self, name: &str) -> u32 {
        let path = self.dir.join("run").join(format!("{name}.json"));
        eventually(&format!("{name} is ready"), SOON, async || {
            let text = fs::read_to_string(&path).ok()?;
            let ready: Value = serde_json::from_str(&text).ok()?;
            ready["pid"].as_u64()?.try_into().ok()
        })
        .await
    }

    /// The process id of a database server; none while it does not run.
    pub fn server(&self, name: &str) -> Option<u32> {
        let path = self.dir.join("servers").join(name).join("pid");
        fs::read_to_string(path).ok()?.trim().parse().ok()
    }

    /// Stops it as Ctrl-C does, and requires that it ends well.
    ///
    /// # Panics
    /// When it does not.
    pub async fn stop(&mut self) {
        self.process.signal(Signal::TERM);
        let status = self.process.ended(STOP).await;
        assert!(status.success(), "`up` ended with {status}");
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.process.signal(Signal::TERM);
        let deadline = Instant::now() + STOP;
        while !naming(&self.dir).is_empty() && Instant::now() < deadline {
            // Reaps `up` itself, which would else be there as a zombie.
            let _ = self.process.has_ended();
            std::thread::sleep(Duration::from_millis(10));
        }
        let left = naming(&self.dir);
        left.iter().for_each(|id| send(*id, Signal::KILL));
        if !left.is_empty() && !std::thread::panicking() {
            panic!("processes left behind: {left:?}");
        }
    }
}

/// How long an edge may take to start that makes its database servers first.
const SERVERS: Duration = Duration::from_secs(60);
/// How long an edge may take to stop.
const STOP: Duration = Duration::from_secs(10);
