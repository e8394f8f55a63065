//! A balancer in a laboratory whose listeners have the mode `dr`: a TCP and a UDP one on port 80 of the service's address.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::admin::Admin;
use crate::binary;
use crate::byte_peers::{Client, Server, ask};
use crate::lab::{Host, Lab, SEGMENT_VIP};
use crate::process::Process;

/// The port of the service.
const PORT: u16 = 80;

/// A program that leaves all packets to the kernel.
const PASS: &str = r#"
__attribute__((section("xdp"), used)) int pass(void *packet) { return 2; }
__attribute__((section("license"), used)) char license_of_it[] = "GPL";
"#;

/// The laboratory, a server on each endpoint, and the balancer.
#[derive(Debug)]
pub struct DrSite {
    /// The balancer's process, while there is one.
    pub process: Option<Process>,
    /// The machines.
    pub lab: Lab,
    /// The service, as it is on each endpoint; called `e1` and so on.
    pub servers: Vec<Server>,
    vips: Vec<IpAddr>,
    interfaces: &'static str,
    attach: &'static str,
    /// More of `[dr]`, in lines.
    pub options: &'static str,
    folder: TempDir,
}

impl DrSite {
    /// All on one Ethernet, prepared for a program that is attached this way; the balancer does not run yet.
    ///
    /// # Panics
    /// When the laboratory cannot be made, as everywhere here.
    pub fn segment(endpoints: u8, attach: &'static str) -> Self {
        let lab = Lab::segment(endpoints);
        let site = Self::new(lab, vec![SEGMENT_VIP.into()], "eth0", attach);
        if attach == "native" {
            site.behave_as_cards();
        }
        site
    }

    /// Lets virtual wires do what cards do: whole checksums, and a peer that polls, which one with a program does.
    fn behave_as_cards(&self) {
        self.lab.client().run("ethtool -K eth0 tx off");
        let (source, program) = (
            self.folder.path().join("pass.c"),
            self.folder.path().join("pass.o"),
        );
        fs::write(&source, PASS).expect("the folder is there");
        let mut clang = Command::new("clang");
        clang
            .args(["-O2", "-target", "bpf", "-c", "-o"])
            .arg(&program)
            .arg(&source);
        run(&mut clang);
        let program = program.display();
        self.lab
            .wire()
            .run(&format!("ip link set dev b xdp obj {program} section xdp"));
    }

    /// A laboratory whose endpoints have these addresses on their loopback.
    ///
    /// # Panics
    /// When there is no BPF file system.
    pub fn new(
        lab: Lab,
        vips: Vec<IpAddr>,
        interfaces: &'static str,
        attach: &'static str,
    ) -> Self {
        let folder = TempDir::new().expect("temporary folders can be made");
        let bpf = folder.path().join("bpf");
        fs::create_dir(&bpf).expect("folders can be made in a new folder");
        // That of the machine is not seen in a namespace of networks.
        let bpf = bpf.to_string_lossy();
        run(Command::new("mount").args(["-t", "bpf", "bpf", &*bpf]));
        let mut servers = Vec::new();
        for (at, host) in lab.endpoints().iter().enumerate() {
            let name = format!("e{}", at + 1);
            for vip in &vips {
                servers.push(Server::start(host, &name, SocketAddr::new(*vip, PORT)));
            }
            // For the checks.
            Server::start(host, &name, SocketAddr::new(host.address(), PORT));
        }
        Self {
            process: None,
            lab,
            servers,
            vips,
            interfaces,
            attach,
            options: "",
            folder,
        }
    }

    /// Starts the balancer with endpoints of these weights, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become so.
    pub fn start(&mut self, weights: &[u32]) {
        self.write(weights);
        let mut process = self.spawn();
        block_on(process.ready());
        self.process = Some(process);
    }

    /// Replaces all endpoints by one, from 0, that is not checked, and waits until that is in force.
    ///
    /// # Panics
    /// When the balancer refuses.
    pub fn reload_to(&mut self, endpoint: usize) {
        self.write_only(&[(endpoint, 1)], "");
        self.reload_what_is_there();
    }

    /// Starts the balancer with the configuration as it is.
    pub fn spawn(&self) -> Process {
        let enter = format!("exec ip netns exec {} \"$@\"", self.lab.balancer().name());
        let args: [OsString; 3] = ["l4".into(), "-c".into(), self.config().into()];
        Process::through(&enter, Stdio::null(), &args)
    }

    /// Replaces the weights, and waits until they are in force.
    ///
    /// # Panics
    /// When the balancer refuses.
    pub fn reload(&mut self, weights: &[u32]) {
        self.write(weights);
        self.reload_what_is_there();
    }

    fn reload_what_is_there(&self) {
        let admin = self.admin();
        let answer = self.in_balancer(move || block_on(admin.reload()));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// Has a new process take the balancer's place; it then runs on its own. Its process id.
    ///
    /// # Panics
    /// When it does not.
    pub fn hand_over(&self) -> u32 {
        let (ready, said) = ("successor.json", "handover.said");
        let said = self.folder.path().join(said);
        let file = File::create(&said).expect("the folder is there");
        let mut command = self.binary(&["handover", "-c"]);
        command.arg(self.config());
        command
            .arg("--ready-file")
            .arg(self.folder.path().join(ready));
        // Not a pipe: the successor has it too, and keeps it.
        let errors = file.try_clone().expect("there are descriptors left");
        let status = command.stdout(file).stderr(errors).status();
        let text = fs::read_to_string(said).expect("the folder is there");
        assert!(status.is_ok_and(|status| status.success()), "{text}");
        let line = text.lines().find(|line| line.starts_with("process "));
        let id = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        id.expect("it names the process")
    }

    /// Stops the balancer with a signal, and waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    pub fn stop(&mut self, signal: Signal) {
        let mut process = self.process.take().expect("it runs");
        process.signal(signal);
        block_on(process.ended(Duration::from_secs(10)));
    }

