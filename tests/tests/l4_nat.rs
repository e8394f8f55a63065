//! Listeners that the kernel forwards with translated addresses: what clients and endpoints see of it.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;
use tidegate_tests::byte_peers::ask;
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::lab::Host;
use tidegate_tests::nat_site::{NatSite, vip};

const GIB: u64 = 1 << 30;

fn socket(host: &Host, port: u16) -> UdpSocket {
    let address = SocketAddr::new(host.address(), port);
    let socket = host.on(move || UdpSocket::bind(address));
    socket.expect("the port is free")
}

/// Which endpoint answers a datagram from each port of the client.
fn owners(
    site: &NatSite,
    ports: impl Iterator<Item = u16> + Send + 'static,
) -> BTreeMap<u16, String> {
    let from = site.lab.client().address();
    site.lab.client().on(move || {
        let owner = |port| {
            let socket = UdpSocket::bind((from, port)).expect("the port is free");
            let (name, ..) = ask(&socket, vip(false), b"whose").expect("there is an answer");
            (port, name)
        };
        ports.map(owner).collect()
    })
}

#[tokio::test]
async fn streams_are_byte_exact_and_need_no_time_of_the_process() {
    let site = NatSite::new(3, "").balanced(&[1, 1, 1]).await;
    let (_, seen) = site.client().who().unwrap();
    assert_eq!(seen.ip().to_canonical(), site.lab.client().address());
    let before = user_time(&site);
    site.client().both(GIB).unwrap();
    let spent = user_time(&site) - before;
    assert!(spent < Duration::from_millis(300), "{spent:?}");
    site.client().with_slow_reader(64 << 20).unwrap();
    assert_eq!(
        site.client6().who().unwrap().1.ip(),
        site.lab.client().address6()
    );
    site.client6().both(64 << 20).unwrap();
    // What passed, with headers, each way.
    for direction in ["up", "down"] {
        let octets = site.metric("tidegate_l4_forwarded_octets_total", direction);
        assert!(
            (GIB + (128 << 20)..GIB * 3 / 2).contains(&octets),
            "{direction}: {octets}"
        );
    }
    assert_eq!(
        site.metric("tidegate_l4_forwarded_flows_total", "tcp-four"),
        3
    );
}

/// CPU time that the balancer has spent outside of the kernel.
fn user_time(site: &NatSite) -> Duration {
    let id = site.balancer.as_ref().expect("it runs").id();
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("it runs");
    let (_, fields) = stat.rsplit_once(')').expect("its name is in parentheses");
    let ticks = fields
        .split_whitespace()
        .nth(11)
        .expect("utime is the 14th field");
    Duration::from_millis(ticks.parse::<u64>().expect("it is a number") * 10)
}

#[tokio::test]
async fn resets_and_half_closes_reach_the_other_side() {
    let site = NatSite::new(1, "").balanced(&[1]).await;
    let client = site.client();
    let mut stream = client.stream();
    stream.write_all(b"reset\n").unwrap();
    let error = stream.read(&mut [0; 9]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let client = site.client();
    let mut stream = client.stream();
    stream.write_all(b"echo\nall of it").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "all of it");
    let client = site.client();
    let mut stream = client.stream();
    stream.write_all(b"hold\n").unwrap();
    stream.read_exact(&mut [0; 3]).unwrap();
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
    drop(client);
    let ending = eventually("the server hears of the reset", SOON, async || {
        site.servers[0].endings().pop()
    });
    assert_eq!(ending.await, "ConnectionReset");
}

#[tokio::test]
async fn datagrams_come_from_the_client_and_answers_from_the_service() {
    let site = NatSite::new(3, "").balanced(&[1, 1, 1]).await;
    let host = site.lab.client();
    for (own, v6) in [(host.address(), false), (host.address6(), true)] {
        let own = SocketAddr::new(own, 5_000);
        let socket = host.on(move || UdpSocket::bind(own)).unwrap();
        let bytes = vec![7; 1_400];
        let (_, seen, echoed) = ask(&socket, vip(v6), &bytes).unwrap();
        let seen = SocketAddr::new(seen.ip().to_canonical(), seen.port());
        assert_eq!((seen, echoed), (own, bytes));
    }
}

