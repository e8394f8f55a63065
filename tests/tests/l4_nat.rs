//! Listeners that the kernel forwards with translated addresses: what clients and endpoints see of it.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use l4::forward::{Member, Service, Transport};
use l4::nat::{Nat, NatConfig, Traffic};
use tidegate_tests::byte_peers::{Client, Server, ask};
use tidegate_tests::lab::{Host, Lab, VIP, VIP6};

const GIB: u64 = 1 << 30;

/// A laboratory with a server on every endpoint, and a balancer.
struct Site {
    lab: Lab,
    servers: Vec<Server>,
    nat: Arc<Mutex<Nat>>,
}

impl Site {
    fn new(endpoints: u8, config: NatConfig) -> Self {
        let lab = Lab::routed(endpoints);
        let servers = lab.endpoints().iter().enumerate().map(|(at, host)| {
            let any: IpAddr = "::".parse().unwrap();
            let mut server = Server::start(host, &format!("e{}", at + 1), SocketAddr::new(any, 80));
            server.address.set_ip(host.address());
            server
        });
        let servers = servers.collect();
        let nat = Arc::new(Mutex::new(Nat::new(config).unwrap()));
        Self { lab, servers, nat }
    }

    /// Services over TCP and UDP on port 443 whose endpoints have these shares; those of `dead` are not well.
    fn services(&self, shares: &[u32], dead: &[usize]) -> Vec<Service> {
        let kinds = [
            (Transport::Tcp, false),
            (Transport::Udp, false),
            (Transport::Tcp, true),
            (Transport::Udp, true),
        ];
        let service = |(transport, v6): (Transport, bool)| Service {
            name: format!("{transport:?}{v6}").into(),
            transport,
            address: vip(v6),
            by_source: false,
            members: (0..)
                .zip(shares)
                .zip(self.lab.endpoints())
                .map(|((at, share), host)| Member {
                    address: SocketAddr::new(if v6 { host.address6() } else { host.address() }, 80),
                    share: *share,
                    well: !dead.contains(&at),
                })
                .collect(),
        };
        kinds.into_iter().map(service).collect()
    }

    fn apply(&self, services: Vec<Service>) {
        self.with(move |nat| nat.apply(&services)).unwrap();
    }

    fn with<T: Send + 'static>(&self, work: impl FnOnce(&mut Nat) -> T + Send + 'static) -> T {
        let nat = self.nat.clone();
        self.lab
            .balancer()
            .on(move || work(&mut nat.lock().unwrap()))
    }

    fn traffic(&self) -> Vec<Traffic> {
        self.with(|nat| nat.traffic()).unwrap()
    }

    fn client(&self) -> Client {
        Client::connect(self.lab.client(), vip(false)).unwrap()
    }
}

fn vip(v6: bool) -> SocketAddr {
    let ip = if v6 { VIP6.into() } else { VIP.into() };
    SocketAddr::new(ip, 443)
}

fn socket(host: &Host, port: u16) -> UdpSocket {
    let address = SocketAddr::new(host.address(), port);
    host.on(move || UdpSocket::bind(address)).unwrap()
}

/// Which endpoint answers a datagram from each port of the client.
fn owners(site: &Site, ports: impl Iterator<Item = u16> + Send + 'static) -> BTreeMap<u16, String> {
    let from = site.lab.client().address();
    site.lab.client().on(move || {
        let owner = |port| {
            let socket = UdpSocket::bind((from, port)).unwrap();
            let (name, ..) = ask(&socket, vip(false), b"whose").unwrap();
            (port, name)
        };
        ports.map(owner).collect()
    })
}

fn refused(site: &Site) -> bool {
    match Client::connect(site.lab.client(), vip(false)) {
        Ok(_) => false,
        Err(error) => error.kind() == ErrorKind::ConnectionRefused,
    }
}

#[test]
fn streams_are_byte_exact_and_come_from_the_client() {
    let site = Site::new(3, NatConfig::default());
    site.apply(site.services(&[1, 1, 1], &[]));
    let (_, seen) = site.client().who().unwrap();
    assert_eq!(seen.ip().to_canonical(), site.lab.client().address());
    site.client().both(GIB).unwrap();
    site.client().with_slow_reader(64 << 20).unwrap();
    let six = || Client::connect(site.lab.client(), vip(true)).unwrap();
    assert_eq!(six().who().unwrap().1.ip(), site.lab.client().address6());
    six().both(64 << 20).unwrap();
}

