//! A real ACME authority: Pebble, with a DNS that says that every name is on this machine.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rcgen::{CertificateParams, KeyPair};
use reqwest::Certificate;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::client;
use crate::eventually::{SOON, eventually};
use crate::nginx::free_address;

/// A running Pebble.
#[derive(Debug)]
pub struct Pebble {
    /// Where it asks for `http-01` challenges, whatever the name.
    pub http: SocketAddr,
    /// Where it asks for `tls-alpn-01` challenges, whatever the name.
    pub tls: SocketAddr,
    address: SocketAddr,
    management: SocketAddr,
    dns: SocketAddr,
    folder: TempDir,
    /// Pebble and its DNS; none while it is down.
    children: Vec<Child>,
}

impl Pebble {
    /// Starts one with more settings than the addresses.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    pub async fn start(settings: &Value) -> Self {
        let folder = TempDir::new().expect("temporary folders can be made");
        let [http, tls, address, management, dns] = [(); 5].map(|()| free_address());
        let key = KeyPair::generate().expect("keys can be made");
        let certificate = CertificateParams::new(["127.0.0.1".to_owned()])
            .and_then(|params| params.self_signed(&key))
            .expect("certificates can be made");
        let mut pebble = json!({
            "listenAddress": address.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": "cert.pem",
            "privateKey": "key.pem",
            "httpPort": http.port(),
            "tlsPort": tls.port(),
        });
        if let (Some(all), Some(more)) = (pebble.as_object_mut(), settings.as_object()) {
            all.extend(more.clone());
        }
        let configuration = json!({ "pebble": pebble }).to_string();
        for (name, text) in [
            ("cert.pem", certificate.pem()),
            ("key.pem", key.serialize_pem()),
            ("pebble.json", configuration),
        ] {
            fs::write(folder.path().join(name), text).expect("the folder is new");
        }
        let mut pebble = Self {
            http,
            tls,
            address,
            management,
            dns,
            folder,
            children: Vec::new(),
        };
        pebble.come_back().await;
        pebble
    }

    /// Starts it again. It remembers nothing, and issues below another root.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn come_back(&mut self) {
        let dns = self.dns.to_string();
        let dns_only = ["-http01", "", "-https01", "", "-tlsalpn01", ""];
        let mut names = self.command("pebble-challtestsrv");
        names.args(dns_only).args(["-defaultIPv6", ""]);
        names.args(["-management", &free_address().to_string(), "-dns01", &dns]);
        let mut pebble = self.command("pebble");
        pebble.args(["-config", "pebble.json", "-dnsserver", &dns]);
        pebble.env("PEBBLE_VA_NOSLEEP", "1");
        for mut command in [names, pebble] {
            let child = command.spawn();
            self.children
                .push(child.expect("pebble is installed: make setup-tests"));
        }
        eventually("pebble listens", SOON, async || {
            for child in &mut self.children {
                if let Ok(Some(status)) = child.try_wait() {
                    panic!("pebble ended with {status}");
                }
            }
            TcpStream::connect(self.address).ok()?;
            TcpStream::connect(self.management).ok()
        })
        .await;
    }

    /// Goes down at once.
    pub fn die(&mut self) {
        for mut child in self.children.drain(..) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The URL of its directory.
    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.address)
    }

    /// The file with the certificate of its own listener.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// The root of the certificates that it issues, in PEM, until it goes down.
    ///
    /// # Panics
    /// When it is down.
    pub async fn root(&self) -> Vec<u8> {
        let own = fs::read(self.certificate()).expect("it was written at the start");
        let own = Certificate::from_pem(&own).expect("it is a certificate");
        let client = client().tls_certs_only([own]).build();
        let client = client.expect("the client's settings are sound");
        let url = format!("https://{}/roots/0", self.management);
        let answer = client.get(url).send().await.expect("pebble answers");
        answer.bytes().await.expect("pebble answers").to_vec()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("pebble.log")).unwrap_or_default()
    }

    fn command(&self, program: &str) -> Command {
        let log = self.folder.path().join(format!("{program}.log"));
        let log = File::options().append(true).create(true).open(log);
        let log = log.expect("files can be written in a new folder");
        let errors = log.try_clone().expect("descriptors are left");
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.stdout(log).stderr(errors);
        command
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- pebble\n{}", self.log());
        }
        self.die();
    }
}
