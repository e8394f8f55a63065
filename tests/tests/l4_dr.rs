//! Listeners whose packets the kernel hands on by hardware address: what clients and endpoints see of it.
//!
//! The binary under test must have been built with the feature `l4-dr`.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;
use rustix::process::Signal;
use tidegate_tests::byte_peers::{Client, ask};
use tidegate_tests::dr_site::{DrSite, has, have_quietly, wait_until};
use tidegate_tests::lab::{Lab, VIP, VIP6};
use tidegate_tests::process::send;

const GIB: u64 = 1 << 30;

/// Tells other threads that it is over, also when this one panics.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A connection that a server holds or echoes on, and the server's number.
struct Held {
    stream: TcpStream,
}

impl Held {
    fn echo(site: &DrSite) -> Self {
        let stream = site
            .connect()
            .stream()
            .try_clone()
            .expect("the balancer forwards");
        let mut held = Self { stream };
        held.stream
            .write_all(b"echo\n")
            .expect("the balancer forwards");
        held.still_there();
        held
    }

    fn still_there(&mut self) {
        self.stream
            .write_all(b"still?")
            .expect("the balancer forwards");
        let mut answer = [0; 6];
        self.stream
            .read_exact(&mut answer)
            .expect("the balancer forwards");
        assert_eq!(&answer, b"still?");
    }
}

fn streams_are_carried(attach: &'static str) {
    let mut site = DrSite::segment(3, attach);
    site.start(&[1, 1, 1]);
    let kind = format!("tidegate_l4_dr_attached{{kind=\"{attach}\"}}");
    assert_eq!(site.metric(&kind), 1.0);
    let (_, seen) = site.connect().who().expect("the balancer forwards");
    assert_eq!(seen.ip(), site.lab.client().address());

    let used = site.used();
    let began = Instant::now();
    site.connect().both(GIB).expect("the balancer forwards");
    let (used, took) = (site.used() - used, began.elapsed());
    // It looks at the network once a second, and at its endpoints.
    assert!(
        used.as_secs_f64() < 0.02 + took.as_secs_f64() * 0.04,
        "{used:?} in {took:?}"
    );
    site.connect()
        .with_slow_reader(64 << 20)
        .expect("the balancer forwards");
    let octets = (11..=13).map(|last| {
        let labels = format!("{{listener=\"tcp0\",endpoint=\"10.9.0.{last}:80\"}}");
        site.metric(&format!("tidegate_l4_dr_octets_total{labels}"))
    });
    assert!(octets.sum::<f64>() > (GIB + (64 << 20)) as f64);

    ends_are_told(&site);
    datagrams_are_carried(&site);
}

/// An end of one side, and resets both ways.
fn ends_are_told(site: &DrSite) {
    let mut stream = site
        .connect()
        .stream()
        .try_clone()
        .expect("the balancer forwards");
    stream
        .write_all(b"echo\nall of it")
        .expect("the balancer forwards");
    stream
        .shutdown(std::net::Shutdown::Write)
        .expect("the balancer forwards");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("the balancer forwards");
    assert_eq!(answer, "all of it");

    let mut stream = site
        .connect()
        .stream()
        .try_clone()
        .expect("the balancer forwards");
    stream.write_all(b"reset\n").expect("the balancer forwards");
    let read = stream.read(&mut [0; 9]);
    let kind = read.map_err(|error| error.kind());
    assert_eq!(kind, Err(ErrorKind::ConnectionReset));
    let mut stream = site
        .connect()
        .stream()
        .try_clone()
        .expect("the balancer forwards");
    stream.write_all(b"hold\n").expect("the balancer forwards");
    stream
        .read_exact(&mut [0; 3])
        .expect("the balancer forwards");
    set_socket_linger(&stream, Some(Duration::ZERO)).expect("the balancer forwards");
    drop(stream);
    let endings = || site.servers.iter().flat_map(|server| server.endings());
    wait_until("the reset has come", || endings().count() > 0);
    assert_eq!(endings().collect::<Vec<_>>(), ["ConnectionReset"]);
}

fn datagrams_are_carried(site: &DrSite) {
    let from = SocketAddr::new(site.lab.client().address(), 5_000);
    let socket = site
        .lab
        .client()
        .on(move || UdpSocket::bind(from))
        .expect("the balancer forwards");
    for length in [0, 1, 1_400] {
        let bytes = vec![7; length];
        let (_, seen, echoed) =
            ask(&socket, site.service(), &bytes).expect("the balancer forwards");
        assert_eq!((seen, echoed), (from, bytes));
    }
}