#[test]
fn resets_reach_the_other_side() {
    let site = Site::new(1, NatConfig::default());
    site.apply(site.services(&[1], &[]));
    let client = site.client();
    let mut stream = client.stream();
    stream.write_all(b"reset\n").unwrap();
    let error = stream.read(&mut [0; 9]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let client = site.client();
    let mut stream = client.stream();
    stream.write_all(b"hold\n").unwrap();
    stream.read_exact(&mut [0; 3]).unwrap();
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
    drop(client);
    let deadline = Instant::now() + Duration::from_secs(5);
    while site.servers[0].endings().is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(site.servers[0].endings(), ["ConnectionReset"]);
}

#[test]
fn datagrams_come_from_the_client_and_answers_from_the_service() {
    let site = Site::new(3, NatConfig::default());
    site.apply(site.services(&[1, 1, 1], &[]));
    for v6 in [false, true] {
        let host = site.lab.client();
        let own = if v6 { host.address6() } else { host.address() };
        let own = SocketAddr::new(own, 5_000);
        let socket = host.on(move || UdpSocket::bind(own)).unwrap();
        let bytes = vec![7; 1_400];
        let (_, seen, echoed) = ask(&socket, vip(v6), &bytes).unwrap();
        let seen = SocketAddr::new(seen.ip().to_canonical(), seen.port());
        assert_eq!((seen, echoed), (own, bytes));
    }
}

#[test]
fn flows_follow_the_weights() {
    let site = Site::new(3, NatConfig::default());
    site.apply(site.services(&[1, 2, 3], &[]));
    let owners = owners(&site, 10_000..40_000);
    for (name, weight) in [("e1", 1.0), ("e2", 2.0), ("e3", 3.0)] {
        let share = owners.values().filter(|owner| *owner == name).count() as f64 / 30_000.0;
        let want = weight / 6.0;
        assert!(
            (share - want).abs() <= want * 0.03,
            "{name}: {share} of flows, not {want}"
        );
    }
    let traffic = site.traffic();
    let counted = traffic.iter().filter(|one| &*one.service == "Udpfalse");
    let flows: u64 = counted.map(|one| one.flows).sum();
    assert_eq!(flows, 30_000);
}

#[test]
fn other_flows_stay_when_an_endpoint_goes() {
    let site = Site::new(10, NatConfig::default());
    site.apply(site.services(&[1; 10], &[]));
    let ports = || 20_000..26_000;
    let before = owners(&site, ports());
    let mut fewer = site.services(&[1; 10], &[]);
    for service in &mut fewer {
        service.members.remove(3);
    }
    site.apply(fewer);
    let moved = |after: &BTreeMap<u16, String>| {
        let others = before.iter().filter(|(_, owner)| *owner != "e4");
        let moved = others.filter(|(port, owner)| after[*port] != **owner);
        moved.count()
    };
    let under_way = owners(&site, ports());
    assert_eq!(
        moved(&under_way),
        0,
        "flows under way stay, whatever the hash says"
    );
    assert!(under_way.values().all(|owner| owner != "e4"));
    site.lab.balancer().run("conntrack -F");
    let others = before.values().filter(|owner| *owner != "e4").count();
    let anew = moved(&owners(&site, ports()));
    assert!(anew * 50 <= others, "{anew} of {others} flows moved");
}

#[test]
fn datagrams_leave_a_dead_endpoint_at_once() {
    let site = Site::new(2, NatConfig::default());
    site.apply(site.services(&[1, 1], &[]));
    let socket = socket(site.lab.client(), 5_001);
    let (first, ..) = ask(&socket, vip(false), b"1").unwrap();
    assert_eq!(ask(&socket, vip(false), b"2").unwrap().0, first);
    let dead = usize::from(first == "e2");
    site.apply(site.services(&[1, 1], &[dead]));
    assert_ne!(ask(&socket, vip(false), b"3").unwrap().0, first);
}

#[test]
fn weight_0_drains() {
    let site = Site::new(2, NatConfig::default());
    site.apply(site.services(&[1, 0], &[]));
    let held = site.client();
    let mut stream = held.stream();
    stream.write_all(b"echo\n").unwrap();
    let socket = socket(site.lab.client(), 5_002);
    assert_eq!(ask(&socket, vip(false), b"1").unwrap().0, "e1");
    site.apply(site.services(&[0, 1], &[]));
    stream.write_all(b"still").unwrap();
    stream.read_exact(&mut [0; 5]).unwrap();
    assert_eq!(ask(&socket, vip(false), b"2").unwrap().0, "e1");
    for _ in 0..20 {
        assert_eq!(site.client().who().unwrap().0, "e2");
    }
}

#[test]
fn connections_to_a_dead_endpoint_are_reset_where_that_is_wanted() {
    for reset in [false, true] {
        let config = NatConfig {
            reset,
            ..NatConfig::default()
        };
        let site = Site::new(2, config);
        site.apply(site.services(&[1, 0], &[]));
        let held = site.client();
        let mut stream = held.stream();
        stream.write_all(b"echo\nhello").unwrap();
        stream.read_exact(&mut [0; 5]).unwrap();
        site.apply(site.services(&[1, 1], &[0]));
        stream.write_all(b"still").unwrap();
        let outcome = stream.read_exact(&mut [0; 5]).map_err(|error| error.kind());
        let want = if reset {
            Err(ErrorKind::ConnectionReset)
        } else {
            Ok(())
        };
        assert_eq!(outcome, want);
    }
}

#[test]
fn no_endpoint_is_refused_at_once() {
    let site = Site::new(1, NatConfig::default());
    site.apply(site.services(&[0], &[]));
    assert!(refused(&site));
    let socket = socket(site.lab.client(), 5_003);
    socket.connect(vip(false)).unwrap();
    socket.send(b"1").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let error = socket.recv(&mut [0; 9]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    site.apply(site.services(&[1], &[]));
    assert_eq!(site.client().who().unwrap().0, "e1");
}

#[test]
fn one_client_has_one_endpoint_by_source() {
    let site = Site::new(3, NatConfig::default());
    let mut services = site.services(&[1, 1, 1], &[]);
    for service in &mut services {
        service.by_source = true;
    }
    site.apply(services);
    let (first, _) = site.client().who().unwrap();
    for _ in 0..20 {
        assert_eq!(site.client().who().unwrap().0, first);
    }
}

#[test]
fn rules_outlive_the_process_and_are_taken_over() {
    let site = Site::new(2, NatConfig::default());
    site.apply(site.services(&[1, 1], &[]));
    let held = site.client();
    let mut stream = held.stream();
    stream.write_all(b"echo\nhello").unwrap();
    stream.read_exact(&mut [0; 5]).unwrap();
    let flows = |site: &Site| site.traffic().iter().map(|one| one.flows).sum::<u64>();
    let counted = flows(&site);
    assert!(counted >= 1);
    *site.nat.lock().unwrap() = Nat::new(NatConfig::default()).unwrap();
    site.client().who().unwrap();
    site.apply(site.services(&[1, 1], &[]));
    stream.write_all(b"still").unwrap();
    stream.read_exact(&mut [0; 5]).unwrap();
    assert_eq!(flows(&site), counted + 1);
    site.lab.balancer().run("nft flush ruleset");
    assert!(site.with(|nat| nat.tend()).unwrap());
    site.client().who().unwrap();
    assert!(!site.with(|nat| nat.tend()).unwrap());
    site.lab.balancer().run("nft flush ruleset");
    site.apply(site.services(&[0, 1], &[]));
    assert_eq!(site.client().who().unwrap().0, "e2");
    site.with(|_| l4::nat::remove(&NatConfig::default()))
        .unwrap();
    assert!(refused(&site));
    assert_eq!(site.lab.balancer().run("nft list tables"), "");
}

#[test]
fn services_come_and_go() {
    let site = Site::new(2, NatConfig::default());
    let all = site.services(&[1, 1], &[]);
    site.apply(all[..1].to_vec());
    let socket = socket(site.lab.client(), 5_004);
    assert!(ask(&socket, vip(false), b"1").is_err());
    site.apply(all.clone());
    ask(&socket, vip(false), b"2").unwrap();
    site.apply(all[1..].to_vec());
    ask(&socket, vip(false), b"3").unwrap();
    assert!(refused(&site));
    // Each time only what had changed.
    let loads = site.with(|nat| nat.loads());
    assert_eq!((loads.whole, loads.changes), (1, 2));
    site.apply(Vec::new());
    assert!(ask(&socket, vip(false), b"4").is_err());
    site.apply(all);
    site.client().who().unwrap();
}

#[test]
fn endpoints_without_a_way_back_see_the_balancer() {
    let config = NatConfig {
        masquerade: true,
        ..NatConfig::default()
    };
    let site = Site::new(1, config);
    site.lab.endpoints()[0].run("ip route delete default");
    site.apply(site.services(&[1], &[]));
    let (_, seen) = site.client().who().unwrap();
    assert_eq!(
        seen.ip().to_canonical(),
        "10.0.1.1".parse::<IpAddr>().unwrap()
    );
}

#[test]
fn cookies_answer_for_endpoints() {
    let config = NatConfig {
        synproxy: true,
        ..NatConfig::default()
    };
    let site = Site::new(2, config);
    let services = site.services(&[1, 1], &[]);
    let again = services.clone();
    let error = site
        .with(move |nat| nat.apply(&again))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("sysctl -w net.netfilter.nf_conntrack_tcp_loose=0"),
        "{error}"
    );
    site.lab
        .balancer()
        .run("sysctl -q -w net.netfilter.nf_conntrack_tcp_loose=0");
    site.apply(services);
    for v6 in [false, true] {
        let client = || Client::connect(site.lab.client(), vip(v6)).unwrap();
        client().who().unwrap();
        client().both(64 << 20).unwrap();
    }
    let (_, seen) = site.client().who().unwrap();
    assert_eq!(seen.ip().to_canonical(), site.lab.client().address());
    let seen = site.lab.balancer().run("cat /proc/net/stat/synproxy");
    let cookies = seen.lines().skip(1).map(|line| {
        let valid = line.split_whitespace().nth(3).unwrap();
        u64::from_str_radix(valid, 16).unwrap()
    });
    assert_eq!(cookies.sum::<u64>(), 5);
}

#[test]
fn a_kernel_that_does_not_forward_is_told_of() {
    let site = Site::new(1, NatConfig::default());
    site.lab
        .balancer()
        .run("sysctl -q -w net.ipv4.ip_forward=0");
    let services = site.services(&[1], &[]);
    let error = site
        .with(move |nat| nat.apply(&services))
        .unwrap_err()
        .to_string();
    assert!(error.contains("sysctl -w net.ipv4.ip_forward=1"), "{error}");
}
