//! What the balancer does with streams: not a byte is lost, an end is an end, and a reset is a reset.
//!
//! `TIDEGATE_FULL=1` sends 1 GiB each way, and a sixteenth of it otherwise.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use tidegate_tests::byte_peers::{Client, Server};
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::l4::{Balancer, cluster, listener};
use tidegate_tests::lab::{Lab, VIP};
use tidegate_tests::succession::resident;

fn bytes() -> u64 {
    match std::env::var_os("TIDEGATE_FULL") {
        Some(_) => 1 << 30,
        None => 1 << 26,
    }
}

async fn before(endpoint: SocketAddr) -> Balancer {
    let text = listener("in", "cluster = \"up\"") + &cluster("up", &[(endpoint, 1)], "");
    Balancer::start(&text).await
}

/// A client and an endpoint, and the balancer between them.
async fn pair() -> (Balancer, TcpStream, TcpStream) {
    let endpoints = TcpListener::bind("127.0.0.1:0").expect("ports are free");
    let balancer = before(endpoints.local_addr().expect("it is bound")).await;
    let client = TcpStream::connect(balancer.listener("in")).expect("it listens");
    let (endpoint, _) = endpoints.accept().expect("it is connected");
    for stream in [&client, &endpoint] {
        stream.set_read_timeout(Some(SOON)).expect("it is a socket");
    }
    (balancer, client, endpoint)
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_arrive_to_the_byte_from_three_endpoints() {
    let lab = Lab::routed(3);
    let endpoints: Vec<Server> = lab
        .endpoints()
        .iter()
        .enumerate()
        .map(|(at, host)| {
            let address = SocketAddr::new(host.address(), 7000);
            Server::start(host, &format!("e{at}"), address)
        })
        .collect();
    let vip = SocketAddr::new(VIP.into(), 7000);
    let all: Vec<_> = endpoints.iter().map(|one| (one.address, 1)).collect();
    let text = format!("[[listener]]\nname = \"in\"\naddress = \"{vip}\"\ncluster = \"up\"\n");
    let balancer = Balancer::start_on(lab.balancer(), &(text + &cluster("up", &all, ""))).await;
    let mut names = Vec::new();
    for _ in 0..6 {
        let client = Client::connect(lab.client(), vip).unwrap();
        let (name, seen) = client.who().unwrap();
        let here = seen.ip().to_string();
        assert!(
            here.starts_with("10.0."),
            "endpoints see the balancer: {here}"
        );
        names.push(name);
    }
    names.sort();
    assert_eq!(names, ["e0", "e0", "e1", "e1", "e2", "e2"]);
    let begun = Instant::now();
    Client::connect(lab.client(), vip)
        .unwrap()
        .both(bytes())
        .unwrap();
    println!("{} octets each way in {:?}", bytes(), begun.elapsed());
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let client = Client::connect(lab.client(), vip).unwrap();
            std::thread::spawn(move || client.both(5_000_017))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap().unwrap();
    }
    assert!(resident(balancer.process.id()) < 200 * 1024);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_side_may_end_before_the_other() {
    let (balancer, mut client, mut endpoint) = pair().await;
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut all = String::new();
    endpoint.read_to_string(&mut all).unwrap();
    assert_eq!(all, "question");
    endpoint.write_all(b"answer").unwrap();
    drop(endpoint);
    all.clear();
    client.read_to_string(&mut all).unwrap();
    assert_eq!(all, "answer");
    balancer.sees("in", "done", 1.0).await;

    let (balancer, mut client, mut endpoint) = pair().await;
    endpoint.write_all(b"greeting").unwrap();
    endpoint.shutdown(Shutdown::Write).unwrap();
    all.clear();
    client.read_to_string(&mut all).unwrap();
    assert_eq!(all, "greeting");
    client.write_all(b"farewell").unwrap();
    drop(client);
    all.clear();
    endpoint.read_to_string(&mut all).unwrap();
    assert_eq!(all, "farewell");
    balancer.sees("in", "done", 1.0).await;
    let octets = "tidegate_l4_octets_total{direction=\"up\",listener=\"in\"}";
    assert_eq!(balancer.admin.metric(octets).await, Some(8.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn resets_are_passed_on_both_ways() {
    let server = Server::local("up");
    let balancer = before(server.address).await;
    let client = Client::local(balancer.listener("in")).unwrap();
    let mut stream = client.stream();
    stream.write_all(b"reset\n").unwrap();
    let broken = stream.read(&mut [0; 9]).unwrap_err();
    assert_eq!(broken.kind(), ErrorKind::ConnectionReset);
    balancer.sees("in", "endpoint_broke", 1.0).await;
    let client = Client::local(balancer.listener("in")).unwrap();
    let mut stream = client.stream();
    stream.write_all(b"hold\n").unwrap();
    let mut name = [0; 3];
    stream.read_exact(&mut name).unwrap();
    assert_eq!(&name, b"up\n");
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
    drop(client);
    let ended = eventually("the endpoint hears of it", SOON, async || {
        server.endings().pop()
    });
    assert_eq!(ended.await, "ConnectionReset");
    balancer.sees("in", "client_broke", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_cost_no_memory() {
    let server = Server::local("up");
    let balancer = before(server.address).await;
    let to = balancer.listener("in");
    Client::local(to).unwrap().both(1 << 22).unwrap();
    let before = resident(balancer.process.id());
    let slow: Vec<_> = (0..30)
        .map(|_| {
            let client = Client::local(to).unwrap();
            let mut stream = client.stream();
            stream.write_all(b"slow 33554432\n").unwrap();
            client
        })
        .collect();
    balancer.holds("in", 30.0).await;
    // So long that everything is full that can be filled.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let grown = resident(balancer.process.id()).saturating_sub(before);
    assert!(
        grown < 12 * 1024,
        "{grown} KiB for 30 readers that do not read"
    );
    drop(slow);
    Client::local(to)
        .unwrap()
        .with_slow_reader(1 << 22)
        .unwrap();
}