#[tokio::test]
async fn flows_follow_the_weights() {
    let site = NatSite::new(3, "").balanced(&[1, 2, 3]).await;
    let owners = owners(&site, 10_000..40_000);
    for (name, weight) in [("e1", 1.0), ("e2", 2.0), ("e3", 3.0)] {
        let share = owners.values().filter(|owner| *owner == name).count() as f64 / 30_000.0;
        let want = weight / 6.0;
        assert!(
            (share - want).abs() <= want * 0.03,
            "{name}: {share} of flows, not {want}"
        );
    }
    let counted = site.metric("tidegate_l4_forwarded_flows_total", "udp-four");
    assert_eq!(counted, 30_000);
}

#[tokio::test]
async fn other_flows_stay_when_an_endpoint_goes() {
    let site = NatSite::new(10, "").balanced(&[1; 10]).await;
    let ports = || 20_000..26_000;
    let before = owners(&site, ports());
    let rest: Vec<_> = (0..10).filter(|at| *at != 3).map(|at| (at, 1)).collect();
    site.write(&rest);
    site.reload();
    let moved = |after: &BTreeMap<u16, String>| {
        let others = before.iter().filter(|(_, owner)| *owner != "e4");
        others
            .filter(|(port, owner)| after[*port] != **owner)
            .count()
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
    assert_eq!(site.metric("tidegate_l4_rule_loads_total", "whole"), 1);
}

#[tokio::test]
async fn another_balancer_leads_flows_to_the_same_endpoints() {
    let mut site = NatSite::new(3, "").balanced(&[1, 2, 3]).await;
    let ports = || 20_000..20_500;
    let before = owners(&site, ports());
    stop(&mut site).await;
    site.lab.balancer().run("conntrack -F");
    // Its list is in another order.
    site.write(&[(2, 3), (0, 1), (1, 2)]);
    site.start().await;
    assert_eq!(owners(&site, ports()), before);
}

#[tokio::test]
async fn connections_go_on_over_a_balancer_that_knows_nothing_of_them() {
    let site = NatSite::new(3, "").balanced(&[1, 1, 1]).await;
    for client in [site.client(), site.client6()] {
        let bulk = std::thread::spawn(move || client.both(512 << 20));
        let mut times = 0;
        while !bulk.is_finished() {
            // As if the packets had come to another one.
            site.lab.balancer().run("conntrack -F");
            std::thread::sleep(Duration::from_millis(20));
            times += 1;
        }
        bulk.join().unwrap().unwrap();
        assert!(times > 3, "it was over too soon");
    }
}

#[tokio::test]
async fn datagrams_leave_a_dead_endpoint() {
    let mut site = NatSite::new(2, "").balanced(&[1, 1]).await;
    let socket = socket(site.lab.client(), 5_001);
    let (first, ..) = ask(&socket, vip(false), b"1").unwrap();
    assert_eq!(ask(&socket, vip(false), b"2").unwrap().0, first);
    site.kill(usize::from(first == "e2"));
    eventually("another endpoint answers", SOON, async || {
        let owner = ask(&socket, vip(false), b"3").ok()?.0;
        (owner != first).then_some(())
    })
    .await;
}

#[tokio::test]
async fn weight_0_drains() {
    let site = NatSite::new(2, "").balanced(&[1, 0]).await;
    let held = site.client();
    let mut stream = held.stream();
    stream.write_all(b"echo\n").unwrap();
    let socket = socket(site.lab.client(), 5_002);
    assert_eq!(ask(&socket, vip(false), b"1").unwrap().0, "e1");
    site.reweigh(&[0, 1]);
    stream.write_all(b"still").unwrap();
    stream.read_exact(&mut [0; 5]).unwrap();
    assert_eq!(ask(&socket, vip(false), b"2").unwrap().0, "e1");
    for _ in 0..20 {
        assert_eq!(site.client().who().unwrap().0, "e2");
    }
}

#[tokio::test]
async fn connections_to_a_dead_endpoint_are_reset_where_that_is_wanted() {
    for reset in [false, true] {
        let options = format!("reset = {reset}");
        let mut site = NatSite::new(2, &options).balanced(&[1, 0]).await;
        let held = site.client();
        let mut stream = held.stream();
        stream.write_all(b"echo\nhello").unwrap();
        stream.read_exact(&mut [0; 5]).unwrap();
        site.reweigh(&[1, 1]);
        site.kill(0);
        eventually("new connections go elsewhere", SOON, async || {
            let owners = (0..20).map(|_| site.client().who().map(|(name, _)| name));
            let names: Vec<_> = owners.flatten().collect();
            (names.len() == 20 && names.iter().all(|name| name == "e2")).then_some(())
        })
        .await;
        let mut still = || {
            stream.write_all(b"still")?;
            stream.read_exact(&mut [0; 5])
        };
        if !reset {
            still().unwrap();
            continue;
        }
        // The flow is forgotten after the rules have changed.
        let error = eventually("the client is reset", SOON, async || still().err());
        assert_eq!(error.await.kind(), ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn no_endpoint_is_refused_at_once() {
    let site = NatSite::new(1, "").balanced(&[0]).await;
    assert!(site.refuses());
    let socket = socket(site.lab.client(), 5_003);
    socket.connect(vip(false)).unwrap();
    socket.send(b"1").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let error = socket.recv(&mut [0; 9]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    site.reweigh(&[1]);
    assert_eq!(site.client().who().unwrap().0, "e1");
}

#[tokio::test]
async fn one_client_has_one_endpoint_by_source() {
    let site = NatSite::new(3, "").scheduled("source_hash");
    let site = site.balanced(&[1, 1, 1]).await;
    let (first, _) = site.client().who().unwrap();
    for _ in 0..20 {
        assert_eq!(site.client().who().unwrap().0, first);
    }
}

#[tokio::test]
async fn rules_outlive_the_process_and_are_taken_over() {
    let mut site = NatSite::new(2, "").balanced(&[1, 1]).await;
    let held = site.client();
    let mut stream = held.stream();
    let mut still = || {
        stream.write_all(b"echo\nhello").unwrap();
        stream.read_exact(&mut [0; 5]).unwrap();
    };
    still();
    site.balancer = None;
    site.client().who().unwrap();
    site.start().await;
    still();
    let flows = |site: &NatSite| site.metric("tidegate_l4_forwarded_flows_total", "tcp-four");
    assert_eq!(flows(&site), 2, "what was counted goes on");
    site.hand_over();
    still();
    site.client().who().unwrap();
    assert_eq!(flows(&site), 3);
    site.reweigh(&[0, 1]);
    assert_eq!(site.client().who().unwrap().0, "e2");
}

#[tokio::test]
async fn rules_that_somebody_removes_come_again_and_go_when_they_are_to() {
    let mut site = NatSite::new(1, "keep = true").balanced(&[1]).await;
    let table = |site: &NatSite| site.lab.balancer().run("nft list tables");
    site.lab.balancer().run("nft flush ruleset");
    eventually("the rules are there again", SOON, async || {
        table(&site).contains("tidegate").then_some(())
    })
    .await;
    site.client().who().unwrap();
    let flush = site.attempt("l4 flush");
    let said = String::from_utf8_lossy(&flush.stderr);
    assert!(
        !flush.status.success() && said.contains("a balancer answers"),
        "{said}"
    );
    stop(&mut site).await;
    site.client().who().unwrap();
    site.run("l4 flush");
    assert!(site.refuses());
    assert_eq!(table(&site), "");
    let mut site = NatSite::new(1, "").balanced(&[1]).await;
    site.client().who().unwrap();
    stop(&mut site).await;
    assert_eq!(table(&site), "");
}

#[tokio::test]
async fn a_table_of_somebody_else_is_left_alone() {
    let mut site = NatSite::new(1, "table = \"theirs\"");
    site.lab.balancer().run("nft add table inet theirs");
    site.lab.balancer().run("nft add table inet others");
    site.write(&[(0, 1)]);
    let mut process = site.process(&["l4"]);
    assert!(!process.ended(SOON).await.success());
    let said = process.stderr();
    assert!(said.contains("no balancer has made it"), "{said}");
    site.lab.balancer().run("nft delete table inet theirs");
    site.start().await;
    site.client().who().unwrap();
    site.options("table = \"others\"");
    site.write(&[(0, 1)]);
    let answer = site.admin("-X POST", "/reload");
    assert!(answer.contains("no balancer has made it"), "{answer}");
    site.client().who().unwrap();
    let tables = site.lab.balancer().run("nft list tables");
    assert!(tables.contains("others"), "{tables}");
}

#[tokio::test]
async fn a_reload_moves_the_rules_or_changes_nothing() {
    let mut site = NatSite::new(2, "").balanced(&[1, 0]).await;
    let tables = |site: &NatSite| site.lab.balancer().run("nft list tables");
    site.lab
        .balancer()
        .run("sysctl -q -w net.ipv4.ip_forward=0");
    site.write(&[(1, 1)]);
    let answer = site.admin("-X POST", "/reload");
    assert!(answer.contains("net.ipv4.ip_forward is not 1"), "{answer}");
    // The file is watched: what it says then holds as soon as the kernel forwards again.
    site.write(&[(0, 1), (1, 0)]);
    site.lab
        .balancer()
        .run("sysctl -q -w net.ipv4.ip_forward=1");
    assert_eq!(site.client().who().unwrap().0, "e1");
    site.options("table = \"other\"");
    site.reweigh(&[0, 1]);
    assert_eq!(site.client().who().unwrap().0, "e2");
    assert_eq!(tables(&site), "table inet other\n");
    site.options("[[listener]]\nname = \"http\"\naddress = \"127.0.0.1:8080\"\ncluster = \"four\"");
    site.write_only(&[(0, 1)], &[]);
    site.reload();
    assert!(site.refuses());
    assert_eq!(tables(&site), "");
}

#[tokio::test]
async fn no_connection_is_refused_while_rules_change() {
    let mut site = NatSite::new(2, "").balanced(&[1, 0]).await;
    let connecting = Connecting::start(&site);
    let weights = |turn| if turn % 2 == 0 { [0, 1] } else { [1, 0] };
    for turn in 0..12 {
        site.reweigh(&weights(turn));
    }
    // Nothing between the weights before a reload and those after it was told to the kernel.
    assert_eq!(site.metric("tidegate_l4_rule_loads_total", "changes"), 12);
    for (turn, options) in ["table = \"other\"", "reset = true", ""]
        .into_iter()
        .enumerate()
    {
        site.options(options);
        site.reweigh(&weights(turn));
        let owner = site.client().who().unwrap().0;
        assert_eq!(owner, if turn % 2 == 0 { "e2" } else { "e1" });
    }
    assert_eq!(site.metric("tidegate_l4_rule_loads_total", "whole"), 4);
    site.hand_over();
    connecting.end();
    assert_eq!(
        site.lab.balancer().run("nft list tables"),
        "table inet tidegate\n"
    );
}

#[tokio::test]
async fn no_connection_is_refused_while_a_process_takes_the_place_of_a_dead_one() {
    let mut site = NatSite::new(2, "").balanced(&[1, 0]).await;
    let connecting = Connecting::start(&site);
    for weights in [[0, 1], [1, 0]] {
        site.balancer = None;
        site.write(&[(0, weights[0]), (1, weights[1])]);
        site.start().await;
    }
    connecting.end();
}

/// A client that connects and asks again and again.
struct Connecting {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<std::io::Result<()>>>,
}

impl Connecting {
    fn start(site: &NatSite) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let until = over.clone();
        let thread = site.lab.client().enter(move || {
            let attempt = || {
                let mut stream = TcpStream::connect_timeout(&vip(false), Duration::from_secs(5))?;
                stream.write_all(b"who\n")?;
                stream.read_to_end(&mut Vec::new()).map(drop)
            };
            let all = std::iter::repeat_with(attempt);
            all.take_while(|_| !until.load(Relaxed)).collect()
        });
        Self { over, thread }
    }

    fn end(self) {
        self.over.store(true, Relaxed);
        let attempts = self.thread.join().expect("connecting does not panic");
        let count = attempts.len();
        assert!(count > 100, "{count} connections show nothing");
        let mut failed = attempts.into_iter().filter_map(Result::err);
        let first = failed.next();
        let others = failed.count();
        assert!(
            first.is_none(),
            "{count} connections, one failed and {others} more: {first:?}"
        );
    }
}

#[tokio::test]
async fn datagrams_leave_an_endpoint_that_went_while_no_process_was_there() {
    let mut site = NatSite::new(2, "").balanced(&[1, 0]).await;
    let socket = socket(site.lab.client(), 5_005);
    assert_eq!(ask(&socket, vip(false), b"1").unwrap().0, "e1");
    site.balancer = None;
    assert_eq!(ask(&socket, vip(false), b"2").unwrap().0, "e1");
    site.write(&[(1, 1)]);
    site.start().await;
    assert_eq!(ask(&socket, vip(false), b"3").unwrap().0, "e2");
    // The same when options change at the moment that it goes.
    site.write(&[(1, 1), (0, 0)]);
    site.reload();
    site.options("masquerade = true");
    site.write(&[(0, 1)]);
    site.reload();
    assert_eq!(ask(&socket, vip(false), b"4").unwrap().0, "e1");
}

async fn stop(site: &mut NatSite) {
    let mut balancer = site.balancer.take().expect("it runs");
    balancer.signal(Signal::TERM);
    assert!(balancer.ended(SOON).await.success());
}

#[tokio::test]
async fn datagrams_from_before_the_service_do_not_stick_to_the_machine() {
    let site = NatSite::new(1, "");
    let socket = socket(site.lab.client(), 5_004);
    // So that the kernel follows flows already.
    site.lab.balancer().run("nft add table inet other");
    site.lab
        .balancer()
        .run("nft add chain inet other seen { type filter hook input priority 0 ; }");
    site.lab
        .balancer()
        .run("nft add rule inet other seen ct state new counter");
    assert!(ask(&socket, vip(false), b"1").is_err());
    let _site = site.balanced(&[1]).await;
    ask(&socket, vip(false), b"2").unwrap();
}

#[tokio::test]
async fn endpoints_without_a_way_back_see_the_balancer() {
    let site = NatSite::new(1, "masquerade = true");
    site.lab.endpoints()[0].run("ip route delete default");
    let site = site.balanced(&[1]).await;
    let (_, seen) = site.client().who().unwrap();
    assert_eq!(
        seen.ip().to_canonical(),
        "10.0.1.1".parse::<IpAddr>().unwrap()
    );
}

#[tokio::test]
async fn cookies_answer_for_endpoints() {
    let site = NatSite::new(2, "synproxy = true");
    let loose = "sysctl -q -w net.netfilter.nf_conntrack_tcp_loose=0";
    site.lab.balancer().run(loose);
    let site = site.balanced(&[1, 1]).await;
    for client in [NatSite::client, NatSite::client6] {
        client(&site).who().unwrap();
        client(&site).both(64 << 20).unwrap();
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

#[tokio::test]
async fn a_machine_that_does_not_forward_is_told_of_at_the_start() {
    for (options, broken, name) in [
        ("", "net.ipv4.ip_forward=0", "net.ipv4.ip_forward=1"),
        (
            "",
            "net.ipv6.conf.all.forwarding=0",
            "net.ipv6.conf.all.forwarding=1",
        ),
        (
            "synproxy = true",
            "net.netfilter.nf_conntrack_tcp_loose=1",
            "net.netfilter.nf_conntrack_tcp_loose=0",
        ),
    ] {
        let site = NatSite::new(1, options);
        site.lab.balancer().run(&format!("sysctl -q -w {broken}"));
        site.write(&[(0, 1)]);
        let mut process = site.process(&["l4"]);
        assert!(!process.ended(SOON).await.success());
        let said = process.stderr();
        assert!(said.contains(&format!("sysctl -w {name}")), "{said}");
    }
}
