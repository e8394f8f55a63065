//! What a start and a reload of the DNS server tell, and when.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidegate_tests::binary::{repository, run};
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::name_server::{NameServer, free_for_both};
use tidegate_tests::question::ask;
use tidegate_tests::succession::resident;

/// A policy with a check of an endpoint.
fn policy(ttl: &str, check: &str, probe: &str) -> String {
    format!(
        r#"
[[zone]]
name = "example.test"
ns = ["ns1.example.net."]

[[zone.record]]
name = "api"
type = "A"
ttl = "{ttl}"
policy = "api"

[[site]]
name = "fra"

[check.edge]
{check}
timeout = "4s"

[policy.api.private]
check = "edge"
all_down = "all"
endpoints = [{{ site = "fra", address = "192.0.2.1", probe = "{probe}" }}]
"#
    )
}

#[test]
fn a_port_in_use_is_told_before_checks_have_an_outcome() {
    let taken = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap();
    // Connections are accepted by the kernel, and nobody answers.
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let probe = silent.local_addr().unwrap().to_string();
    let folder = TempDir::new().unwrap();
    let listener = format!(
        "admin = {{ address = \"127.0.0.1:0\" }}\n[[listener]]\nname = \"dns\"\naddress = \"{address}\"\n"
    );
    let text = listener + &policy("5s", "http = { path = \"/\" }", &probe);
    fs::write(folder.path().join("dns.toml"), text).unwrap();
    let began = Instant::now();
    let output = run(folder.path(), &["dns", "-c", "dns.toml"]);
    let took = began.elapsed();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(
        said.contains(&format!("cannot listen on {address}")),
        "{said}"
    );
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_that_come_after_the_configuration_are_read_then() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let probe = silent.local_addr().unwrap().to_string();
    let server = NameServer::start(
        &policy("5s", "tcp = {}", &probe).replace("{}", "{ port = 1 }"),
        |_| {},
    )
    .await;
    let check =
        "http = { path = \"/\", tls = { server_name = \"edge.test\", ca = \"later.pem\" } }";
    server.configure(&policy("7s", check, &probe));
    let failed = "tidegate_reload_last_failed";
    eventually("the authorities are missed", SOON, async || {
        (server.admin.metric(failed).await == Some(1.0)).then_some(())
    })
    .await;
    let certificate = repository().join("tests/broken/certificate.pem");
    fs::copy(certificate, server.folder.path().join("later.pem")).unwrap();
    eventually("the new configuration serves", SOON, async || {
        (server.admin.metric(failed).await == Some(0.0)).then_some(())
    })
    .await;
    let answer = ask(server.address, "api.example.test", "A");
    assert!(answer.is_some_and(|answer| !answer.head.contains("NXDOMAIN")));
}

/// A zone that is signed.
fn signed(name: &str) -> String {
    format!("[[zone]]\nname = \"{name}\"\nns = [\"ns1.example.net.\"]\ndnssec = {{}}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_bound_makes_no_keys() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let listener = format!("[[listener]]\nname = \"taken\"\naddress = \"{address}\"\n");
    let folder = TempDir::new().unwrap();
    let keys = "admin = { address = \"127.0.0.1:0\" }\n[dnssec]\nkeys = \"keys\"\n";
    let text = [keys, &signed("example.test"), &listener].concat();
    fs::write(folder.path().join("dns.toml"), text).unwrap();
    let output = run(folder.path(), &["dns", "-c", "dns.toml"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("cannot listen on"), "{said}");
    let file = |name: &str| format!("keys/{name}.keys.json");
    assert!(!folder.path().join(file("example.test")).exists());
    // A reload neither, for a zone that is new.
    let keys = "[dnssec]\nkeys = \"keys\"\n";
    let before = [keys, &signed("example.test")].concat();
    let server = NameServer::start(&before, |_| {}).await;
    let file = |name: &str| server.folder.path().join(file(name));
    assert!(file("example.test").exists());
    server.configure(&[&before, &signed("other.test"), &*listener].concat());
    let refused = server.admin.reload().await;
    assert!(
        refused.text().contains("cannot listen on"),
        "{}",
        refused.text()
    );
    assert!(!file("other.test").exists());
    server.configure(&[&*before, &signed("other.test")].concat());
    assert_eq!(server.admin.reload().await.status, 200);
    assert!(file("other.test").exists());
}

/// The response code of the first answer to a request for a zone, once somebody listens.
fn first_transfer(address: SocketAddr) -> u8 {
    let request = b"\0\x1e\0\x01\0\0\0\x01\0\0\0\0\0\0\x07example\x04test\0\0\xfc\0\x01";
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(60) {
        let Ok(mut stream) = TcpStream::connect(address) else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        stream.write_all(request).expect("it is taken");
        let mut head = [0; 6];
        stream.read_exact(&mut head).expect("there is an answer");
        return head[5] & 0x0F;
    }
    panic!("nobody listens");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_transfer_after_a_start_is_answered() {
    let address = free_for_both();
    let configuration = format!(
        "[[zone]]\nname = \"example.test\"\nfile = \"zone\"\ntransfer = [{{ from = [\"127.0.0.1\"] }}]\n\
         [[listener]]\nname = \"fixed\"\naddress = \"{address}\"\n"
    );
    let asking = std::thread::spawn(move || first_transfer(address));
    let _server = NameServer::start(&configuration, |folder| {
        let mut zone = String::from(
            "@ 1h SOA ns1.example.net. host 1 1h 1h 1d 1h\n@ 1h NS ns1.example.net.\n",
        );
        for number in 0..50_000 {
            writeln!(zone, "t{number} 60 TXT \"{number}\"").expect("text takes text");
        }
        fs::write(folder.join("zone"), zone).expect("the folder is new");
    })
    .await;
    assert_eq!(asking.join().expect("it does not panic"), 0, "NOERROR");
}

#[tokio::test]
async fn reloads_leave_nothing_of_what_they_replace() {
    const NAMES: u32 = 30_000;
    let zone = |serial: u32| {
        let mut text =
            format!("$TTL 60\n@ SOA ns host {serial} 1h 1h 1h 30\n@ NS ns.other.test.\n");
        for number in 0..NAMES {
            let address = std::net::Ipv4Addr::from_bits((10 << 24) + number);
            text += &format!("n{number} A {address}\n");
        }
        text
    };
    let configuration = "[[zone]]\nname = \"example.test\"\nfile = \"zone\"\n";
    let server = NameServer::start(configuration, |folder| {
        fs::write(folder.join("zone"), zone(1)).expect("the folder is new");
    })
    .await;
    let before = resident(server.process.id());
    for serial in 2..5 {
        fs::write(server.folder.path().join("zone"), zone(serial)).unwrap();
        assert_eq!(server.admin.reload().await.status, 200);
    }
    let answer = ask(server.address, "example.test", "SOA").unwrap();
    assert!(answer.sections[0][0].contains(" 4 "), "{answer:?}");
    // What is compiled takes 200 octets a name.
    let most = before + u64::from(NAMES) * 200 / 1024;
    eventually("its memory is what it was", SOON, async || {
        (resident(server.process.id()) < most).then_some(())
    })
    .await;
}
