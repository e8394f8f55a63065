//! A laboratory of network namespaces: a client, a balancer and endpoints, with kernels' networks of their own.
//!
//! ```text
//! routed:   client 198.51.100.2 -- .1 balancer .1 -- 10.0.N.2 endpoint N      (N from 1; default routes over the balancer)
//!                  fd00:100::2  -- ::1          -- fd00:N::2
//! segment:  client 10.9.0.2, balancer 10.9.0.1, endpoints 10.9.0.(10 + N): one Ethernet, a bridge in a namespace of its own
//! ```
//!
//! The service's address is [`VIP`] or [`VIP6`]; in the segment [`SEGMENT_VIP`]. Only root may make namespaces. Names have the
//! process's id and a number, so that laboratories stand beside each other; namespaces go when their machine is dropped,
//! and those of tests that were killed go when the next one begins.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The address of the service in a routed laboratory; the balancer has it.
pub const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

/// The same of IPv6.
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x999, 0, 0, 0, 0, 0, 1);

/// The address of the service in a segment; the balancer has it, and every endpoint on its loopback, without ARP.
pub const SEGMENT_VIP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 100);

/// A machine of the laboratory: a network namespace.
#[derive(Debug)]
pub struct Host {
    name: String,
    address: Ipv4Addr,
    address6: Option<Ipv6Addr>,
}

impl Host {
    fn new(name: String, address: Ipv4Addr, address6: Option<Ipv6Addr>) -> Self {
        ip(&["netns", "add", &name]);
        let host = Self {
            name,
            address,
            address6,
        };
        host.run("ip link set lo up");
        // Nobody else has an address here; the search for duplicates takes seconds.
        host.run("sysctl -q -w net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0");
        host
    }

