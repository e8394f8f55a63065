//! The DNS server, and other servers with the same zones.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::admin::Admin;
use crate::eventually::SOON;
use crate::process::Process;
use crate::question::ask_patiently;

/// A running DNS server of ours.
#[derive(Debug)]
pub struct NameServer {
    /// Its process.
    pub process: Process,
    /// Its admin listener.
    pub admin: Admin,
    /// Where its listener `dns` is.
    pub address: SocketAddr,
    /// Its folder: `dns.toml`, and what the test puts there.
    pub folder: TempDir,
    /// What it said when it was ready.
    ready: Value,
}

impl NameServer {
    /// Starts one with a listener `dns`, and what the configuration holds beside it. `prepare` may put
    /// files into its folder.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start(configuration: &str, prepare: impl FnOnce(&Path)) -> Self {
        let folder = TempDir::new().expect("temporary folders can be made");
        prepare(folder.path());
        let file = folder.path().join("dns.toml");
        fs::write(&file, with_listener(configuration)).expect("the folder is new");
        let (process, ready) = run(folder.path()).await;
        Self {
            process,
            admin: Admin {
                address: address(&ready, "admin"),
            },
            address: address(&ready, "dns"),
            folder,
            ready,
        }
    }

    /// Where another of its listeners is.
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
        self.process.signal(rustix::process::Signal::TERM);
        let status = self.process.ended(SOON).await;
        assert!(status.success(), "it ended with {status}");
        (self.process, self.ready) = run(self.folder.path()).await;
        self.admin.address = address(&self.ready, "admin");
        self.address = address(&self.ready, "dns");
    }

    /// Lets another process take its place, which is the test's to end; its id.
    ///
    /// # Panics
    /// When none does.
    pub fn hand_over(&self) -> u32 {
        // Not a pipe: the successor would keep it open.
        let printed = self.folder.path().join("printed");
        let file = fs::File::create(&printed).expect("files can be made");
        let status = std::process::Command::new(crate::binary::path())
            .args(["handover", "-c"])
            .arg(self.folder.path().join("dns.toml"))
            .stdout(file)
            .stderr(std::process::Stdio::null())
            .status();
        let text = fs::read_to_string(&printed).expect("it was just made");
        assert!(status.expect("the binary starts").success(), "{text}");
        let successor = text.split_whitespace().nth(1);
        let successor = successor.and_then(|id| id.parse().ok());
        successor.unwrap_or_else(|| panic!("{text}"))
    }

    /// Writes another configuration, with the same listener.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn configure(&self, configuration: &str) {
        let unfinished = self.folder.path().join("dns.new");
        fs::write(&unfinished, with_listener(configuration)).expect("it can be written");
        fs::rename(unfinished, self.folder.path().join("dns.toml"))
            .expect("they are in one folder");
    }
}

/// Starts the server of a folder.
async fn run(folder: &Path) -> (Process, Value) {
    let args = ["dns".into(), "-c".into(), folder.join("dns.toml").into()];
    let mut process = Process::start(&args, &[]);
    let ready = process.ready().await;
    (process, ready)
}

fn with_listener(configuration: &str) -> String {
    format!(
        "admin = {{ address = \"127.0.0.1:0\" }}\n{configuration}\n[[listener]]\nname = \"dns\"\naddress = \"127.0.0.1:0\"\n"
    )
}

/// An address in a ready file.
fn address(ready: &Value, name: &str) -> SocketAddr {
    let address = ready["addresses"][name].as_str();
    let address = address.unwrap_or_else(|| panic!("there is no {name} in {ready}"));
    address.parse().expect("it is an address")
}

/// A zone with its name server and an address, `www`.
pub const ZONE: &str = r#"
[[zone]]
name = "example.test"
ns = ["ns1"]
soa = { serial = 1 }

[[zone.record]]
name = "ns1"
type = "A"
values = ["192.0.2.53"]

[[zone.record]]
name = "www"
type = "A"
values = ["192.0.2.1"]
"#;

/// What a client such as `dig` prints when it asks a server.
///
/// # Panics
/// When it is not installed.
pub fn said(program: &str, server: SocketAddr, args: &[&str]) -> String {
    let output = Command::new(program)
        .arg(format!("@{}", server.ip()))
        .args(["-p", &server.port().to_string()])
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}: make setup-tests"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What NSD signs cookies with.
pub const COOKIE_SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";

/// A DNS server of another make.
#[derive(Debug)]
pub struct Peer {
    /// Where it answers.
    pub address: SocketAddr,
    child: Child,
    folder: TempDir,
}

impl Peer {
    /// Starts NSD with a zone file.
    ///
    /// # Panics
    /// When it is not installed or does not answer.
    pub fn nsd(zone: &str, text: &str) -> Self {
        Self::nsd_at(free_for_both(), zone, text)
    }

