//! The balancer that nobody sees: endpoints see the client's address, and clients connect to addresses that are not its own.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;

use tidegate_tests::binary;
use tidegate_tests::byte_peers::{Client, Server, ask};
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::l4::{Balancer, cluster};
use tidegate_tests::lab::{Host, Lab, VIP, VIP6};

/// Leads answers to clients into the balancer, and what is for `192.0.2.0/24` too (TPROXY; the rules of docs/l4.md).
fn lead(balancer: &Host) {
    let rules = "table inet lead {
        chain prerouting {
            type filter hook prerouting priority mangle; policy accept;
            meta l4proto { tcp, udp } socket transparent 1 meta mark set 1 accept
            ip daddr 192.0.2.0/24 tcp dport 7000 tproxy ip to 127.0.0.1:7001 meta mark set 1 accept
            ip daddr 192.0.2.0/24 udp dport 7000 tproxy ip to 127.0.0.1:7000 meta mark set 1 accept
        }
    }";
    let file = tempfile::NamedTempFile::new().expect("files can be made");
    std::fs::write(file.path(), rules).expect("it can be written");
    balancer.run(&format!("nft -f {}", file.path().display()));
    for family in ["-4", "-6"] {
        balancer.run(&format!("ip {family} rule add fwmark 1 lookup 100"));
        balancer.run(&format!(
            "ip {family} route add local default dev lo table 100"
        ));
    }
}

/// A laboratory whose balancer leads such packets, when all its addresses can be used.
async fn led(endpoints: u8) -> Lab {
    let lab = Lab::routed(endpoints);
    lead(lab.balancer());
    // Neighbours of another's packets are asked for from link-local addresses, which take a while.
    eventually("all addresses can be used", SOON, async || {
        let tentative = lab.balancer().run("ip -6 address show tentative");
        tentative.trim().is_empty().then_some(())
    })
    .await;
    lab
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_come_from_the_client_and_answers_from_the_address_that_it_asked() {
    let lab = led(2).await;
    let mut text = String::new();
    let own = SocketAddr::new(VIP.into(), 7000);
    let own6 = SocketAddr::new(VIP6.into(), 7000);
    for (name, address, up) in [
        ("own", own, "up"),
        ("own6", own6, "up6"),
        ("led", "127.0.0.1:7000".parse().unwrap(), "up"),
    ] {
        text += &format!(
            "[[listener]]\nname = \"{name}\"\naddress = \"{address}\"\ncluster = \"{up}\"\n\
             protocol = \"udp\"\ntransparent = true\n"
        );
    }
    for (up, v6) in [("up", false), ("up6", true)] {
        let members = lab
            .endpoints()
            .iter()
            .zip(["e0", "e1"])
            .map(|(host, name)| {
                let ip = if v6 { host.address6() } else { host.address() };
                let address = SocketAddr::new(ip, 7000);
                (Server::start(host, name, address).address, 1)
            });
        text += &cluster(up, &members.collect::<Vec<_>>(), "");
    }
    let _balancer = Balancer::start_on(lab.balancer(), &text).await;
    let client = lab.client();
    let led: SocketAddr = "192.0.2.77:7000".parse().unwrap();
    for to in [own, own6, led] {
        let from = if to.is_ipv6() {
            client.address6()
        } else {
            client.address()
        };
        let mut names = Vec::new();
        for port in 5_000..5_004 {
            let from = SocketAddr::new(from, port);
            let socket = client.on(move || UdpSocket::bind(from)).unwrap();
            for bytes in [vec![7; 1_200], vec![8; 3]] {
                // It fails when another address answers.
                let (name, seen, echoed) = ask(&socket, to, &bytes).unwrap();
                assert_eq!((seen, echoed), (from, bytes), "{to}");
                names.push(name);
            }
        }
        names.dedup();
        assert_eq!(
            names.len(),
            4,
            "each client stays, and they take turns: {names:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_see_the_client_and_clients_see_any_address() {
    let lab = led(2).await;
    let mut members = Vec::new();
    let mut members6 = Vec::new();
    for (at, host) in lab.endpoints().iter().enumerate() {
        let name = format!("e{at}");
        let address = SocketAddr::new(host.address(), 7000);
        members.push((Server::start(host, &name, address).address, 1));
        let address = SocketAddr::new(host.address6(), 7000);
        members6.push((Server::start(host, &name, address).address, 1));
    }
    let own = SocketAddr::new(VIP.into(), 7000);
    let own6 = SocketAddr::new(VIP6.into(), 7000);
    let mut text = String::new();
    for (name, address, up) in [
        ("own", own, "up"),
        ("own6", own6, "up6"),
        ("led", "127.0.0.1:7001".parse().unwrap(), "up"),
    ] {
        text += &format!(
            "[[listener]]\nname = \"{name}\"\naddress = \"{address}\"\ncluster = \"{up}\"\ntransparent = true\n"
        );
    }
    text += &cluster("up", &members, "");
    text += &cluster("up6", &members6, "");
    let _balancer = Balancer::start_on(lab.balancer(), &text).await;
    let led: SocketAddr = "192.0.2.77:7000".parse().unwrap();
    for to in [own, own6, led] {
        let mut names = Vec::new();
        for _ in 0..4 {
            let client = Client::connect(lab.client(), to).unwrap();
            let address = client.stream().local_addr().unwrap();
            assert_eq!(client.stream().peer_addr().unwrap(), to);
            let (name, seen) = client.who().unwrap();
            assert_eq!(seen, address, "the endpoint sees the client");
            names.push(name);
        }
        names.sort();
        assert_eq!(names, ["e0", "e0", "e1", "e1"], "{to}");
        Client::connect(lab.client(), to)
            .unwrap()
            .both(3_000_017)
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_leave_nothing_is_transparent_and_that_is_said() {
    assert!(rustix::process::geteuid().is_root(), "run this as root");
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("l4.toml");
    let text = "admin = { address = \"127.0.0.1:0\" }\n[[listener]]\nname = \"in\"\naddress = \"127.0.0.1:0\"\n\
                cluster = \"up\"\ntransparent = true\n[cluster.up]\nendpoints = [{ address = \"127.0.0.1:9\" }]\n";
    std::fs::write(&file, text).unwrap();
    let run = |words: &[&str]| {
        let mut command = Command::new("setpriv");
        let without = "-net_admin,-net_raw";
        command.args([
            format!("--bounding-set={without}"),
            format!("--inh-caps={without}"),
        ]);
        command.arg(binary::path()).args(words).arg(&file);
        let output = command.output().expect("there is `setpriv` (util-linux)");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), stderr)
    };
    let need = "`transparent` needs the capability CAP_NET_ADMIN";
    let (sound, said) = run(&["check"]);
    assert!(sound && said.contains(need), "{said}");
    let (started, said) = run(&["l4", "-c"]);
    assert!(!started && said.contains(need), "{said}");
    assert!(said.contains("l4.toml"), "{said}");
    // Whom nobody can speak to.
    std::fs::write(&file, text.replace("127.0.0.1:9", "[::1]:9")).unwrap();
    let (sound, said) = run(&["check"]);
    assert!(
        !sound && said.contains("another family than the endpoint ::1"),
        "{said}"
    );
}