#[test]
fn streams_are_carried_from_the_kernel_s_stack() {
    streams_are_carried("generic");
}

#[test]
fn streams_are_carried_from_the_driver() {
    streams_are_carried("native");
}

#[test]
fn flows_follow_the_weights_and_stay_when_they_change() {
    let mut site = DrSite::segment(3, "generic");
    site.start(&[1, 2, 3]);
    let ports = || 10_000..28_000;
    let owners = site.owners(ports());
    for (number, weight) in [(1, 1.0), (2, 2.0), (3, 3.0)] {
        let share = owners.iter().filter(|owner| **owner == number).count() as f64 / 18_000.0;
        let want = weight / 6.0;
        assert!(
            (share - want).abs() <= want * 0.03,
            "e{number}: {share} of flows, not {want}"
        );
    }
    let flows =
        site.metric("tidegate_l4_dr_flows_total{listener=\"udp0\",endpoint=\"10.9.0.13:80\"}");
    let third = owners.iter().filter(|owner| **owner == 3).count();
    assert_eq!(flows, third as f64);

    // Drained: flows and connections stay, new ones go elsewhere.
    let mut held = Held::echo(&site);
    site.reload(&[5, 1, 0]);
    held.still_there();
    let some = || ports().step_by(20);
    let before: Vec<u8> = owners.iter().step_by(20).copied().collect();
    assert_eq!(site.owners(some()), before);
    let new = site.owners(30_000..30_300);
    assert!(!new.contains(&3));
    for _ in 0..20 {
        assert_ne!(site.connect().who().expect("the balancer forwards").0, "e3");
    }
}

#[test]
fn each_flow_gets_the_endpoint_that_explain_says() {
    let mut site = DrSite::segment(3, "generic");
    site.start(&[1, 2, 0]);
    let (client, service) = (site.lab.client().address(), site.service().to_string());
    let explain = |site: &DrSite, from: &str| {
        let words = ["l4", "explain", "--udp", "--to", &service, "--from"];
        let output = site.tidegate(&[&words[..], &[from, "-c"]].concat());
        String::from_utf8(output.stdout).expect("it is text")
    };
    let ports = 20_000..20_012;
    for (port, owner) in ports.clone().zip(site.owners(ports)) {
        let said = explain(&site, &format!("{client}:{port}"));
        let endpoint = site.lab.endpoints()[usize::from(owner) - 1].address();
        let line = format!("endpoint  {endpoint}:80, by the kernel's hash of the flow");
        assert!(said.contains(&line), "{line}:\n{said}");
    }
    let said = explain(&site, &client.to_string());
    assert!(said.contains("say the client's port"), "{said}");
    site.reload(&[0, 0, 0]);
    let said = explain(&site, &format!("{client}:1"));
    assert!(said.contains("endpoint  none takes connections"), "{said}");
}

#[test]
fn few_other_flows_move_when_an_endpoint_goes() {
    let mut site = DrSite::segment(10, "generic");
    // So few are remembered that the table alone decides about nearly all.
    site.options = "flows = 1024";
    site.start(&[1; 10]);
    let ports = || 10_000..20_000;
    let before = site.owners(ports());
    site.reload(&[1, 1, 1, 0, 1, 1, 1, 1, 1, 1]);
    let after = site.owners(ports());
    let others = before
        .iter()
        .zip(&after)
        .filter(|(before, _)| **before != 4);
    let (moved, others) = others.fold((0, 0), |(moved, others), (before, after)| {
        (moved + usize::from(before != after), others + 1)
    });
    assert!(moved * 50 <= others, "{moved} of {others} flows moved");
    let stayed = after.iter().filter(|owner| **owner == 4).count();
    assert!(stayed <= 1_100, "{stayed} flows were remembered");
}

