//! TLS with clients: which certificate they get, versions, tickets, OCSP; all with openssl and curl.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use tidegate_tests::authority::{Authority, Order};
use tidegate_tests::binary;
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::gateway::Gateway;
use tidegate_tests::openssl::{Said, run, s_client};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A gateway with one listener and no upstream; what is asked is answered 404.
struct Site {
    authority: Authority,
    gateway: Gateway,
}

fn configuration(tls: &str) -> String {
    format!(
        r#"
threads = 2
admin = {{ address = "127.0.0.1:0" }}

[[listener]]
name = "https"
address = "127.0.0.1:0"
timeouts = {{ handshake = "1s" }}

[listener.tls]
{tls}
"#
    )
}

impl Site {
    async fn with(authority: Authority, tls: &str) -> Self {
        authority.write("gateway.toml", configuration(tls));
        let gateway = Gateway::of(&authority.file("gateway.toml")).await;
        Self { authority, gateway }
    }

    /// With one certificate for `a.test`.
    async fn simple(tls: &str) -> Self {
        let authority = Authority::new("authority");
        authority.server("a", &["a.test"]);
        let certificate = "certificate = \"a.pem\"\nkey = \"a.key\"\n";
        Self::with(authority, &format!("{certificate}{tls}")).await
    }

    fn address(&self) -> SocketAddr {
        self.gateway.listener("https")
    }

    async fn ask(&self, args: &str) -> Said {
        let args = format!("-CAfile ca.pem {args}");
        s_client(self.address(), self.authority.folder(), &args).await
    }

    async fn reload(&self, tls: &str) {
        self.authority.write("gateway.toml", configuration(tls));
        self.gateway.admin.reload().await.expect(200);
    }

    /// How many handshakes ended like this.
    async fn count(&self, outcome: &str) -> f64 {
        let name = "tidegate_gateway_tls_handshakes_total";
        let metric = format!("{name}{{outcome=\"{outcome}\"}}");
        self.gateway.admin.metric(&metric).await.unwrap_or(0.0)
    }
}

#[tokio::test]
async fn the_name_that_a_client_asks_for_decides_which_certificate_it_gets() {
    let authority = Authority::new("authority");
    for (file, names) in [
        ("default", &["default.test"][..]),
        ("wild", &["*.a.test", "a.test"]),
        ("exact", &["www.a.test"]),
    ] {
        let common_name = file;
        let order = Order {
            names,
            common_name,
            ..Order::default()
        };
        authority.make(file, order);
    }
    let keys = "certificate = \"default.pem\"\nkey = \"default.key\"\ncertificates = [\
         { certificate = \"wild.pem\", key = \"wild.key\" }, { certificate = \"exact.pem\", key = \"exact.key\" }]\n";
    let site = Site::with(authority, keys).await;
    for (name, certificate) in [
        ("www.a.test", "exact"),
        ("other.a.test", "wild"),
        ("a.test", "wild"),
        ("x.y.a.test", "default"),
        ("elsewhere.test", "default"),
    ] {
        let said = site.ask(&format!("-servername {name}")).await;
        said.expect(&format!("subject=CN = {certificate}\n"))
            .expect("HTTP/1.1 404");
    }
    let nameless = site.ask("-noservername").await;
    nameless.expect("subject=CN = default\n");

    site.reload(&format!("{keys}unknown_names = \"refuse\""))
        .await;
    let known = site.ask("-servername www.a.test").await;
    known.expect("subject=CN = exact\n");
    let unknown = site.ask("-servername elsewhere.test").await;
    unknown.expect("unrecognized name");
    site.ask("-noservername").await.expect("missing extension");
    assert_eq!(site.count("unknown_name").await, 1.0);
    assert_eq!(site.count("no_name").await, 1.0);
    assert_eq!(site.count("full").await, 7.0);
}

