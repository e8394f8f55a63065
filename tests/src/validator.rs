//! Validators of other makes: delv, and unbound.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::question::ask_patiently;

/// The DS records of signed zones, as `tidegate dns keys ds` prints them.
///
/// # Panics
/// When the command fails.
pub fn ds_records(configuration: &Path) -> Vec<String> {
    let output = Command::new(crate::binary::path())
        .args(["dns", "keys", "ds", "-c"])
        .arg(configuration)
        .output()
        .expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{error}");
    let records = said.lines().filter(|line| !line.starts_with(';'));
    records.map(str::to_owned).collect()
}

/// What delv says of an answer that a server gives for a name below `anchor`, whose DS records are given.
///
/// # Panics
/// When it is not installed.
pub fn delv(server: SocketAddr, anchor: &str, ds: &[String], question: &[&str]) -> String {
    let folder = TempDir::new().expect("temporary folders can be made");
    let anchors = folder.path().join("anchors");
    let mut text = String::from("trust-anchors {\n");
    for record in ds.iter().filter(|record| record.starts_with(anchor)) {
        let words: Vec<&str> = record.split_whitespace().collect();
        let [zone, _, _, tag, algorithm, kind, digest] = words[..] else {
            panic!("{record} is no DS record")
        };
        text += &format!("{zone} static-ds {tag} {algorithm} {kind} \"{digest}\";\n");
    }
    fs::write(&anchors, text + "};\n").expect("the folder is new");
    let output = Command::new("delv")
        .arg(format!("@{}", server.ip()))
        .args(["-p", &server.port().to_string(), "-a"])
        .arg(&anchors)
        .args([&format!("+root={anchor}"), "+nomultiline"])
        .args(question)
        .output()
        .unwrap_or_else(|error| panic!("delv: {error}: make setup-tests"));
    let said = String::from_utf8_lossy(&output.stdout);
    said.into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The address of somebody between a server and its clients who changes octets in answers, over UDP.
///
/// # Panics
/// When there are no sockets.
pub fn changes(server: SocketAddr, from: &'static [u8], to: &'static [u8]) -> SocketAddr {
    let inside = UdpSocket::bind(("127.0.0.1", 0)).expect("a port is free");
    let address = inside.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        let outside = UdpSocket::bind(("127.0.0.1", 0)).expect("a port is free");
        let mut packet = [0; 4096];
        while let Ok((length, client)) = inside.recv_from(&mut packet) {
            let asked = outside.send_to(&packet[..length], server);
            let Ok(length) = asked.and_then(|_| outside.recv(&mut packet)) else {
                return;
            };
            let answer = &mut packet[..length];
            while let Some(at) = answer.windows(from.len()).position(|part| part == from) {
                answer[at..at + from.len()].copy_from_slice(to);
            }
            let _ = inside.send_to(answer, client);
        }
    });
    address
}

/// A resolver that validates.
#[derive(Debug)]
pub struct Unbound {
    /// Where it answers.
    pub address: SocketAddr,
    child: Child,
    _folder: TempDir,
}

impl Unbound {
    /// Starts one that asks `server` for names of these zones, and trusts these DS records of the first. The others are
    /// below that: referrals would lead to port 53.
    ///
    /// # Panics
    /// When it is not installed or does not answer.
    pub fn start(zones: &[&str], server: SocketAddr, ds: &[String]) -> Self {
        let folder = TempDir::new().expect("temporary folders can be made");
        let address = crate::name_server::free_for_both();
        let here = folder.path().display();
        let mut text = format!(
            "server:\n interface: {}\n port: {}\n do-daemonize: no\n username: \"\"\n chroot: \"\"\n directory: \"{here}\"\n \
             pidfile: \"\"\n use-syslog: no\n do-ip6: no\n do-not-query-localhost: no\n module-config: \"validator iterator\"\n \
             local-zone: \"test.\" nodefault\n aggressive-nsec: yes\n num-threads: 1\n cache-max-negative-ttl: 1\n \
             val-log-level: 2\n logfile: \"{here}/log\"\n",
            address.ip(),
            address.port()
        );
        for record in ds.iter().filter(|record| record.starts_with(zones[0])) {
            text += &format!(" trust-anchor: \"{record}\"\n");
        }
        for zone in zones {
            text += &format!(
                "stub-zone:\n name: \"{zone}\"\n stub-addr: {}@{}\n",
                server.ip(),
                server.port()
            );
        }
        text += "remote-control:\n control-enable: no\n";
        let configuration = folder.path().join("configuration");
        fs::write(&configuration, text).expect("the folder is new");
        let child = Command::new("/usr/sbin/unbound")
            .arg("-c")
            .arg(configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = child.unwrap_or_else(|error| panic!("unbound: {error}: make setup-tests"));
        let unbound = Self {
            address,
            child,
            _folder: folder,
        };
        ask_patiently(address, "version.server", "TXT");
        unbound
    }

    /// What `dig` says of its answer: with the flag `ad` when it is validated.
    ///
    /// # Panics
    /// When there is no `dig`.
    pub fn dig(&self, question: &[&str]) -> String {
        let output = Command::new("dig")
            .arg(format!("@{}", self.address.ip()))
            .args(["-p", &self.address.port().to_string(), "+adflag"])
            .args(question)
            .output()
            .unwrap_or_else(|error| panic!("dig: {error}: make setup-tests"));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        crate::process::send(self.child.id(), rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}