#[test]
fn flows_leave_an_endpoint_that_dies_and_no_other() {
    let mut site = DrSite::segment(3, "generic");
    site.start(&[1, 1, 1]);
    let ports = || 10_000..10_600;
    let before = site.owners(ports());
    let mut held: Vec<Held> = (0..6).map(|_| Held::echo(&site)).collect();
    let live = |site: &DrSite, number: u8| {
        site.metric(&format!(
            "tidegate_l4_dr_endpoint_live{{listener=\"udp0\",endpoint=\"10.9.0.1{number}:80\"}}"
        ))
    };
    site.lab.endpoints()[1].run("ip link set dev eth0 down");
    wait_until("e2 is dead", || live(&site, 2) == 0.0);
    let after = site.owners(ports());
    for (before, after) in before.iter().zip(&after) {
        match before {
            2 => assert!([1, 3].contains(after)),
            stays => assert_eq!(stays, after),
        }
    }
    let mut lost = 0;
    for held in &mut held {
        // Another endpoint knows nothing of the connection.
        let _ = held.stream.write_all(b"still?");
        match held.stream.read_exact(&mut [0; 6]) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => lost += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(lost < 6, "all six were on one endpoint of three");
    site.lab.endpoints()[1].run("ip link set dev eth0 up");
    wait_until("e2 is well", || live(&site, 2) == 1.0);
    assert_eq!(site.owners(ports()), after, "nothing goes back");
    assert!(site.owners(20_000..20_200).contains(&2));
}

#[test]
fn nobody_is_refused_and_nothing_is_cut_when_the_process_dies_or_is_replaced() {
    let mut site = DrSite::segment(2, "generic");
    site.start(&[1, 1]);
    let mut held: Vec<Held> = (0..8).map(|_| Held::echo(&site)).collect();
    let before = site.owners(10_000..10_200);
    let done = AtomicBool::new(false);
    let (client, service) = (site.lab.client(), site.service());
    thread::scope(|scope| {
        let connecting = scope.spawn(|| {
            let mut connections = 0;
            while !done.load(Ordering::Relaxed) {
                Client::connect(client, service)
                    .and_then(Client::who)
                    .expect("the balancer forwards");
                connections += 1;
            }
            connections
        });
        let over = Over(&done);
        let stream = scope.spawn(|| {
            Client::connect(client, service)
                .expect("the balancer forwards")
                .both(256 << 20)
        });
        let id = site.process.as_ref().expect("the balancer forwards").id();
        send(id, Signal::KILL);
        thread::sleep(Duration::from_millis(700));
        let mut second = site.spawn();
        ready(&mut second);
        let successor = site.hand_over();
        send(successor, Signal::KILL);
        let mut third = site.spawn();
        ready(&mut third);
        stream
            .join()
            .expect("the balancer forwards")
            .expect("the balancer forwards");
        drop(over);
        assert!(connecting.join().expect("the balancer forwards") > 20);
        drop(second);
        drop(third);
    });
    for held in &mut held {
        held.still_there();
    }
    assert_eq!(site.owners(10_000..10_200), before);
}

fn ready(process: &mut tidegate_tests::process::Process) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .expect("the balancer forwards")
        .block_on(process.ready());
}