    /// Runs a command of the binary on the balancer, to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn tidegate(&self, args: &[&str]) -> Output {
        let output = self.binary(args).arg(self.config()).output();
        output.expect("there is `ip` (package iproute2)")
    }

    /// A metric of the balancer; 0 when there is none.
    pub fn metric(&self, wanted: &str) -> f64 {
        let (admin, wanted) = (self.admin(), wanted.to_owned());
        let metric = self.in_balancer(move || block_on(admin.metric(&wanted)));
        metric.unwrap_or(0.0)
    }

    /// The address of the service.
    pub fn service(&self) -> SocketAddr {
        SocketAddr::new(self.vips[0], PORT)
    }

    /// A connection of the client to the service.
    ///
    /// # Panics
    /// When there is none.
    pub fn connect(&self) -> Client {
        let connected = Client::connect(self.lab.client(), self.service());
        connected.expect("the service is there")
    }

    /// Which endpoint answers a datagram from each of these ports.
    ///
    /// # Panics
    /// When none does.
    pub fn owners(&self, ports: impl Iterator<Item = u16> + Send + 'static) -> Vec<u8> {
        let (from, to) = (self.lab.client().address(), self.service());
        self.lab.client().on(move || {
            let owner = |port| {
                let socket = UdpSocket::bind((from, port)).expect("the port is free");
                // On a busy machine a datagram may be lost where it is received.
                let answer = (0..3).find_map(|_| ask(&socket, to, b"whose").ok());
                let (name, seen, _) =
                    answer.unwrap_or_else(|| panic!("nobody answers port {port}"));
                assert_eq!(
                    seen,
                    SocketAddr::new(from, port),
                    "the client's own address"
                );
                name[1..].parse().expect("e1, e2 ...")
            };
            ports.map(owner).collect()
        })
    }

    /// Time on processors that the balancer's process has used, in user and kernel mode.
    ///
    /// # Panics
    /// When it does not run.
    pub fn used(&self) -> Duration {
        let id = self.process.as_ref().expect("it runs").id();
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).expect("it runs");
        let (_, fields) = stat.rsplit_once(") ").expect("proc(5)");
        let mut fields = fields.split(' ').skip(11).map(|field| field.parse::<u64>());
        let mut ticks = || fields.next().and_then(Result::ok).expect("proc(5)");
        Duration::from_millis((ticks() + ticks()) * 10)
    }

    /// Where the kernel keeps the program.
    pub fn pins(&self) -> PathBuf {
        self.folder.path().join("bpf/dr")
    }

    fn write(&self, weights: &[u32]) {
        let members: Vec<_> = weights.iter().copied().enumerate().collect();
        self.write_only(&members, "check = \"connects\"");
    }

    fn write_only(&self, members: &[(usize, u32)], check: &str) {
        let endpoints = members.iter().map(|(at, weight)| {
            let address = SocketAddr::new(self.lab.endpoints()[*at].address(), PORT);
            format!("{{ address = \"{address}\", weight = {weight} }}")
        });
        let endpoints: Vec<_> = endpoints.collect();
        let mut text = format!(
            r#"[admin]
address = "127.0.0.1:9904"

[handover]
socket = "{folder}/handover.sock"

[dr]
interfaces = ["{interfaces}"]
attach = "{attach}"
pins = "{pins}"
{options}

[check.connects]
tcp = {{}}
interval = "100ms"
timeout = "400ms"

[cluster.web]
scheduler = "maglev"
{check}
endpoints = [{endpoints}]
"#,
            folder = self.folder.path().display(),
            interfaces = self.interfaces,
            attach = self.attach,
            pins = self.pins().display(),
            options = self.options,
            endpoints = endpoints.join(", "),
        );
        for (at, vip) in self.vips.iter().enumerate() {
            let address = SocketAddr::new(*vip, PORT);
            for protocol in ["tcp", "udp"] {
                text += &format!(
                    r#"
[[listener]]
name = "{protocol}{at}"
address = "{address}"
mode = "dr"
protocol = "{protocol}"
cluster = "web"
"#
                );
            }
        }
        fs::write(self.config(), text).expect("the folder is there");
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("l4.toml")
    }

    fn admin(&self) -> Admin {
        let address = SocketAddr::from(([127, 0, 0, 1], 9904));
        Admin { address }
    }

    fn in_balancer<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.lab.balancer().on(work)
    }

    fn binary(&self, args: &[&str]) -> Command {
        let path = binary::path();
        let mut command = self.lab.balancer().command(&path.to_string_lossy());
        command.args(args);
        command
    }
}

impl Drop for DrSite {
    fn drop(&mut self) {
        drop(self.process.take());
        let bpf = self.folder.path().join("bpf");
        let _ = Command::new("umount").arg("--lazy").arg(bpf).status();
    }
}

/// Waits for something, asking again and again.
///
/// # Panics
/// When it does not come about within ten seconds.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < deadline, "not within 10 seconds: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Puts addresses on a machine's loopback: it answers for them, but says so to nobody.
pub fn have_quietly(host: &Host, addresses: &[IpAddr]) {
    host.run("sysctl -q -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2");
    for address in addresses {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        host.run(&format!("ip address add {address}/{bits} dev lo"));
    }
}

/// Whether the folder has something with this beginning.
pub fn has(folder: &Path, prefix: &str) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name())
        .any(|name| name.to_string_lossy().starts_with(prefix))
}

fn run(command: &mut Command) -> Output {
    let output = command.output().expect("it can be started");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    output
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime can be made").block_on(work)
}
