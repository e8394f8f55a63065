//! A laboratory whose balancer runs the real binary with listeners of mode `nat`, and a server on every endpoint.

use std::fmt::Write;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::process::{Output, Stdio};

use rustix::net::{Shutdown, shutdown};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::binary;
use crate::byte_peers::{Client, Server};
use crate::lab::{Lab, VIP, VIP6};
use crate::process::{Process, send};

/// The laboratory, its servers `e1`, `e2`..., and its balancer.
#[derive(Debug)]
pub struct NatSite {
    /// The network.
    pub lab: Lab,
    /// On every endpoint.
    pub servers: Vec<Server>,
    /// None while no balancer runs.
    pub balancer: Option<Process>,
    /// It is nobody's child.
    successor: Option<u32>,
    options: String,
    scheduler: &'static str,
    folder: TempDir,
    /// What the checks of endpoints connect to; none where they are refused.
    probes: Vec<Option<TcpListener>>,
}

impl NatSite {
    /// So many endpoints, and these options in `[nat]`. No balancer runs.
    ///
    /// # Panics
    /// When the tests are not run by root.
    pub fn new(endpoints: u8, options: &str) -> Self {
        let lab = Lab::routed(endpoints);
        let servers = lab.endpoints().iter().zip(1..).map(|(host, number)| {
            let all = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 80);
            Server::start(host, &format!("e{number}"), all)
        });
        let servers = servers.collect();
        let probes = lab.endpoints().iter().map(|_| None).collect();
        let mut site = Self {
            lab,
            servers,
            balancer: None,
            successor: None,
            options: options.to_owned(),
            scheduler: "maglev",
            folder: TempDir::new().expect("temporary folders can be made"),
            probes,
        };
        for endpoint in 0..site.probes.len() {
            site.revive(endpoint);
        }
        site
    }

    /// With another scheduler.
    #[must_use]
    pub fn scheduled(mut self, scheduler: &'static str) -> Self {
        self.scheduler = scheduler;
        self
    }

    /// With a balancer that gives endpoints these weights; those beyond the list are not in the cluster.
    pub async fn balanced(mut self, weights: &[u32]) -> Self {
        self.write(&configured(weights));
        self.start().await;
        self
    }

    /// Starts a balancer with the configuration that there is.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start(&mut self) {
        let mut process = self.process(&["l4"]);
        process.ready().await;
        self.balancer = Some(process);
    }

    /// A process of the binary on the balancer, with this configuration.
    pub fn process(&self, words: &[&str]) -> Process {
        let args = words.iter().map(|word| (*word).into());
        let file = self.folder.path().join("l4.toml");
        let args: Vec<_> = args.chain(["--config".into(), file.into()]).collect();
        let script = format!("exec ip netns exec {} \"$@\"", self.lab.balancer().name());
        Process::through(&script, Stdio::null(), &args)
    }

    /// Runs a subcommand on the balancer to the end, with this configuration.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, words: &str) -> String {
        let (binary, folder) = (binary::path(), self.folder.path());
        let (binary, folder) = (binary.display(), folder.display());
        let balancer = self.lab.balancer();
        balancer.run(&format!("{binary} {words} --config {folder}/l4.toml"))
    }

    /// Runs a subcommand on the balancer to an end that may be a failure, with this configuration.
    pub fn attempt(&self, words: &str) -> Output {
        let (binary, folder) = (binary::path(), self.folder.path());
        let (binary, folder) = (binary.display(), folder.display());
        let balancer = self.lab.balancer();
        balancer.attempt(&format!("{binary} {words} --config {folder}/l4.toml"))
    }

    /// Has another process take the balancer's place, with the configuration that there is.
    ///
    /// # Panics
    /// When none does.
    pub fn hand_over(&mut self) {
        let folder = self.folder.path();
        let (ready, file) = (folder.join("successor.json"), folder.join("l4.toml"));
        let log =
            || File::create(folder.join("successor.log")).expect("the folder can be written to");
        let binary = binary::path().to_string_lossy().into_owned();
        let mut command = self.lab.balancer().command(&binary);
        command
            .arg("handover")
            .arg("--config")
            .arg(file)
            .arg("--ready-file")
            .arg(&ready);
        // To files: the successor keeps them.
        let status = command.stdout(log()).stderr(log()).status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "nobody took over"
        );
        let ready = fs::read(ready).expect("the successor is ready");
        let ready: Value = serde_json::from_slice(&ready).expect("it is JSON");
        self.successor = ready["pid"].as_u64().and_then(|id| id.try_into().ok());
    }

    /// Has other options in `[nat]` from the next time on that a configuration is written.
    pub fn options(&mut self, options: &str) {
        options.clone_into(&mut self.options);
    }

    /// Writes a configuration in which endpoints of these numbers, from 0, have these weights.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, members: &[(usize, u32)]) {
        self.write_only(members, &["tcp", "udp"]);
    }

    /// The same, with services of these protocols alone.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write_only(&self, members: &[(usize, u32)], protocols: &[&str]) {
        let folder = self.folder.path();
        let mut text = format!(
            "handover = {{ socket = {:?} }}\n[admin]\naddress = \"{ADMIN}\"\n\
             [check.probe]\ntcp = {{}}\ninterval = \"100ms\"\nfall = 1\nrise = 1\ndamping = false\n[nat]\n{}\n",
            folder.join("door"),
            self.options
        );
        for (v6, cluster) in [(false, "four"), (true, "six")] {
            let to = vip(v6);
            for protocol in protocols {
                let _ = write!(
                    text,
                    "[[listener]]\nname = \"{protocol}-{cluster}\"\naddress = \"{to}\"\nmode = \"nat\"\n\
                     protocol = \"{protocol}\"\ncluster = \"{cluster}\"\n"
                );
            }
            let (scheduler, endpoints) = (self.scheduler, self.endpoints(members, v6));
            let _ = write!(
                text,
                "[cluster.{cluster}]\nscheduler = \"{scheduler}\"\ncheck = \"probe\"\nendpoints = [{endpoints}]\n"
            );
        }
        fs::write(folder.join("l4.toml"), text).expect("the folder can be written to");
    }

    fn endpoints(&self, members: &[(usize, u32)], v6: bool) -> String {
        let endpoint = |(at, weight): &(usize, u32)| {
            let host = &self.lab.endpoints()[*at];
            let own = if v6 { host.address6() } else { host.address() };
            let probe = SocketAddr::new(host.address(), PROBE);
            let address = SocketAddr::new(own, 80);
            format!("{{ address = \"{address}\", probe = \"{probe}\", weight = {weight} }}")
        };
        let endpoints: Vec<_> = members.iter().map(endpoint).collect();
        endpoints.join(", ")
    }

    /// Writes weights as [`Self::balanced`] does, and reloads.
    ///
    /// # Panics
    /// When the balancer does not take them.
    pub fn reweigh(&self, weights: &[u32]) {
        self.write(&configured(weights));
        self.reload();
    }

    /// Reloads what there is.
    ///
    /// # Panics
    /// When the balancer does not take it.
    pub fn reload(&self) {
        let answer = self.admin("-X POST", "/reload");
        assert!(
            answer.contains("\"ok\"") || !answer.contains("error"),
            "{answer}"
        );
    }

    /// What the admin listener answers.
    pub fn admin(&self, how: &str, path: &str) -> String {
        let balancer = self.lab.balancer();
        balancer.run(&format!("curl -s {how} http://{ADMIN}{path}"))
    }

    /// The sum of all series of a metric that have this in their labels.
    pub fn metric(&self, name: &str, label: &str) -> u64 {
        let text = self.admin("", "/metrics");
        let lines = text
            .lines()
            .filter(|line| line.starts_with(name) && line.contains(label));
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum::<f64>() as u64
    }

    /// Has the checks of an endpoint fail, from 0. It still serves.
    pub fn kill(&mut self, endpoint: usize) {
        if let Some(probe) = self.probes[endpoint].take() {
            // Ends the thread that accepts, too.
            let _ = shutdown(&probe, Shutdown::Both);
        }
    }

    /// Has the checks of an endpoint succeed again.
    ///
    /// # Panics
    /// When its port is in use.
    pub fn revive(&mut self, endpoint: usize) {
        let host = &self.lab.endpoints()[endpoint];
        let address = SocketAddr::new(host.address(), PROBE);
        let probe = host.on(move || TcpListener::bind(address));
        let probe = probe.expect("nobody else is there");
        let accepting = probe.try_clone().expect("there are descriptors");
        std::thread::spawn(move || while accepting.accept().is_ok() {});
        self.probes[endpoint] = Some(probe);
    }

    /// A connection to the service.
    ///
    /// # Panics
    /// When there is none.
    pub fn client(&self) -> Client {
        let client = Client::connect(self.lab.client(), vip(false));
        client.expect("the service takes connections")
    }

    /// A connection to the service over IPv6.
    ///
    /// # Panics
    /// When there is none.
    pub fn client6(&self) -> Client {
        let client = Client::connect(self.lab.client(), vip(true));
        client.expect("the service takes connections")
    }

    /// Whether connections are refused at once.
    pub fn refuses(&self) -> bool {
        let refused = std::io::ErrorKind::ConnectionRefused;
        let outcome = Client::connect(self.lab.client(), vip(false));
        outcome.is_err_and(|error| error.kind() == refused)
    }
}

impl Drop for NatSite {
    fn drop(&mut self) {
        if let Some(successor) = self.successor {
            send(successor, Signal::KILL);
        }
    }
}

/// The address that clients use.
pub fn vip(v6: bool) -> SocketAddr {
    let ip: IpAddr = if v6 { VIP6.into() } else { VIP.into() };
    SocketAddr::new(ip, 443)
}

fn configured(weights: &[u32]) -> Vec<(usize, u32)> {
    weights.iter().copied().enumerate().collect()
}

const ADMIN: &str = "127.0.0.1:9904";
const PROBE: u16 = 81;