#[tokio::test]
async fn a_name_can_have_a_certificate_of_each_kind() {
    let authority = Authority::new("authority");
    let names = &["a.test"][..];
    authority.server("p256", names);
    let rsa = true;
    let order = Order {
        names,
        rsa,
        ..Order::default()
    };
    authority.make("rsa", order);
    let keys = "certificates = [{ certificate = \"p256.pem\", key = \"p256.key\" }, { certificate = \"rsa.pem\", key = \"rsa.key\" }]";
    let site = Site::with(authority, keys).await;
    let modern = site.ask("-servername a.test").await;
    modern.expect("Peer signature type: ECDSA");
    let old = "-servername a.test -sigalgs RSA-PSS+SHA256:RSA+SHA256";
    for version in ["-tls1_3", "-tls1_2"] {
        let old = site.ask(&format!("{old} {version}")).await;
        old.expect("Peer signature type: RSA-PSS");
    }
    let strange = site.ask("-servername a.test -sigalgs ed25519").await;
    strange.expect("alert");
    assert_eq!(site.count("no_shared_signature").await, 1.0);
}

#[tokio::test]
async fn a_changed_file_counts_for_new_handshakes_and_a_broken_one_does_not() {
    let site = Site::simple("").await;
    let serial = |serial: u64| Order {
        names: &["a.test"],
        serial,
        ..Order::default()
    };
    let shown = async || {
        let said = site.ask("").await;
        let command = "x509 -noout -serial -in shown.pem";
        site.authority.write("shown.pem", said.text);
        let said = run("openssl", site.authority.folder(), command).await;
        said.text.trim().to_owned()
    };
    assert_eq!(shown().await, "serial=07");
    site.authority.make("a", serial(8));
    eventually("the new certificate is served", SOON, async || {
        (shown().await == "serial=08").then_some(())
    })
    .await;

    let of_another = Authority::new("another");
    of_another.server("a", &["a.test"]);
    for (file, content) in [
        ("a.pem", "no certificate".into()),
        ("a.key", fs::read(of_another.file("a.key")).unwrap()),
    ] {
        let before = fs::read(site.authority.file(file)).unwrap();
        site.authority.write(file, content);
        let answer = site.gateway.admin.reload().await;
        assert!(
            answer.status >= 400 && answer.text().contains(file),
            "{}",
            answer.text()
        );
        assert_eq!(shown().await, "serial=08");
        site.authority.write(file, before);
    }
    site.gateway.admin.reload().await.expect(200);
}

#[tokio::test]
async fn versions_suites_and_groups_are_as_configured() {
    let keys = "certificate = \"a.pem\"\nkey = \"a.key\"\n";
    let site = Site::simple("versions = [\"1.3\"]").await;
    site.ask("-tls1_3").await.expect("HTTP/1.1 404");
    site.ask("-tls1_2").await.expect("protocol version");
    assert_eq!(site.count("no_shared_version").await, 1.0);

    let suites = "suites = [\"TLS_CHACHA20_POLY1305_SHA256\", \"TLS_AES_128_GCM_SHA256\", \"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\"]\ngroups = [\"secp384r1\"]";
    site.reload(&format!("{keys}{suites}")).await;
    let own_order = site.ask("-tls1_3 -groups P-384:X25519").await;
    own_order
        .expect("Cipher is TLS_CHACHA20_POLY1305_SHA256")
        .expect("Server Temp Key: ECDH, secp384r1");
    let old = site.ask("-tls1_2 -groups P-384:P-256").await;
    old.expect("Cipher is ECDHE-ECDSA-AES128-GCM-SHA256");
    let suite = site
        .ask("-tls1_2 -groups P-384:P-256 -cipher ECDHE-ECDSA-AES256-GCM-SHA384")
        .await;
    suite.expect("handshake failure");
    site.ask("-tls1_3 -groups X25519")
        .await
        .expect("handshake failure");
    assert_eq!(site.count("no_shared_suite").await, 1.0);
    assert_eq!(site.count("no_shared_group").await, 1.0);

    let curl = format!(
        "-sS --cacert ca.pem --resolve a.test:{port}:127.0.0.1 --curves P-384 -o - -w %{{http_version}} https://a.test:{port}/",
        port = site.address().port()
    );
    let folder = site.authority.folder();
    let h2 = run("curl", folder, &curl).await;
    assert!(h2.text.trim().ends_with('2'), "{}", h2.text);
    site.reload(&format!("{keys}{suites}\nh2 = false")).await;
    let h1 = run("curl", folder, &curl).await;
    assert!(h1.text.trim().ends_with("1.1"), "{}", h1.text);
    let h2_only = site.ask("-groups P-384 -alpn h2").await;
    h2_only.expect("no application protocol");
    assert_eq!(site.count("no_shared_protocol").await, 1.0);
}

