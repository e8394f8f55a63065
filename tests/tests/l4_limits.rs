//! What the balancer does not let in, and what it ends.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::l4::{Balancer, Recorder, client_hello, cluster, introduce, listener, sni};
use tidegate_tests::succession::{cpu_ticks, descriptors};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// A connection over which the endpoint has said its name.
async fn held(to: SocketAddr) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(to).await.ok()?;
    let said = stream.read_u8().await;
    said.is_ok().then_some(stream)
}

/// A balancer with a listener of these keys before this endpoint.
async fn before(endpoint: &Recorder, keys: &str) -> Balancer {
    let text = listener("in", &format!("cluster = \"up\"\n{keys}"));
    Balancer::start(&(text + &cluster("up", &[(endpoint.address, 1)], ""))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_has_as_many_connections_as_it_may() {
    let up = Recorder::start("up").await;
    let balancer = before(&up, "limits = { connections = 2 }").await;
    let to = balancer.listener("in");
    let first = held(to).await.expect("there is room");
    let _second = held(to).await.expect("there is room");
    assert!(held(to).await.is_none());
    balancer.sees("in", "listener_full", 1.0).await;
    drop(first);
    balancer.holds("in", 1.0).await;
    assert!(held(to).await.is_some(), "there is room again");
    let (cluster, listener) = (
        cluster("up", &[(up.address, 1)], ""),
        listener("in", "cluster = \"up\""),
    );
    let balancer = Balancer::start(&format!("connections = 1\n{listener}{cluster}")).await;
    let to = balancer.listener("in");
    let _first = held(to).await.expect("there is room");
    assert!(held(to).await.is_none());
    balancer.sees("in", "process_full", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_as_many_connections_as_it_may() {
    let up = Recorder::start("up").await;
    let keys =
        "limits = { per_client = 2 }\nproxy_protocol = \"optional\"\ntrusted = [\"127.0.0.0/8\"]";
    let balancer = before(&up, keys).await;
    let to = balancer.listener("in");
    let open = async |client: &str| {
        let mut stream = TcpStream::connect(to).await.unwrap();
        let header = format!("PROXY TCP4 {client} 192.0.2.1 4711 80\r\n");
        stream.write_all(header.as_bytes()).await.unwrap();
        let said = stream.read_u8().await;
        said.is_ok().then_some(stream)
    };
    let mut kept = Vec::new();
    for client in ["192.0.2.7", "192.0.2.8", "192.0.2.7", "192.0.2.8"] {
        kept.push(open(client).await.expect("each may have two"));
    }
    assert!(open("192.0.2.7").await.is_none());
    assert!(open("192.0.2.9").await.is_some());
    balancer.sees("in", "client_full", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_connections_come_no_faster_than_they_may() {
    let up = Recorder::start("up").await;
    let balancer = before(
        &up,
        "limits = { accept_rate = { per_second = 1, burst = 3 } }",
    )
    .await;
    let to = balancer.listener("in");
    let begun = Instant::now();
    let mut taken = 0;
    for _ in 0..10 {
        taken += u64::from(held(to).await.is_some());
    }
    let more = begun.elapsed().as_secs() + 1;
    assert!((3..=3 + more).contains(&taken), "{taken}");
    balancer.sees("in", "too_fast", 10.0 - taken as f64).await;
}

/// Whether a client from this address reaches the endpoint.
async fn reaches(to: SocketAddr, from: &str) -> bool {
    let socket = TcpSocket::new_v4().expect("sockets are free");
    let own = format!("{from}:0").parse().expect("an address");
    socket.bind(own).expect("ports are free");
    match socket.connect(to).await {
        Ok(mut stream) => stream.read_u8().await.is_ok(),
        Err(_) => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_are_let_in_or_not() {
    let up = Recorder::start("up").await;
    let keys = "allow = [\"127.0.0.0/8\"]\ndeny = [\"127.0.0.2\"]";
    let balancer = before(&up, keys).await;
    let to = balancer.listener("in");
    assert!(reaches(to, "127.0.0.1").await && reaches(to, "127.0.0.3").await);
    assert!(!reaches(to, "127.0.0.2").await);
    balancer.sees("in", "denied", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_takes_no_place_of_others() {
    let up = Recorder::start("up").await;
    let keys = "deny = [\"127.0.0.2\"]\nproxy_protocol = \"optional\"\ntrusted = [\"127.0.0.9\"]\n\
                limits = { accept_rate = { per_second = 1, burst = 2 } }";
    let balancer = before(&up, keys).await;
    let to = balancer.listener("in");
    for _ in 0..20 {
        assert!(!reaches(to, "127.0.0.2").await);
    }
    assert!(reaches(to, "127.0.0.1").await);
    balancer.sees("in", "denied", 20.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn full_and_refusing_endpoints_are_passed_over() {
    let (one, other) = (Recorder::start("one").await, Recorder::start("other").await);
    // Somebody has the port, and nobody listens there.
    let refusing = TcpSocket::new_v4().unwrap();
    refusing.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let dead = refusing.local_addr().unwrap();
    let endpoints: Vec<String> = [one.address, other.address, dead]
        .iter()
        .map(|address| format!("{{ address = \"{address}\", limit = 1 }}"))
        .collect();
    let text = listener("in", "cluster = \"up\"")
        + &listener("dead", "cluster = \"dead\"")
        + &cluster("dead", &[(dead, 1)], "")
        + &format!("[cluster.up]\nendpoints = [{}]\n", endpoints.join(", "));
    let balancer = Balancer::start(&text).await;
    let to = balancer.listener("in");
    let _both = (
        held(to).await.expect("one has room"),
        held(to).await.expect("the other has room"),
    );
    assert!(held(to).await.is_none(), "none has room, and one refuses");
    balancer.sees("in", "not_connected", 1.0).await;
    let metric =
        format!("tidegate_l4_endpoint_failures_total{{cluster=\"up\",endpoint=\"{dead}\"}}");
    assert!(balancer.admin.metric(&metric).await >= Some(1.0));
    assert_eq!(introduce(balancer.listener("dead"), &[b"x"]).await, "");
    balancer.sees("dead", "not_connected", 1.0).await;
    let dead = cluster("up", &[(dead, 0)], "");
    balancer
        .reload(&(listener("in", "cluster = \"up\"") + &dead))
        .await;
    assert_eq!(introduce(to, &[b"x"]).await, "");
    balancer.sees("in", "no_endpoint", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_last_no_longer_than_they_may() {
    let up = Recorder::start("up").await;
    let mut text = cluster("up", &[(up.address, 1)], "");
    for (name, times) in [
        ("idle", "idle = \"300ms\""),
        ("half", "half_closed = \"300ms\""),
        ("total", "total = \"700ms\""),
    ] {
        let keys = format!("cluster = \"up\"\ntimeouts = {{ {times} }}");
        text += &listener(name, &keys);
    }
    let balancer = Balancer::start(&text).await;
    // Every 50 ms a byte, until it breaks.
    let talk = async |listener: &str| {
        let mut stream = held(balancer.listener(listener)).await.unwrap();
        let begun = Instant::now();
        while stream.write_all(b"x").await.is_ok() && begun.elapsed() < Duration::from_millis(1500)
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        begun.elapsed()
    };
    assert!(
        talk("idle").await >= Duration::from_millis(1500),
        "it moves"
    );
    let took = talk("total").await;
    assert!((500..1500).contains(&took.as_millis()), "{took:?}");
    balancer.sees("total", "expired", 1.0).await;
    let mut idle = held(balancer.listener("idle")).await.unwrap();
    let begun = Instant::now();
    assert_eq!(
        idle.read_to_end(&mut Vec::new()).await.unwrap(),
        2,
        "the rest of the name"
    );
    assert!(begun.elapsed() >= Duration::from_millis(250));
    // One that left by itself, above, may be among them.
    eventually("it is counted", SOON, async || {
        (balancer.ended("idle", "idle").await >= 1.0).then_some(())
    })
    .await;
    // Longer silent than half-closed connections may be: the time begins when the side ends.
    let endpoints = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let keys = "cluster = \"up\"\ntimeouts = { half_closed = \"600ms\" }";
    let text = listener("half", keys) + &cluster("up", &[(endpoints.local_addr().unwrap(), 1)], "");
    let balancer = Balancer::start(&text).await;
    let mut client = TcpStream::connect(balancer.listener("half")).await.unwrap();
    let (mut endpoint, _) = endpoints.accept().await.unwrap();
    tokio::time::sleep(Duration::from_millis(900)).await;
    client.shutdown().await.unwrap();
    assert_eq!(endpoint.read(&mut [0; 9]).await.unwrap(), 0);
    endpoint.write_all(b"answer").await.unwrap();
    assert_eq!(client.read(&mut [0; 9]).await.unwrap(), 6);
    let begun = Instant::now();
    assert_eq!(client.read(&mut [0; 9]).await.unwrap_or(0), 0);
    assert!(begun.elapsed() < Duration::from_secs(5));
    balancer.sees("half", "idle", 1.0).await;
}

/// A balancer that looks for a name at one listener, and for a PROXY header at the other.
async fn impatient(up: &Recorder) -> Balancer {
    let keys = "cluster = \"up\"\ntimeouts = { first_bytes = \"400ms\" }";
    let header = "proxy_protocol = \"required\"\ntrusted = [\"127.0.0.0/8\"]";
    let text = listener("name", keys)
        + &listener("header", &format!("{keys}\n{header}"))
        + "[[route]]\nnames = [\"one.test\"]\ncluster = \"up\"\nlisteners = [\"name\"]\n"
        + &cluster("up", &[(up.address, 1)], "");
    Balancer::start(&text).await
}

/// How long a client is borne that sends these octets one by one, every 20 ms, and then nothing.
async fn borne(to: SocketAddr, octets: &[u8]) -> Duration {
    let mut stream = TcpStream::connect(to).await.expect("somebody listens");
    let (mut reading, mut writing) = stream.split();
    let begun = Instant::now();
    let write = async {
        for octet in octets {
            if writing.write_all(&[*octet]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut nothing = [0; 1];
    tokio::select! {
        () = write => {}
        read = reading.read(&mut nothing) => assert!(!matches!(read, Ok(1..)), "{octets:?}"),
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn beginnings_that_never_end_are_closed_in_time() {
    let up = Recorder::start("up").await;
    let balancer = impatient(&up).await;
    let (name, header) = (balancer.listener("name"), balancer.listener("header"));
    let hello = client_hello(&[sni("one.test"), (21, vec![0; 400])], 16_384);
    for (to, octets) in [
        (name, &hello[..]),
        (name, &hello[..9]),
        (name, b"GET / HTTP/1.1\r\nHos"),
        (name, b""),
        (header, b""),
    ] {
        let took = borne(to, octets).await;
        assert!(
            (390..3000).contains(&took.as_millis()),
            "{octets:?}: {took:?}"
        );
    }
    balancer.sees("name", "slow", 4.0).await;
    balancer.sees("header", "slow", 1.0).await;
    assert_eq!(introduce(name, &[&hello[..50]]).await, "");
    balancer.sees("name", "left", 1.0).await;
    assert_eq!(introduce(name, &[&hello]).await, "up", "others are served");
}

#[tokio::test(flavor = "multi_thread")]
async fn beginnings_that_lie_are_refused() {
    let up = Recorder::start("up").await;
    let balancer = impatient(&up).await;
    let (name, header) = (balancer.listener("name"), balancer.listener("header"));
    // It says that it is longer than any header may be.
    borne(header, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff").await;
    balancer.sees("header", "proxy_header", 1.0).await;
    let line = format!("PROXY TCP4 203.0.113.9 192.0.2.1 {} 443", "0".repeat(60));
    assert_eq!(introduce(header, &[line.as_bytes(), b"0"]).await, "");
    balancer.sees("header", "proxy_header", 2.0).await;
    let mut lying = client_hello(&[sni("one.test")], 16_384);
    lying[6..9].fill(0xff);
    let mut short = client_hello(&[sni("one.test")], 16_384);
    short[8] -= 1;
    for wrong in [&lying, &short] {
        assert_eq!(introduce(name, &[wrong]).await, "");
    }
    balancer.sees("name", "malformed", 2.0).await;
    let long = [&b"GET / HTTP/1.1\r\nx: "[..], &[b'x'; 70_000]].concat();
    assert_eq!(introduce(name, &[&long]).await, "");
    balancer.sees("name", "too_long", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_connections_wait_and_nothing_spins() {
    let up = Recorder::start("up").await;
    let text = format!("threads = 1\n{}", listener("in", "cluster = \"up\""));
    let keys = "connect_timeout = \"20s\"\nconnect_budget = \"20s\"";
    let balancer = Balancer::start(&(text + &cluster("up", &[(up.address, 1)], keys))).await;
    let to = balancer.listener("in");
    let process = balancer.process.id();
    drop(held(to).await.expect("it serves"));
    balancer.holds("in", 0.0).await;
    let limit = |files: usize| {
        let mut command = Command::new("prlimit");
        command.args([
            "--pid",
            &process.to_string(),
            &format!("--nofile={files}:20000"),
        ]);
        assert!(command.status().unwrap().success());
    };
    // The admin listener needs one, too.
    let first = held(to).await.expect("it serves");
    limit(descriptors(process));
    let waiting: Vec<_> = (0..3).map(|_| tokio::spawn(held(to))).collect();
    let said = |what: &str| balancer.process.stderr().matches(what).count();
    eventually("it says so", SOON, async || {
        (said("cannot accept") > 0).then_some(())
    })
    .await;
    let ticks = cpu_ticks(process);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let spent = cpu_ticks(process) - ticks;
    assert!(spent <= 20, "{spent} of 200 ticks: it spins");
    assert_eq!(said("cannot accept"), 1, "once");
    assert!(waiting.iter().all(|client| !client.is_finished()));
    drop(first);
    limit(20_000);
    for client in waiting {
        let served = tokio::time::timeout(SOON, client).await;
        assert!(served.expect("it goes on by itself").unwrap().is_some());
    }
    let failures = "tidegate_l4_accept_failures_total{listener=\"in\"}";
    assert!(balancer.admin.metric(failures).await > Some(0.0));
}

/// An endpoint that takes no connection: as many wait for it as may, and a further one gets no answer.
async fn mute() -> (SocketAddr, (TcpListener, Vec<TcpStream>)) {
    let socket = TcpSocket::new_v4().expect("there is room");
    socket
        .bind("127.0.0.1:0".parse().expect("there is room"))
        .expect("there is room");
    let listener = socket.listen(0).expect("there is room");
    let address = listener.local_addr().expect("there is room");
    let mut waiting = Vec::new();
    let patience = Duration::from_millis(300);
    while let Ok(stream) = tokio::time::timeout(patience, TcpStream::connect(address)).await {
        waiting.push(stream.expect("there is room"));
    }
    (address, (listener, waiting))
}

#[tokio::test(flavor = "multi_thread")]
async fn few_connections_wait_for_endpoints_that_take_none() {
    let up = Recorder::start("up").await;
    let (one, _one) = mute().await;
    let (other, _other) = mute().await;
    let keys = "connect_timeout = \"300ms\"\nconnect_budget = \"600ms\"";
    let text = listener("two", "cluster = \"two\"")
        + &listener("three", "cluster = \"three\"")
        + &cluster("two", &[(one, 1), (up.address, 1)], keys)
        + &cluster("three", &[(one, 1), (other, 1), (up.address, 1)], keys);
    let balancer = Balancer::start(&text).await;
    // Of three, the first that comes to both finds none.
    for (name, refused) in [("two", 0), ("three", 1)] {
        let to = balancer.listener(name);
        let (mut slow, mut none) = (0, 0);
        for _ in 0..30 {
            let begun = Instant::now();
            none += usize::from(held(to).await.is_none());
            slow += usize::from(begun.elapsed() > Duration::from_millis(250));
        }
        println!("{name}: {slow} of 30 were slow, {none} were refused");
        assert!(none <= refused, "{name}: {none} of 30 found none");
        assert!((1..=5).contains(&slow), "{name}: {slow} of 30 were slow");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_leaves_connections_their_descriptors() {
    const FILES: usize = 200;
    let bulk = bulky().await;
    let text = "threads = 2\n".to_owned()
        + &listener("in", "cluster = \"up\"")
        + &cluster("up", &[(bulk, 1)], "");
    let shell = format!("ulimit -n {FILES}; exec \"$@\"");
    let balancer = Balancer::start_through(&shell, &text).await;
    let to = balancer.listener("in");
    let mut open = Vec::new();
    // None of them reads further, so that what is under way for each stays there.
    while let Some(stream) = held(to).await {
        open.push(stream);
    }
    let used = descriptors(balancer.process.id());
    println!("{} connections, {used} of {FILES} descriptors", open.len());
    assert!(open.len() > 20, "{}", open.len());
    assert!(used < FILES, "{used}");
    assert!(balancer.ended("in", "process_full").await > 0.0);
    let failed =
        format!("tidegate_l4_endpoint_failures_total{{cluster=\"up\",endpoint=\"{bulk}\"}}");
    assert_eq!(balancer.admin.metric(&failed).await, Some(0.0));
}

/// An endpoint that sends without an end.
async fn bulky() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("there is room");
    let address = listener.local_addr().expect("there is room");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let chunk = vec![7; 1 << 20];
                while stream.write_all(&chunk).await.is_ok() {}
            });
        }
    });
    address
}
