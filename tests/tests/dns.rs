//! The DNS server, as its clients and operators see it.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tidegate_tests::binary::run;
use tidegate_tests::edge::Home;
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::name_server::{NameServer, ZONE, said};
use tidegate_tests::question::{ask, query, read};

async fn server() -> NameServer {
    NameServer::start(ZONE, |_| {}).await
}

fn address_of_www(server: &NameServer) -> Option<String> {
    let answer = ask(server.address, "www.example.test", "A")?;
    answer.sections[0]
        .first()
        .map(|line| line.rsplit(' ').next().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn dig_and_kdig_are_answered_over_udp_and_tcp() {
    let server = server().await;
    for program in ["dig", "kdig"] {
        for transport in ["+notcp", "+tcp"] {
            let short = said(
                program,
                server.address,
                &["+short", transport, "www.example.test"],
            );
            assert_eq!(short, "192.0.2.1\n", "{program} {transport}");
        }
    }
    let whole = said("dig", server.address, &["nope.example.test", "MX"]);
    assert!(whole.contains("status: NXDOMAIN"), "{whole}");
    assert!(whole.contains("flags: qr aa rd;"), "{whole}");
    let elsewhere = said("dig", server.address, &["elsewhere.test"]);
    assert!(elsewhere.contains("status: REFUSED"), "{elsewhere}");
    let metric = "tidegate_dns_responses_total{transport=\"udp\",rcode=\"NXDOMAIN\"}";
    assert_eq!(server.admin.metric(metric).await, Some(1.0));
    let metric = "tidegate_dns_queries_total{transport=\"tcp\",type=\"A\"}";
    assert_eq!(server.admin.metric(metric).await, Some(2.0));
}

#[tokio::test]
async fn a_changed_file_is_served_and_a_broken_one_changes_nothing() {
    let server = server().await;
    assert_eq!(address_of_www(&server).as_deref(), Some("192.0.2.1"));
    server.configure(&ZONE.replace("192.0.2.1\"", "192.0.2.2\""));
    eventually("the new address is answered", SOON, async || {
        address_of_www(&server).filter(|address| address == "192.0.2.2")
    })
    .await;
    server.configure(&ZONE.replace("192.0.2.1\"", "192.0.2.300\""));
    let answer = server.admin.reload().await;
    assert_eq!(answer.status, 422);
    let text = answer.text();
    assert!(
        text.contains("dns.toml:16:11: not a record of type A"),
        "{text}"
    );
    assert_eq!(address_of_www(&server).as_deref(), Some("192.0.2.2"));
}

#[tokio::test]
async fn a_mistake_in_a_zone_file_is_told_with_its_place() {
    let zone = "[[zone]]\nname = \"example.test\"\nfile = \"zone\"\n";
    let sound =
        "@ 1h SOA ns1 host 1 1h 1h 1h 1h\n@ 1h NS ns1\nns1 60 A 192.0.2.1\n\nwww 60 A 192.0.2.1\n";
    let write = |text: &str, server: &NameServer| {
        let unfinished = server.folder.path().join("zone.new");
        fs::write(&unfinished, text).unwrap();
        fs::rename(unfinished, server.folder.path().join("zone")).unwrap();
    };
    let server = NameServer::start(zone, |folder| {
        fs::write(folder.join("zone"), sound).unwrap()
    })
    .await;
    for (text, expected) in [
        (
            sound.replace("60 A 192.0.2.1\n\nwww", "60 A 192.0.2\n\nwww"),
            "zone:3:",
        ),
        (
            sound.replace("www 60 A", "www 60 CNAME ns1\nwww 60 A"),
            "zone:6:1: `www.example.test.` has a CNAME record and A records",
        ),
        (
            sound.replace("www 60", "; here\n\n\twww.elsewhere.test. 60"),
            "zone:7:2",
        ),
        (
            sound.replace("www 60", "www.elsewhere.test. 60"),
            "zone:5:1: `www.elsewhere.test.` is not in the zone",
        ),
        (sound.replace("@ 1h NS ns1\n", ""), "has no NS records"),
        (sound.replace("www", "$GENERATE"), "zone:5:1"),
    ] {
        write(&text, &server);
        let answer = server.admin.reload().await;
        let said = answer.text();
        assert!(
            answer.status == 422 && said.contains(expected),
            "{expected}:\n{said}"
        );
        assert_eq!(address_of_www(&server).as_deref(), Some("192.0.2.1"));
    }
    // The zone file is watched like the configuration.
    write(
        &sound.replace("www 60 A 192.0.2.1", "www 60 A 192.0.2.7"),
        &server,
    );
    eventually("the new address is answered", SOON, async || {
        address_of_www(&server).filter(|address| address == "192.0.2.7")
    })
    .await;
}

#[tokio::test]
async fn answers_leave_from_the_address_that_was_asked() {
    let any = "[[listener]]\nname = \"any\"\naddress = \"0.0.0.0:PORT\"\n[[listener]]\nname = \"six\"\naddress = \"[::]:PORT\"\n";
    // One that the kernel gives to no client meanwhile, be it over TCP or UDP.
    let free = servers::free_port().unwrap();
    let any = any.replace("PORT", &free.to_string());
    let server = NameServer::start(&format!("{ZONE}{any}"), |_| {}).await;
    for address in ["127.0.0.1", "127.0.0.2", "127.1.2.3", "::1"] {
        let asked = SocketAddr::new(address.parse().unwrap(), free);
        // dig takes answers from elsewhere for what they may be: forged.
        let short = said(
            "dig",
            asked,
            &["+short", "+tries=1", "+time=2", "www.example.test"],
        );
        assert_eq!(short, "192.0.2.1\n", "{address}");
    }
    assert_eq!(address_of_www(&server).as_deref(), Some("192.0.2.1"));
}

fn connect(server: &NameServer) -> TcpStream {
    let stream = TcpStream::connect(server.address).expect("it listens");
    stream.set_read_timeout(Some(SOON)).expect("it is a time");
    stream
}

fn framed(packet: &[u8]) -> Vec<u8> {
    [&(packet.len() as u16).to_be_bytes(), packet].concat()
}

fn receive(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut packet = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut packet)?;
    Ok(packet)
}

/// Whether the other side ends the connection.
fn is_ended(stream: &mut TcpStream) -> bool {
    !matches!(stream.read(&mut [0; 16]), Ok(1..))
}

#[tokio::test]
async fn many_queries_over_one_connection_are_answered_in_order() {
    let server = server().await;
    let mut stream = connect(&server);
    let queries: Vec<u8> = (0..500)
        .flat_map(|id| framed(&query(id, "www.example.test", "A")))
        .collect();
    // In pieces that end in the middle of queries and of their lengths.
    for piece in queries.chunks(77) {
        stream.write_all(piece).unwrap();
    }
    for id in 0..500_u16 {
        let packet = receive(&mut stream).unwrap();
        assert_eq!(packet[..2], id.to_be_bytes());
        assert_eq!(read(&packet).sections[0].len(), 1);
    }
}

#[tokio::test]
async fn slow_and_idle_connections_end_and_no_client_has_too_many() {
    let limits = "tcp = { idle = \"300ms\", progress = \"300ms\", connections_per_client = 3, queries = 2 }\n";
    let server = NameServer::start(&format!("{limits}{ZONE}"), |_| {}).await;
    let began = Instant::now();
    let mut idle = connect(&server);
    let mut slow = connect(&server);
    let mut third = connect(&server);
    let packet = framed(&query(1, "www.example.test", "A"));
    third.write_all(&packet).unwrap();
    receive(&mut third).unwrap();
    let mut fourth = connect(&server);
    assert!(is_ended(&mut fourth), "three are enough for one client");
    // An octet now and then keeps nothing open.
    let mut dribble = slow.try_clone().unwrap();
    std::thread::spawn(move || {
        for octet in packet {
            let _ = dribble.write_all(&[octet]);
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    assert!(is_ended(&mut idle) && is_ended(&mut slow) && is_ended(&mut third));
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    let refused = server
        .admin
        .metric("tidegate_dns_refused_connections_total{limit=\"client\"}")
        .await;
    assert_eq!(refused, Some(1.0));
    let mut last = eventually("there is room again", SOON, async || {
        let mut stream = connect(&server);
        let sent = stream.write_all(&framed(&query(7, "www.example.test", "A")).repeat(3));
        sent.ok()
            .and_then(|()| receive(&mut stream).ok().map(|_| stream))
    })
    .await;
    receive(&mut last).unwrap();
    assert!(
        is_ended(&mut last),
        "two queries are enough for one connection"
    );
}

#[tokio::test]
async fn a_hand_over_loses_no_query() {
    let folder = tempfile::tempdir().unwrap();
    let door = folder.path().join("door.sock");
    let configuration = format!("handover = {{ socket = \"{}\" }}\n{ZONE}", door.display());
    let server = NameServer::start(&configuration, |_| {}).await;
    let address = server.address;
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stop = done.clone();
    let asking = std::thread::spawn(move || {
        let mut asked = 0;
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            let answer = ask(address, "www.example.test", "A");
            assert!(answer.is_some(), "query {asked} was lost");
            asked += 1;
        }
        asked
    });
    let successors = [(); 3].map(|()| server.hand_over());
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    let asked = asking.join();
    for successor in successors {
        tidegate_tests::process::send(successor, rustix::process::Signal::TERM);
    }
    assert!(asked.unwrap() > 20);
}

#[tokio::test]
async fn up_answers_for_the_names_of_the_demo() {
    let edge = Home::default();
    let edge = edge.up().await;
    let asked = || said("dig", edge.dns(), &["api.tidegate.test"]);
    let answered = "A\t127.0.0.1";
    let first = asked();
    assert!(first.contains(answered), "{first}");
    // A gateway that does not run answers nobody.
    let gateway = edge.role("gateway").await;
    tidegate_tests::process::send(gateway, rustix::process::Signal::STOP);
    let down = eventually("there is no address", SOON, async || {
        Some(asked()).filter(|said| !said.contains(answered))
    });
    let down = down.await;
    tidegate_tests::process::send(gateway, rustix::process::Signal::CONT);
    assert!(down.contains("status: SERVFAIL"), "{down}");
    eventually("the address is there again", SOON, async || {
        asked().contains(answered).then_some(())
    })
    .await;
}

#[tokio::test]
async fn explain_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let configuration = format!(
        "admin = {{ address = \"127.0.0.1:0\" }}\nlistener = [{{ name = \"dns\", address = \"127.0.0.1:0\" }}]\n{ZONE}"
    );
    fs::write(folder.path().join("dns.toml"), configuration).unwrap();
    let explain = |name: &str, kind: &str| {
        let args = [
            "dns",
            "explain",
            name,
            kind,
            "--from",
            "192.0.2.9",
            "-c",
            "dns.toml",
        ];
        let output = run(folder.path(), &args);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let there = explain("www.example.test", "A");
    assert_eq!(
        there,
        "www.example.test. A for 192.0.2.9\n\
         zone      example.test.\n\
         name      it is there\n\
         answer    NOERROR\n          answer     www.example.test. 300 A 192.0.2.1\n"
    );
    let nowhere = explain("a.b.example.test.", "TXT");
    assert!(
        nowhere.contains("it is not there; the closest is example.test."),
        "{nowhere}"
    );
    assert!(explain("elsewhere.test", "A").contains("none of ours"));
}
