//! The L4 balancer, and endpoints that say who they are.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::admin::Admin;
use crate::binary;
use crate::eventually::{SOON, eventually};
use crate::gateway::address;
use crate::process::Process;

/// A running balancer.
#[derive(Debug)]
pub struct Balancer {
    /// Its process.
    pub process: Process,
    /// Its admin listener.
    pub admin: Admin,
    /// Its folder: `l4.toml`, and what the test puts there.
    pub folder: TempDir,
    ready: Value,
}

impl Balancer {
    /// Starts one with this configuration, and an admin listener.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start(configuration: &str) -> Self {
        let folder = TempDir::new().expect("temporary folders can be made");
        write(&folder, configuration);
        let (process, ready) = run(&folder).await;
        Self {
            process,
            admin: Admin {
                address: address(&ready, "admin"),
            },
            folder,
            ready,
        }
    }

    /// Where a listener is.
    ///
    /// # Panics
    /// When it had none of this name when it started.
    pub fn listener(&self, name: &str) -> SocketAddr {
        address(&self.ready, name)
    }

    /// Ends it, and starts another with the same folder.
    ///
    /// # Panics
    /// When one does not end, or the other does not become ready.
    pub async fn restart(&mut self) {
        self.process.signal(Signal::TERM);
        let status = self.process.ended(SOON).await;
        assert!(status.success(), "it ended with {status}");
        (self.process, self.ready) = run(&self.folder).await;
        self.admin.address = address(&self.ready, "admin");
    }

    /// Lets another process take its place, which is the test's to end; its id.
    ///
    /// # Panics
    /// When none does.
    pub fn hand_over(&self) -> u32 {
        // Not a pipe: the successor would keep it open.
        let printed = self.folder.path().join("printed");
        let file = fs::File::create(&printed).expect("files can be made");
        let status = Command::new(binary::path())
            .args(["handover", "-c"])
            .arg(self.folder.path().join("l4.toml"))
            .stdout(file)
            .stderr(Stdio::null())
            .status();
        let text = fs::read_to_string(&printed).expect("it was just made");
        assert!(status.expect("the binary starts").success(), "{text}");
        let successor = text.split_whitespace().nth(1);
        let successor = successor.and_then(|id| id.parse().ok());
        successor.unwrap_or_else(|| panic!("{text}"))
    }

    /// Writes another configuration, and has it take effect.
    ///
    /// # Panics
    /// When it does not.
    pub async fn reload(&self, configuration: &str) {
        write(&self.folder, configuration);
        self.admin.reload().await.expect(200);
    }

    /// What its admin listener knows of an endpoint.
    ///
    /// # Panics
    /// When it knows nothing of it.
    pub async fn endpoint(&self, cluster: &str, address: SocketAddr) -> Value {
        let path = format!("/l4/clusters/{cluster}");
        let cluster = self.admin.get(&path).await.expect(200).json();
        let endpoints = cluster["endpoints"].as_array();
        let mut endpoints = endpoints.into_iter().flatten();
        let found = endpoints.find(|one| one["address"] == address.to_string());
        found.cloned().expect("it is in the configuration")
    }

    /// Waits until an endpoint is well, or is not.
    ///
    /// # Panics
    /// When that does not come about.
    pub async fn becomes(&self, cluster: &str, address: SocketAddr, well: bool) {
        eventually(&format!("{address} well: {well}"), SOON, async || {
            let endpoint = self.endpoint(cluster, address).await;
            (endpoint["well"] == well).then_some(())
        })
        .await;
    }

    /// What `tidegate l4 explain` says.
    ///
    /// # Panics
    /// When it fails.
    pub fn explain(&self, args: &[&str]) -> String {
        let mut words = vec!["l4", "explain", "-c", "l4.toml"];
        words.extend(args);
        let output = binary::run(self.folder.path(), &words);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {stderr}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

async fn run(folder: &TempDir) -> (Process, Value) {
    let file = folder.path().join("l4.toml");
    let mut process = Process::start(&["l4".into(), "-c".into(), file.into()], &[]);
    let ready = process.ready().await;
    (process, ready)
}

fn write(folder: &TempDir, configuration: &str) {
    let unfinished = folder.path().join("l4.new");
    let text = format!("admin = {{ address = \"127.0.0.1:0\" }}\n{configuration}");
    fs::write(&unfinished, text).expect("it can be written");
    fs::rename(unfinished, folder.path().join("l4.toml")).expect("they are in one folder");
}

/// A TCP server that says its name and then echoes.
#[derive(Debug)]
pub struct Named {
    /// Where it listens, also after it died and came back.
    pub address: SocketAddr,
    name: String,
    accepted: Arc<AtomicU64>,
    serving: Option<JoinHandle<()>>,
}

impl Named {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start(name: &str) -> Self {
        let mut named = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            name: name.to_owned(),
            accepted: Arc::default(),
            serving: None,
        };
        named.come_back().await;
        named
    }

    /// How many connections it has had.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(SeqCst)
    }

    /// Refuses connections from now on, and breaks those that it has.
    pub async fn die(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
    }

    /// Listens at its address again.
    ///
    /// # Panics
    /// When another has taken it.
    pub async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await;
        let listener = listener.expect("the port is free");
        self.address = listener.local_addr().expect("it is bound");
        let (name, accepted) = (self.name.clone(), self.accepted.clone());
        self.serving = Some(tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                accepted.fetch_add(1, SeqCst);
                connections.spawn(echo(stream, name.clone()));
            }
        }));
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
    }
}

async fn echo(mut stream: TcpStream, name: String) -> io::Result<()> {
    stream.write_all(format!("{name}\n").as_bytes()).await?;
    let (mut from, mut to) = stream.split();
    tokio::io::copy(&mut from, &mut to).await?;
    to.shutdown().await
}

/// Who answers at an address: the name of a [`Named`]; none when the connection is refused or closed at once.
pub async fn who(address: SocketAddr) -> Option<String> {
    who_from(TcpStream::connect(address).await.ok()?).await
}

/// Who answers a connection.
pub async fn who_from(mut stream: TcpStream) -> Option<String> {
    let _ = stream.shutdown().await;
    let mut text = String::new();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_string(&mut text));
    read.await.ok()?.ok()?;
    let name = text.trim_end();
    (!name.is_empty()).then(|| name.to_owned())
}