fn refused(site: &DrSite) -> bool {
    let refused = Client::connect(site.lab.client(), site.service());
    refused.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

#[test]
fn a_stop_takes_it_out_of_the_kernel_unless_it_is_to_stay() {
    let mut site = DrSite::segment(1, "generic");
    site.start(&[1]);
    site.connect().who().expect("the balancer forwards");
    assert!(has(&site.pins(), "link-"));
    let output = site.tidegate(&["l4", "flush", "-c"]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && stderr.contains("another process"),
        "{stderr}"
    );
    site.stop(Signal::TERM);
    assert!(!site.pins().exists());
    wait_until("the kernel has let go", || refused(&site));

    site.options = "keep = true";
    site.start(&[1]);
    site.stop(Signal::TERM);
    site.connect().who().expect("the balancer forwards");
    let output = site.tidegate(&["l4", "flush", "-c"]);
    assert!(output.status.success(), "{output:?}");
    assert!(!site.pins().exists());
    wait_until("the kernel has let go", || refused(&site));
    let again = site.tidegate(&["l4", "flush", "-c"]);
    assert!(again.status.success(), "{again:?}");
}

#[test]
fn nobody_is_refused_while_an_endpoint_that_is_new_is_looked_for() {
    let mut site = DrSite::segment(2, "generic");
    site.start(&[1]);
    let over = Arc::new(AtomicBool::new(false));
    let (until, to) = (over.clone(), site.service());
    let client = site.lab.client().enter(move || {
        let attempts = std::iter::repeat_with(|| {
            let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
            stream.write_all(b"who\n")?;
            stream.read_to_end(&mut Vec::new())
        });
        let attempts = attempts.take_while(|_| !until.load(Ordering::Relaxed));
        attempts.filter_map(Result::err).collect::<Vec<_>>()
    });
    // Nothing in the network has heard of the second one yet.
    site.reload_to(1);
    assert_eq!(site.connect().who().expect("it is found").0, "e2");
    over.store(true, Ordering::Relaxed);
    let refused = client.join().expect("connecting does not panic");
    assert!(refused.is_empty(), "{}: {refused:?}", refused.len());
}

#[test]
fn connections_are_refused_at_once_when_nobody_serves() {
    let mut site = DrSite::segment(1, "generic");
    site.start(&[0]);
    assert!(refused(&site));
    assert!(site.metric("tidegate_l4_dr_events_total{event=\"no_endpoint\"}") >= 1.0);
    site.reload(&[1]);
    site.connect().who().expect("the balancer forwards");
}

#[test]
fn endpoints_are_reached_over_other_interfaces_with_both_families() {
    let lab = Lab::routed(2);
    let vips: Vec<IpAddr> = vec![VIP.into(), VIP6.into()];
    for endpoint in lab.endpoints() {
        have_quietly(endpoint, &vips);
    }
    // The answers come by way of the balancer, which has their source address itself.
    let accept = "sysctl -q -w net.ipv4.conf.all.accept_local=1 net.ipv4.conf.all.rp_filter=0";
    lab.balancer().run(accept);
    for number in 1..=2 {
        let accept = format!("sysctl -q -w net.ipv4.conf.e{number}.rp_filter=0");
        lab.balancer().run(&accept);
    }
    // Not more than a frame at a time may change the interface.
    lab.client().run("ethtool -K eth0 tso off gso off");
    let mut site = DrSite::new(lab, vips, "front", "generic");
    site.start(&[1, 1]);
    let four = site.service();
    let six = SocketAddr::new(VIP6.into(), four.port());
    for service in [four, six] {
        let connect =
            || Client::connect(site.lab.client(), service).expect("the balancer forwards");
        let (_, seen) = connect().who().expect("the balancer forwards");
        let client = site.lab.client();
        let own = if service.is_ipv4() {
            client.address()
        } else {
            client.address6()
        };
        assert_eq!(seen.ip(), own);
        connect().both(64 << 20).expect("the balancer forwards");
    }
    let owners = site.owners(10_000..10_100);
    assert!(owners.contains(&1) && owners.contains(&2));
}

#[test]
fn what_cannot_work_is_told() {
    let site = DrSite::segment(1, "generic");
    let told = |text: &str| {
        let folder = tempfile::tempdir().expect("the balancer forwards");
        let file = folder.path().join("l4.toml");
        std::fs::write(&file, text).expect("the balancer forwards");
        let file = file.to_string_lossy().into_owned();
        let binary = tidegate_tests::binary::path();
        let mut command = site.lab.balancer().command(&binary.to_string_lossy());
        let output = command
            .args(["l4", "-c", &file])
            .output()
            .expect("the balancer forwards");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let config = |dr: &str, endpoint: &str| {
        format!(
            "[admin]\naddress = \"127.0.0.1:0\"\n[dr]\n{dr}\n[[listener]]\nname = \"a\"\naddress = \"10.9.0.100:80\"\n\
             mode = \"dr\"\ncluster = \"a\"\n[cluster.a]\nendpoints = [{{ address = \"{endpoint}\" }}]\n"
        )
    };
    let stderr = told(&config("", "10.9.0.11:80"));
    assert!(stderr.contains("need the interfaces"), "{stderr}");
    let stderr = told(&config("interfaces = [\"eth0\"]", "10.9.0.11:81"));
    assert!(stderr.contains("does not change the port"), "{stderr}");
    let stderr = told(&config("interfaces = [\"eth7\"]", "10.9.0.11:80"));
    assert!(
        stderr.contains("there is no network interface eth7"),
        "{stderr}"
    );
    let stderr = told(&config(
        "interfaces = [\"eth0\"]\npins = \"/tmp/pins\"",
        "10.9.0.11:80",
    ));
    assert!(
        stderr.contains("/tmp/pins is not in a BPF file system"),
        "{stderr}"
    );
}