    /// The name of its namespace, for `ip netns exec`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    pub fn address(&self) -> IpAddr {
        self.address.into()
    }

    /// Its address of IPv6; a segment has none.
    ///
    /// # Panics
    /// In a segment.
    pub fn address6(&self) -> IpAddr {
        let address = self.address6.expect("routed laboratories have IPv6");
        address.into()
    }

    /// A program that is to run on it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command.stdin(Stdio::null());
        command
    }

    /// Runs words on it to the end; what they printed.
    ///
    /// # Panics
    /// When they fail.
    pub fn run(&self, words: &str) -> String {
        let output = self.attempt(words);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {words}: {stderr}", self.name);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs words on it to the end, whatever comes of it.
    ///
    /// # Panics
    /// When they cannot be started.
    pub fn attempt(&self, words: &str) -> Output {
        let mut words = words.split_whitespace();
        let program = words.next().expect("a command has words");
        let output = self.command(program).args(words).output();
        output.expect("there is `ip` (package iproute2)")
    }

    /// Starts a program on it; the caller ends it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(&self, words: &str) -> Child {
        let mut words = words.split_whitespace();
        let program = words.next().expect("a command has words");
        let child = self.command(program).args(words).spawn();
        child.expect("there is `ip` (package iproute2)")
    }

    /// A thread that lives on it. Sockets that it makes stay there, whoever has them later.
    ///
    /// # Panics
    /// When there can be no more threads.
    pub fn enter<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let path = Path::new("/run/netns").join(&self.name);
        let inside = move || {
            let space = File::open(path).expect("the laboratory stands");
            move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("root may enter");
            work()
        };
        let thread = std::thread::Builder::new().name(self.name.clone());
        thread.spawn(inside).expect("threads can be made")
    }

    /// Does something there at once: [`Self::enter`], and the end of it.
    ///
    /// # Panics
    /// When that panics.
    pub fn on<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match self.enter(work).join() {
            Ok(answer) => answer,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Machines and the wires between them.
#[derive(Debug)]
pub struct Lab {
    client: Host,
    balancer: Host,
    endpoints: Vec<Host>,
    /// The bridge of a segment.
    wire: Option<Host>,
}

impl Lab {
    /// The balancer between the client and the endpoints, which answer over it.
    ///
    /// # Panics
    /// When the tests are not run by root, or there is no `ip`.
    pub fn routed(endpoints: u8) -> Self {
        let prefix = prefix();
        let v6 = |net, host| Ipv6Addr::new(0xfd00, net, 0, 0, 0, 0, 0, host);
        let client = Ipv4Addr::new(198, 51, 100, 2);
        let client = Host::new(format!("{prefix}c"), client, Some(v6(0x100, 2)));
        let front = Ipv4Addr::new(198, 51, 100, 1);
        let balancer = Host::new(format!("{prefix}b"), front, Some(v6(0x100, 1)));
        balancer.run("sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        balancer.run(&format!("ip address add {VIP}/32 dev lo"));
        balancer.run(&format!("ip address add {VIP6}/128 dev lo nodad"));
        link(&client, "eth0", &balancer, "front");
        configure(&balancer, "front", front.into(), v6(0x100, 1));
        configure(&client, "eth0", client.address(), v6(0x100, 2));
        route_over(&client, front, v6(0x100, 1));
        let endpoints = (1..=endpoints).map(|number| {
            let own = Ipv4Addr::new(10, 0, number, 2);
            let (gate, port) = (Ipv4Addr::new(10, 0, number, 1), format!("e{number}"));
            let (own6, gate6) = (v6(number.into(), 2), v6(number.into(), 1));
            let endpoint = Host::new(format!("{prefix}e{number}"), own, Some(own6));
            link(&endpoint, "eth0", &balancer, &port);
            configure(&balancer, &port, gate.into(), gate6);
            configure(&endpoint, "eth0", own.into(), own6);
            route_over(&endpoint, gate, gate6);
            endpoint
        });
        let endpoints = endpoints.collect();
        Self {
            client,
            balancer,
            endpoints,
            wire: None,
        }
    }

    /// All machines on one Ethernet.
    ///
    /// # Panics
    /// When the tests are not run by root, or there is no `ip`.
    pub fn segment(endpoints: u8) -> Self {
        let prefix = prefix();
        let at = |last| Ipv4Addr::new(10, 9, 0, last);
        let wire = Host::new(format!("{prefix}w"), at(254), None);
        wire.run("ip link add br0 type bridge");
        wire.run("ip link set br0 up");
        let plug = |name: String, port: &str, address| plugged(&wire, name, port, address);
        let client = plug(format!("{prefix}c"), "c", at(2));
        let balancer = plug(format!("{prefix}b"), "b", at(1));
        balancer.run(&format!("ip address add {SEGMENT_VIP}/32 dev eth0"));
        let endpoints = (1..=endpoints).map(|number| {
            let name = format!("{prefix}e{number}");
            let endpoint = plug(name, &format!("e{number}"), at(10 + number));
            endpoint.run("sysctl -q -w net.ipv4.conf.all.arp_ignore=1");
            endpoint.run("sysctl -q -w net.ipv4.conf.all.arp_announce=2");
            endpoint.run(&format!("ip address add {SEGMENT_VIP}/32 dev lo"));
            endpoint
        });
        let endpoints = endpoints.collect();
        Self {
            client,
            balancer,
            endpoints,
            wire: Some(wire),
        }
    }

    /// One more machine of a segment, at 10.9.0.`last`; `port` is its port of the bridge.
    ///
    /// # Panics
    /// In a routed laboratory, or when the port is taken.
    pub fn plug(&self, port: &str, last: u8) -> Host {
        let wire = self.wire();
        let prefix = wire.name().trim_end_matches('w');
        let address = Ipv4Addr::new(10, 9, 0, last);
        plugged(wire, format!("{prefix}{port}"), port, address)
    }

    /// Who asks.
    pub fn client(&self) -> &Host {
        &self.client
    }

    /// Who balances.
    pub fn balancer(&self) -> &Host {
        &self.balancer
    }

    /// Who answers.
    pub fn endpoints(&self) -> &[Host] {
        &self.endpoints
    }

    /// The machine with the bridge `br0` of a segment, whose ports are `c`, `b` and `e1`...
    ///
    /// # Panics
    /// In a routed laboratory.
    pub fn wire(&self) -> &Host {
        self.wire.as_ref().expect("segments have a bridge")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let mut command = Command::new("ip");
        let _ = command.args(["netns", "delete", &self.name]).status();
    }
}

/// How the names of a new laboratory begin.
fn prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    assert!(
        rustix::process::geteuid().is_root(),
        "this test makes network namespaces: run it as root"
    );
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    if number == 0 {
        remove_leftovers();
    }
    format!("tglab-{}-{number}-", std::process::id())
}

/// Removes what tests have left that were killed.
fn remove_leftovers() {
    let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name
            .strip_prefix("tglab-")
            .and_then(|name| name.split('-').next());
        let alive = |process: &str| Path::new("/proc").join(process).exists();
        if process.is_some_and(|process| !alive(process)) {
            let _ = Command::new("ip").args(["netns", "delete", &name]).status();
        }
    }
}

/// A wire between two machines.
fn link(one: &Host, port: &str, other: &Host, other_port: &str) {
    let ends = [
        "netns",
        one.name(),
        "type",
        "veth",
        "peer",
        "name",
        other_port,
        "netns",
    ];
    let mut words = vec!["link", "add", port];
    words.extend(ends);
    words.push(other.name());
    ip(&words);
    one.run(&format!("ip link set dev {port} up"));
    other.run(&format!("ip link set dev {other_port} up"));
}

/// A machine with a port of a bridge.
fn plugged(wire: &Host, name: String, port: &str, address: Ipv4Addr) -> Host {
    let host = Host::new(name, address, None);
    link(&host, "eth0", wire, port);
    wire.run(&format!("ip link set dev {port} master br0"));
    host.run(&format!("ip address add {address}/24 dev eth0"));
    host
}

fn configure(host: &Host, port: &str, address: IpAddr, address6: Ipv6Addr) {
    host.run(&format!("ip address add {address}/24 dev {port}"));
    host.run(&format!("ip address add {address6}/64 dev {port} nodad"));
}

fn route_over(host: &Host, gate: Ipv4Addr, gate6: Ipv6Addr) {
    host.run(&format!("ip route add default via {gate}"));
    host.run(&format!("ip route add default via {gate6}"));
}

fn ip(words: &[&str]) {
    let output = Command::new("ip").args(words).output();
    let output = output.expect("there is `ip` (package iproute2)");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {stderr}", words.join(" "));
}
