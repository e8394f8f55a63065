//! `ALIAS` records: addresses of other names, asked for in the background.

use std::fs;
use std::net::SocketAddr;

use tidegate_tests::binary::run;
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::name_server::{NameServer, Peer};
use tidegate_tests::question::{Answer, ask};

/// The zone of a provider, whom the alias leads to.
fn provider(address: &str) -> String {
    format!(
        "$TTL 1\n@ IN SOA ns host 1 1h 1h 1h 1\n@ NS ns\nns A 192.0.2.53\nlb A {address}\nlb AAAA 2001:db8::1\n\
         cdn CNAME lb\n"
    )
}

fn configuration(resolver: SocketAddr, stale: &str) -> String {
    format!(
        r#"
[resolver]
servers = ["{resolver}"]
timeout = "300ms"
soonest = "1s"
latest = "2s"
stale = "{stale}"

[[zone]]
name = "example.test"
ns = ["ns.provider.test."]
soa = {{ serial = 1 }}

[[zone.record]]
name = "@"
type = "ALIAS"
values = ["cdn.provider.test."]

[[zone.record]]
name = "www"
type = "CNAME"
values = ["@"]
"#
    )
}

/// Another process of ours with the provider's zone, as the resolver.
async fn upstream(address: &str) -> NameServer {
    let zone = "[[zone]]\nname = \"provider.test\"\nfile = \"zone\"\n";
    let text = provider(address);
    NameServer::start(zone, |folder| {
        fs::write(folder.join("zone"), text).expect("the folder is new")
    })
    .await
}

fn answer(server: &NameServer, name: &str, kind: &str) -> Answer {
    ask(server.address, name, kind).unwrap_or_else(|| panic!("{name} {kind}: no answer"))
}

fn address(server: &NameServer) -> Option<String> {
    let answer = answer(server, "example.test", "A");
    let line = answer.sections[0].first()?;
    line.rsplit(' ').next().map(str::to_owned)
}

async fn answers_with(server: &NameServer, expected: Option<&str>) {
    let what = format!("the answer is {expected:?}");
    eventually(&what, SOON, async || {
        (address(server).as_deref() == expected).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_apex_has_the_addresses_of_another_name_and_follows_them() {
    let upstream = upstream("198.51.100.1").await;
    let server = NameServer::start(&configuration(upstream.address, "1h"), |_| {}).await;
    // From the first answer on.
    let first = answer(&server, "example.test", "A");
    assert_eq!(first.head, "NOERROR qr aa");
    assert_eq!(first.sections[0], ["example.test 60 a 198.51.100.1"]);
    let six = answer(&server, "example.test", "AAAA");
    assert_eq!(six.sections[0], ["example.test 60 aaaa 2001:db8::1"]);
    let through = answer(&server, "www.example.test", "A");
    assert_eq!(through.sections[0].len(), 2, "{through:?}");
    assert_eq!(answer(&server, "example.test", "NS").sections[0].len(), 1);
    let itself = answer(&server, "example.test", "TYPE65401");
    assert_eq!(
        (itself.head.as_str(), itself.sections[0].len()),
        ("NOERROR qr aa", 0)
    );
    fs::write(
        upstream.folder.path().join("zone"),
        provider("198.51.100.2"),
    )
    .unwrap();
    answers_with(&server, Some("198.51.100.2")).await;
    // A reload keeps what is known, also when nobody can be asked.
    drop(upstream);
    assert_eq!(server.admin.reload().await.status, 200);
    assert_eq!(address(&server).as_deref(), Some("198.51.100.2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_addresses_are_answered_for_a_while_and_then_none() {
    let nsd = Peer::nsd("provider.test.", &provider("198.51.100.1"));
    let at = nsd.address;
    let server = NameServer::start(&configuration(at, "4s"), |_| {}).await;
    assert_eq!(address(&server).as_deref(), Some("198.51.100.1"));
    drop(nsd);
    let metric = "tidegate_dns_alias_failures_total{target=\"cdn.provider.test.\",type=\"A\"}";
    eventually("a failure is counted", SOON, async || {
        server
            .admin
            .metric(metric)
            .await
            .filter(|count| *count > 0.0)
    })
    .await;
    assert_eq!(
        address(&server).as_deref(),
        Some("198.51.100.1"),
        "the last good ones"
    );
    eventually("they are too old", SOON, async || {
        let answer = answer(&server, "example.test", "A");
        (answer.head == "SERVFAIL qr").then_some(())
    })
    .await;
    let other = answer(&server, "example.test", "NS");
    assert_eq!(other.head, "NOERROR qr aa", "other types are known");
    let known = "tidegate_dns_alias_known{target=\"cdn.provider.test.\",type=\"A\"}";
    assert_eq!(server.admin.metric(known).await, Some(0.0));
    let _back = Peer::nsd_at(at, "provider.test.", &provider("198.51.100.3"));
    answers_with(&server, Some("198.51.100.3")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_for_clients_is_not_taken() {
    let upstream = upstream("127.0.0.1").await;
    let server = NameServer::start(&configuration(upstream.address, "1h"), |_| {}).await;
    assert_eq!(answer(&server, "example.test", "A").head, "SERVFAIL qr");
    assert_eq!(
        answer(&server, "example.test", "AAAA").head,
        "NOERROR qr aa"
    );
    fs::write(upstream.folder.path().join("zone"), provider("10.0.0.1")).unwrap();
    eventually("the private one is refused", SOON, async || {
        let aliases = server.admin.get("/aliases").await;
        aliases.text().contains("10.0.0.1").then_some(())
    })
    .await;
    assert_eq!(
        answer(&server, "example.test", "A").head,
        "SERVFAIL qr",
        "private"
    );
    let private =
        configuration(upstream.address, "1h").replace("timeout", "private = true\ntimeout");
    server.configure(&private);
    answers_with(&server, Some("10.0.0.1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resolver_that_is_silent_delays_the_start_and_does_not_stop_it() {
    let silent = std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let resolver = silent.local_addr().unwrap();
    let server = NameServer::start(&configuration(resolver, "1h"), |_| {}).await;
    assert_eq!(answer(&server, "example.test", "A").head, "SERVFAIL qr");
    assert_eq!(answer(&server, "example.test", "SOA").head, "NOERROR qr aa");
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_where_the_addresses_come_from() {
    let upstream = upstream("198.51.100.1").await;
    let server = NameServer::start(&configuration(upstream.address, "1h"), |_| {}).await;
    let admin = format!("http://{}", server.admin.address);
    let explain = |args: &[&str]| {
        let args = [&["dns", "explain"], args, &["-c", "dns.toml"]].concat();
        let output = run(server.folder.path(), &args);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let live = explain(&["www.example.test", "A", "--admin", &admin]);
    for step in [
        "leads to  example.test., by the CNAME record of www.example.test.\n",
        "leads to  cdn.provider.test., by the ALIAS record of example.test.\n",
        "end       cdn.provider.test. is not in a zone of this server\n",
        &format!("asked     for cdn.provider.test., as {admin} knows it\n"),
        "          A: 198.51.100.1, answered ",
        "answer     example.test. 60 A 198.51.100.1\n",
    ] {
        assert!(live.contains(step), "{step}:\n{live}");
    }
    let alone = explain(&["example.test", "A"]);
    assert!(alone.contains("nobody answers at http://"), "{alone}");
    assert!(alone.contains("answer    SERVFAIL"), "{alone}");
    let other = explain(&["example.test", "MX"]);
    assert!(
        !other.contains("leads to"),
        "an alias is for addresses:\n{other}"
    );
}
