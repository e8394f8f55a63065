//! The balancer, and endpoints that remember what reached them.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::admin::Admin;
use crate::binary;
use crate::eventually::{SOON, eventually};
use crate::lab::Host;
use crate::process::{Process, send};

/// A running balancer.
#[derive(Debug)]
pub struct Balancer {
    /// Its process; the first one after hand-overs.
    pub process: Process,
    /// Its admin listener.
    pub admin: Admin,
    /// Its folder: `l4.toml`, and what the test puts there.
    pub folder: TempDir,
    ready: Value,
    /// The last that has taken over.
    successor: Option<u32>,
}

impl Balancer {
    /// Starts one with this configuration; its admin listener is added.
    pub async fn start(configuration: &str) -> Self {
        Self::start_with(configuration, |_| {}).await
    }

    /// Starts one. `prepare` may put files into its folder.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start_with(configuration: &str, prepare: impl FnOnce(&Path)) -> Self {
        let folder = TempDir::new().expect("temporary folders can be made");
        prepare(folder.path());
        write(folder.path(), configuration);
        let process = Process::start(&args(folder.path()), &[]);
        Self::ready(process, folder).await
    }

    /// Starts one by way of a shell, whose script ends with `exec "$@"`.
    pub async fn start_through(script: &str, configuration: &str) -> Self {
        let folder = TempDir::new().expect("temporary folders can be made");
        write(folder.path(), configuration);
        let process = Process::through(script, Stdio::null(), &args(folder.path()));
        Self::ready(process, folder).await
    }

    /// Starts one on a machine of a laboratory. Its admin listener is there, too.
    pub async fn start_on(host: &Host, configuration: &str) -> Self {
        let folder = TempDir::new().expect("temporary folders can be made");
        write(folder.path(), configuration);
        let script = format!("exec ip netns exec {} \"$@\"", host.name());
        let process = Process::through(&script, Stdio::null(), &args(folder.path()));
        Self::ready(process, folder).await
    }

    async fn ready(mut process: Process, folder: TempDir) -> Self {
        let ready = process.ready().await;
        let admin = Admin {
            address: address(&ready, "admin"),
        };
        Self {
            process,
            admin,
            folder,
            ready,
            successor: None,
        }
    }

    /// Where a listener is.
    ///
    /// # Panics
    /// When it had none of this name when it started.
    pub fn listener(&self, name: &str) -> SocketAddr {
        address(&self.ready, name)
    }

    /// Writes another configuration.
    pub fn configure(&self, configuration: &str) {
        write(self.folder.path(), configuration);
    }

    /// Serves by another configuration from now on.
    ///
    /// # Panics
    /// When it does not.
    pub async fn reload(&self, configuration: &str) {
        self.configure(configuration);
        let answer = self.admin.reload().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// Lets another process take its place; its id.
    ///
    /// # Panics
    /// When none does.
    pub async fn hand_over(&mut self) -> u32 {
        // Not a pipe: the successor would keep it open.
        let printed = self.folder.path().join("printed");
        let file = fs::File::create(&printed).expect("files can be made");
        let ready = self.folder.path().join("ready.json");
        let status = tokio::process::Command::new(binary::path())
            .args(["handover", "-c"])
            .arg(self.folder.path().join("l4.toml"))
            .arg("--ready-file")
            .arg(&ready)
            .stdout(file.try_clone().expect("it is open"))
            .stderr(file)
            .status()
            .await;
        let text = fs::read_to_string(&printed).expect("it was just made");
        assert!(status.expect("the binary starts").success(), "{text}");
        let ready = fs::read_to_string(ready).expect("a successor was ready");
        self.ready = serde_json::from_str(&ready).expect("it is JSON");
        self.admin.address = address(&self.ready, "admin");
        let id = self.ready["pid"].as_u64();
        let id = id.and_then(|id| u32::try_from(id).ok());
        self.successor = id;
        id.expect("a ready file has a process id")
    }

    /// The id of the process that serves.
    pub fn serving(&self) -> u32 {
        self.successor.unwrap_or_else(|| self.process.id())
    }

    /// Ends it, and starts another with the same folder.
    ///
    /// # Panics
    /// When one does not end, or the other does not become ready.
    pub async fn restart(&mut self) {
        self.process.signal(Signal::TERM);
        let status = self.process.ended(SOON).await;
        assert!(status.success(), "it ended with {status}");
        self.process = Process::start(&args(self.folder.path()), &[]);
        self.ready = self.process.ready().await;
        self.admin.address = address(&self.ready, "admin");
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

    /// How many connections of a listener have ended so.
    pub async fn ended(&self, listener: &str, ending: &str) -> f64 {
        let wanted =
            format!("tidegate_l4_ended_total{{ending=\"{ending}\",listener=\"{listener}\"}}");
        self.admin.metric(&wanted).await.unwrap_or(0.0)
    }

    /// Waits until so many connections of a listener have ended so.
    ///
    /// # Panics
    /// When they do not.
    pub async fn sees(&self, listener: &str, ending: &str, count: f64) {
        let what = format!("{count} connections of `{listener}` end with `{ending}`");
        eventually(&what, SOON, async || {
            (self.ended(listener, ending).await >= count).then_some(())
        })
        .await;
        let ended = self.ended(listener, ending).await;
        assert!((ended - count).abs() < 0.5, "{what}: {ended}");
    }

    /// Waits until so many connections are open.
    ///
    /// # Panics
    /// When it takes too long.
    pub async fn holds(&self, listener: &str, count: f64) {
        let open = format!("tidegate_l4_open{{listener=\"{listener}\"}}");
        eventually(&format!("{count} open"), SOON * 3, async || {
            let now = self.admin.metric(&open).await?;
            ((now - count).abs() < 0.5).then_some(())
        })
        .await;
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // It belongs to nobody: what has ended may have left its id to another process.
        let folder = self.folder.path().to_string_lossy().into_owned();
        if let Some(successor) = self.successor {
            let line = fs::read(format!("/proc/{successor}/cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&line).contains(&folder) {
                send(successor, Signal::KILL);
            }
        }
    }
}

/// A cluster of the configuration, with more of its keys.
pub fn cluster(name: &str, endpoints: &[(SocketAddr, u32)], keys: &str) -> String {
    let mut text = format!("[cluster.{name}]\n{keys}\nendpoints = [\n");
    for (address, weight) in endpoints {
        let _ = writeln!(text, "  {{ address = \"{address}\", weight = {weight} }},");
    }
    text + "]\n"
}

/// A listener of the configuration on a free port, with more of its keys.
pub fn listener(name: &str, keys: &str) -> String {
    format!("[[listener]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\n{keys}\n")
}

/// An endpoint that says its name to everybody at once, and remembers all that it gets.
#[derive(Debug)]
pub struct Recorder {
    /// Where it listens.
    pub address: SocketAddr,
    got: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Recorder {
    /// Starts one.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start(name: &str) -> Self {
        // Many come at once.
        let socket = TcpSocket::new_v4().expect("there are sockets");
        let free = "127.0.0.1:0".parse().expect("it is an address");
        socket.bind(free).expect("ports are free");
        let socket = socket.listen(4096).expect("it is bound");
        let address = socket.local_addr().expect("it is bound");
        let got: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let (name, kept) = (format!("{name}\n"), got.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = socket.accept().await {
                let (name, kept) = (name.clone(), kept.clone());
                tokio::spawn(async move {
                    let _ = stream.write_all(name.as_bytes()).await;
                    let mut all = Vec::new();
                    let _ = stream.read_to_end(&mut all).await;
                    kept.lock().expect("nobody panics with it").push(all);
                });
            }
        });
        Self { address, got }
    }

    /// Takes what it got over connections that have ended.
    ///
    /// # Panics
    /// Never: nothing panics with it.
    pub fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.got.lock().expect("nobody panics with it"))
    }

    /// Waits for what it gets over one connection.
    pub async fn taken(&self) -> Vec<u8> {
        eventually("a connection to the endpoint ends", SOON, async || {
            self.take().pop()
        })
        .await
    }
}