    /// Starts NSD with a zone file at an address.
    ///
    /// # Panics
    /// When it is not installed or does not answer.
    pub fn nsd_at(address: SocketAddr, zone: &str, text: &str) -> Self {
        Self::start(address, "nsd", zone, text, |folder, address| {
            let configuration = format!(
                "server:\n ip-address: {}@{}\n do-ip6: no\n username: \"\"\n chroot: \"\"\n zonesdir: \"{folder}\"\n \
                 database: \"\"\n pidfile: \"{folder}/pid\"\n xfrdfile: \"{folder}/xfrd\"\n xfrdir: \"{folder}\"\n \
                 zonelistfile: \"{folder}/list\"\n answer-cookie: yes\n cookie-secret: \"{COOKIE_SECRET}\"\n \
                 cookie-secret-file: \"{folder}/cookies\"\n server-count: 1\n \
                 minimal-responses: yes\n rrl-ratelimit: 0\nremote-control:\n control-enable: no\n\
                 zone:\n name: \"{zone}\"\n zonefile: \"zone\"\n",
                address.ip(),
                address.port()
            );
            (
                configuration,
                vec!["-d".into(), "-c".into(), format!("{folder}/configuration")],
            )
        })
    }

    /// Starts Knot with a zone file.
    ///
    /// # Panics
    /// When it is not installed or does not answer.
    pub fn knot(zone: &str, text: &str) -> Self {
        Self::start(free_for_both(), "knotd", zone, text, |folder, address| {
            let configuration = format!(
                "server:\n  rundir: \"{folder}\"\n  listen: {}@{}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
                 database:\n  storage: \"{folder}\"\n\
                 template:\n  - id: default\n    storage: \"{folder}\"\n    semantic-checks: off\n    journal-content: none\n\
                 zone:\n  - domain: {zone}\n    file: zone\n",
                address.ip(),
                address.port()
            );
            (
                configuration,
                vec!["-c".into(), format!("{folder}/configuration")],
            )
        })
    }

    /// Starts Knot at an address, with sections before `zone`, and lines of the zone.
    ///
    /// # Panics
    /// When it is not installed or does not answer.
    pub fn knot_with(
        address: SocketAddr,
        zone: &str,
        text: &str,
        sections: &str,
        lines: &str,
    ) -> Self {
        Self::start(address, "knotd", zone, text, |folder, address| {
            let configuration = format!(
                "server:\n  rundir: \"{folder}\"\n  listen: {}@{}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
                 database:\n  storage: \"{folder}\"\n{sections}\
                 template:\n  - id: default\n    storage: \"{folder}\"\n    semantic-checks: off\n\
                 zone:\n  - domain: {zone}\n{lines}",
                address.ip(),
                address.port()
            );
            (
                configuration,
                vec!["-c".into(), format!("{folder}/configuration")],
            )
        })
    }

    /// Starts NSD at an address, with sections before `zone`, and lines of the zone.
    ///
    /// # Panics
    /// When it is not installed or does not answer.
    pub fn nsd_with(address: SocketAddr, zone: &str, sections: &str, lines: &str) -> Self {
        Self::start(address, "nsd", zone, "", |folder, address| {
            let configuration = format!(
                "server:\n ip-address: {}@{}\n do-ip6: no\n username: \"\"\n chroot: \"\"\n zonesdir: \"{folder}\"\n \
                 database: \"\"\n pidfile: \"{folder}/pid\"\n xfrdfile: \"{folder}/xfrd\"\n xfrdir: \"{folder}\"\n \
                 zonelistfile: \"{folder}/list\"\n cookie-secret-file: \"{folder}/cookies\"\n server-count: 1\n \
                 xfrd-reload-timeout: 0\n rrl-ratelimit: 0\nremote-control:\n control-enable: no\n{sections}\
                 zone:\n name: \"{zone}\"\n zonefile: \"copy\"\n{lines}",
                address.ip(),
                address.port()
            );
            (
                configuration,
                vec!["-d".into(), "-c".into(), format!("{folder}/configuration")],
            )
        })
    }

    /// Gives it another zone file, and has it read that.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn rewrite(&self, text: &str) {
        fs::write(self.folder.path().join("zone"), text).expect("the folder is there");
        crate::process::send(self.child.id(), rustix::process::Signal::HUP);
    }

    fn start(
        address: SocketAddr,
        program: &str,
        zone: &str,
        text: &str,
        configure: impl FnOnce(&str, SocketAddr) -> (String, Vec<String>),
    ) -> Self {
        let folder = TempDir::new().expect("temporary folders can be made");
        let here = folder.path().display().to_string();
        let (configuration, args) = configure(&here, address);
        fs::write(folder.path().join("zone"), text).expect("the folder is new");
        fs::write(folder.path().join("configuration"), configuration).expect("the folder is new");
        let sbin = Path::new("/usr/sbin").join(program);
        let child = Command::new(sbin)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = child.unwrap_or_else(|error| panic!("{program}: {error}: make setup-tests"));
        let peer = Self {
            address,
            child,
            folder,
        };
        ask_patiently(address, zone, "SOA");
        peer
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // A server with processes of its own ends them when it is asked to end.
        crate::process::send(self.child.id(), rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

/// An address that is free for UDP and TCP, and that nobody gets who asks for any port.
///
/// # Panics
/// When there are no sockets.
pub fn free_for_both() -> SocketAddr {
    loop {
        // Whoever has port 0 gets one above 32767.
        let port = 10_000 + (RandomState::new().hash_one(()) % 22_000) as u16;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}