#[tokio::test]
async fn sessions_go_on_at_any_worker_and_after_a_reload() {
    let keys = "certificate = \"a.pem\"\nkey = \"a.key\"\n";
    let site = Site::simple("").await;
    for version in ["-tls1_2", "-tls1_3"] {
        let first = site.ask(&format!("{version} -sess_out session")).await;
        first.expect("New, TLSv1.").expect("HTTP/1.1 404");
        let again = format!("{version} -sess_in session");
        for _ in 0..8 {
            site.ask(&again).await.expect("Reused, TLSv1.");
        }
        site.reload(&format!("{keys}versions = [\"1.2\", \"1.3\"]"))
            .await;
        for _ in 0..4 {
            site.ask(&again).await.expect("Reused, TLSv1.");
        }
    }
    assert_eq!(site.count("resumed").await, 24.0);
    assert_eq!(site.count("full").await, 2.0);

    site.reload(&format!("{keys}tickets = {{ enabled = false }}"))
        .await;
    site.ask("-tls1_3 -sess_in session")
        .await
        .expect("New, TLSv1.3");
    let without = site.ask("-tls1_2 -reconnect").await;
    assert!(!without.has("Reused"), "{}", without.text);
}

#[tokio::test]
async fn gateways_with_the_same_secret_take_each_others_tickets() {
    let authority = Authority::new("authority");
    authority.server("a", &["a.test"]);
    authority.write("old.key", [1; 48]);
    authority.write("new.key", [2; 48]);
    let keys = "certificate = \"a.pem\"\nkey = \"a.key\"\n";
    let first = Site::with(
        authority,
        &format!("{keys}tickets = {{ keys = [\"old.key\"] }}"),
    )
    .await;
    first.ask("-sess_out session").await.expect("New, TLSv1.3");
    let secrets = "tickets = { keys = [\"new.key\", \"old.key\"] }";
    let second = Site::with(first.authority, &format!("{keys}{secrets}")).await;
    second
        .ask("-sess_in session")
        .await
        .expect("Reused, TLSv1.3");
    second
        .reload(&format!("{keys}tickets = {{ keys = [\"new.key\"] }}"))
        .await;
    second.ask("-sess_in session").await.expect("New, TLSv1.3");
}

#[tokio::test]
async fn an_ocsp_response_is_passed_to_those_who_ask() {
    let authority = Authority::new("authority");
    authority.server("a", &["a.test"]);
    authority.ocsp("a", "a.ocsp");
    let keys = "certificate = \"a.pem\"\nkey = \"a.key\"\n";
    let site = Site::with(authority, &format!("{keys}ocsp = \"a.ocsp\"")).await;
    let asked = site.ask("-status").await;
    asked
        .expect("OCSP Response Status: successful")
        .expect("Cert Status: good");
    assert!(!site.ask("").await.has("OCSP Response Status"));
    let order = Order {
        names: &["a.test"],
        serial: 8,
        ..Order::default()
    };
    site.authority.make("a", order);
    let answer = site.gateway.admin.reload().await.text();
    assert!(
        answer.contains("it is about another certificate"),
        "{answer}"
    );
}