/// Sends these parts with a pause between them, ends its half, and reads the name of the endpoint, which says it first;
/// empty when the connection ended without one.
///
/// # Panics
/// When it is refused.
pub async fn introduce(to: SocketAddr, parts: &[&[u8]]) -> String {
    let mut stream = match TcpStream::connect(to).await {
        // It was so fast that the client has not even noticed that it was connected.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => return String::new(),
        stream => stream.expect("somebody listens"),
    };
    stream.set_nodelay(true).expect("it is a socket");
    for part in parts {
        if stream.write_all(part).await.is_err() {
            return String::new();
        }
        if parts.len() > 1 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    let _ = stream.shutdown().await;
    let mut name = String::new();
    let _ = stream.read_to_string(&mut name).await;
    name.trim().to_owned()
}

/// A ClientHello (RFC 8446, 4.1.2) with these extensions, in records of at most so many octets.
pub fn client_hello(extensions: &[(u16, Vec<u8>)], record: usize) -> Vec<u8> {
    let long = |length: usize| (length as u16).to_be_bytes();
    let mut all = Vec::new();
    for (kind, content) in extensions {
        all.extend(kind.to_be_bytes());
        all.extend(long(content.len()));
        all.extend(content);
    }
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    hello.push(32);
    hello.extend([9; 32]);
    hello.extend([0, 2, 0x13, 1, 1, 0]);
    hello.extend(long(all.len()));
    hello.extend(all);
    let mut message = vec![1, 0];
    message.extend(long(hello.len()));
    message.extend(hello);
    let records = message.chunks(record).flat_map(|chunk| {
        let mut one = vec![22, 3, 1];
        one.extend(long(chunk.len()));
        one.extend(chunk);
        one
    });
    records.collect()
}

/// The extension `server_name` (RFC 6066, 3).
pub fn sni(name: &str) -> (u16, Vec<u8>) {
    let long = |length: usize| (length as u16).to_be_bytes();
    let mut content = long(name.len() + 3).to_vec();
    content.push(0);
    content.extend(long(name.len()));
    content.extend(name.as_bytes());
    (0, content)
}

fn args(folder: &Path) -> [OsString; 3] {
    ["l4".into(), "-c".into(), folder.join("l4.toml").into()]
}

fn write(folder: &Path, configuration: &str) {
    let text = format!("admin = {{ address = \"127.0.0.1:0\" }}\n{configuration}");
    let unfinished = folder.join("l4.new");
    fs::write(&unfinished, text).expect("the folder can be written");
    fs::rename(unfinished, folder.join("l4.toml")).expect("they are in one folder");
}

/// An address in a ready file.
fn address(ready: &Value, name: &str) -> SocketAddr {
    let address = ready["addresses"][name].as_str();
    let address = address.unwrap_or_else(|| panic!("there is no {name} in {ready}"));
    address.parse().expect("it is an address")
}