#[tokio::test]
async fn the_end_of_certificates_is_told() {
    let authority = Authority::new("authority");
    for (file, names, days) in [
        ("fresh", &["fresh.test"][..], 60),
        ("soon", &["soon.test"], 10),
        ("over", &["over.test"], -3),
    ] {
        let order = Order {
            names,
            days,
            ..Order::default()
        };
        authority.make(file, order);
    }
    let keys = "certificates = [{ certificate = \"fresh.pem\", key = \"fresh.key\" }, { certificate = \"soon.pem\", key = \"soon.key\" }, { certificate = \"over.pem\", key = \"over.key\" }]";
    let site = Site::with(authority, keys).await;
    let log = site.gateway.process.stderr();
    let warned = |name: &str, what: &str| {
        let mut lines = log.lines();
        lines.any(|line| line.contains(&format!("\"{name}\"")) && line.contains(what))
    };
    assert!(warned("soon.test", "expires in 23"), "{log}");
    assert!(warned("over.test", "has expired"), "{log}");
    assert!(!warned("fresh.test", "certificate"), "{log}");
    let checked = binary::run(site.authority.folder(), &["check", "gateway.toml"]);
    assert!(checked.status.success());
    let said = String::from_utf8(checked.stderr).unwrap();
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(
        said.contains("over.pem: the certificate has expired"),
        "{said}"
    );
    let metric = "tidegate_gateway_certificate_expiry_timestamp_seconds{name=\"soon.test\",listener=\"https\"}";
    let until = site.gateway.admin.metric(metric).await.unwrap();
    let left = until - tidegate_tests::tokens::unix_now() as f64;
    assert!((left / 86_400.0 - 10.0).abs() < 0.1, "{left}");
}

#[tokio::test]
async fn what_is_not_tls_is_told_so_and_counted() {
    let site = Site::simple("").await;
    let url = format!("http://{}/", site.address());
    let plain = run("curl", site.authority.folder(), &format!("-sS -i {url}")).await;
    plain.expect("HTTP/1.1 400").expect("tls-needed");
    assert_eq!(site.count("not_tls").await, 1.0);

    let mut noise = TcpStream::connect(site.address()).await.unwrap();
    noise.write_all(&[0; 64]).await.unwrap();
    let mut answer = Vec::new();
    noise.read_to_end(&mut answer).await.unwrap();
    assert_eq!((answer[0], answer[5]), (21, 2), "a fatal alert: {answer:?}");
    assert_eq!(site.count("not_tls").await, 2.0);

    let url = format!("https://{}/", site.address());
    let distrust = run("curl", site.authority.folder(), &format!("-sS {url}")).await;
    assert!(!distrust.success);
    eventually("the client's alert is counted", SOON, async || {
        (site.count("refused_by_client").await == 1.0).then_some(())
    })
    .await;

    drop(TcpStream::connect(site.address()).await.unwrap());
    eventually(
        "the client that said nothing is counted",
        SOON,
        async || (site.count("gone").await == 1.0).then_some(()),
    )
    .await;
    let log = site.gateway.process.stderr();
    assert!(
        log.contains("\"not_tls\"") && !log.contains("\"gone\""),
        "{log}"
    );
}

#[tokio::test]
async fn the_proxy_header_stands_before_the_handshake() {
    let authority = Authority::new("authority");
    authority.server("a", &["a.test"]);
    let keys = "certificate = \"a.pem\"\nkey = \"a.key\"";
    let header = "proxy_protocol = \"required\"\ntrusted = [\"127.0.0.1\"]\ntimeouts";
    let text = configuration(keys).replace("timeouts", header);
    authority.write("gateway.toml", text);
    let gateway = Gateway::of(&authority.file("gateway.toml")).await;
    let url = format!("https://{}/", gateway.listener("https"));
    let args = format!("-sSki --haproxy-protocol {url}");
    let said = run("curl", authority.folder(), &args).await;
    said.expect("HTTP/2 404");
}

#[tokio::test]
async fn a_slow_handshake_is_ended_in_time() {
    let site = Site::simple("").await;
    let mut slow = TcpStream::connect(site.address()).await.unwrap();
    slow.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(5), slow.read_to_end(&mut answer));
    ended.await.expect("the gateway ends it").unwrap();
    assert!(answer.is_empty());
    assert_eq!(site.count("slow_handshake").await, 1.0);
}
