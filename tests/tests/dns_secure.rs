//! DNS over TLS and HTTPS, with clients of other makes; certificates, and mistakes in configurations.

use std::fs;
use std::net::SocketAddr;

use tidegate_tests::authority::{Authority, Order};
use tidegate_tests::binary;
use tidegate_tests::dns_site::{Site, said};
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::openssl::{run, s_client};

#[tokio::test(flavor = "multi_thread")]
async fn dig_and_kdig_are_answered_over_tls_and_https() {
    let key = "[tsig.padded]\nsecret = \"c2VjcmV0IG9mIHRoaXJ0eS10d28gb2N0ZXRzLCBvciBzbw==\"\n";
    let site = Site::start(key, "").await;
    let ca = format!("+tls-ca={}", site.authority.file("ca.pem").display());
    let name = "+tls-hostname=dns.test";
    for (program, server, more) in [
        ("kdig", site.dot, &["+tls"][..]),
        ("kdig", site.doh, &["+https"]),
        ("kdig", site.doh, &["+https-get"]),
        ("dig", site.dot, &["+tls"]),
        ("dig", site.doh, &["+https"]),
        ("dig", site.doh, &["+https-get"]),
        ("dig", site.http, &["+http-plain=/q"]),
        ("dig", site.http, &["+http-plain-get=/q"]),
    ] {
        let trust = match (program, server == site.http) {
            (_, true) => vec![],
            ("kdig", _) => vec![ca.as_str(), "+tls-host=dns.test"],
            _ => vec![ca.as_str(), name],
        };
        let args = [more, &trust, &["+short", "www.example.test"]].concat();
        assert_eq!(
            said(program, server, &args),
            "192.0.2.1\n",
            "{program} {more:?}"
        );
    }
    for (transport, count) in [("tls", 2.0), ("https", 6.0)] {
        let metric = format!("tidegate_dns_queries_total{{transport=\"{transport}\",type=\"A\"}}");
        assert_eq!(site.metric(&metric).await, count, "{transport}");
    }
    let full = "tidegate_dns_tls_handshakes_total{listener=\"dot\",outcome=\"full\"}";
    assert_eq!(site.metric(full).await, 2.0);
    // RFC 8467, 4.1: a multiple of 468 octets, for clients that pad, where nobody else can read it.
    let signed = "hmac-sha256:padded:c2VjcmV0IG9mIHRoaXJ0eS10d28gb2N0ZXRzLCBvciBzbw==";
    for (server, args, padded) in [
        (site.dot, &["+tls", "+padding"][..], true),
        (site.dot, &["+tls", "+padding", "-y", signed], true),
        (site.doh, &["+https", "+padding"], true),
        (site.dot, &["+tls", "+nopadding"], false),
        (site.server.address, &["+tcp", "+padding=100"], false),
    ] {
        let said = said("kdig", server, &[args, &["www.example.test"]].concat());
        assert_eq!(said.contains("Received 468 B"), padded, "{args:?}:\n{said}");
    }
    // RFC 7828: how long the connection is kept.
    let kept = said(
        "dig",
        site.server.address,
        &["+tcp", "+keepalive", "www.example.test"],
    );
    assert!(kept.contains("TCP KEEPALIVE: 10.0 secs"), "{kept}");
    let udp = said(
        "dig",
        site.server.address,
        &["+keepalive", "www.example.test"],
    );
    assert!(!udp.contains("KEEPALIVE"), "{udp}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_chosen_by_name_and_changed_without_a_restart() {
    let authority = Authority::new("elsewhere");
    authority.server("b", &["other.test"]);
    let folder = authority.folder().display().to_string();
    let more = format!(
        "certificates = [{{ certificate = \"{folder}/b.pem\", key = \"{folder}/b.key\" }}], tickets = {{ rotate = \"1h\" }}"
    );
    // What openssl asks is no query, and ends soon.
    let site = Site::start("tcp = { progress = \"300ms\" }\n", &more).await;
    let serial = async |address: SocketAddr, name: &str| {
        let args = format!("-servername {name} -alpn dot,h2");
        let said = s_client(address, site.authority.folder(), &args).await;
        fs::write(site.authority.file("seen.pem"), &said.text).unwrap();
        let x509 = "x509 -in seen.pem -noout -serial -ext subjectAltName";
        run("openssl", site.authority.folder(), x509).await.text
    };
    for address in [site.dot, site.doh] {
        assert!(
            serial(address, "other.test")
                .await
                .contains("DNS:other.test")
        );
        for name in ["dns.test", "unknown.test"] {
            assert!(
                serial(address, name).await.contains("DNS:dns.test"),
                "{name}"
            );
        }
    }
    // A session goes on, after a reload too.
    let session = "-servername dns.test -tls1_2 -sess_out session.pem";
    s_client(site.dot, site.authority.folder(), session)
        .await
        .expect("New, TLSv1.2");
    assert_eq!(site.server.admin.reload().await.status, 200);
    let resumed = "-servername dns.test -tls1_2 -sess_in session.pem";
    s_client(site.dot, site.authority.folder(), resumed)
        .await
        .expect("Reused, TLSv1.2");
    let metric = "tidegate_dns_tls_handshakes_total{listener=\"dot\",outcome=\"resumed\"}";
    assert_eq!(site.metric(metric).await, 1.0);
    // Another certificate in the same files.
    let order = Order {
        names: &["dns.test"],
        serial: 0x77,
        ..Order::default()
    };
    site.authority.make("a", order);
    eventually("the new certificate is served", SOON, async || {
        serial(site.dot, "dns.test")
            .await
            .contains("serial=77")
            .then_some(())
    })
    .await;
    // One that cannot be used changes nothing.
    site.authority.write("a.pem", "nonsense");
    let answer = site.server.admin.reload().await;
    assert_eq!(answer.status, 422);
    assert!(
        answer.text().contains("a.pem cannot be used"),
        "{}",
        answer.text()
    );
    assert!(serial(site.dot, "dns.test").await.contains("serial=77"));
}

/// What is wrong with a listener, each with a part of what is said.
fn mistakes() -> [(String, &'static str); 11] {
    let sound = "certificate = \"a.pem\", key = \"a.key\"";
    [
        (
            format!("tls = {{ {sound}, versions = [] }}"),
            "at least one version",
        ),
        ("tls = { certificate = \"a.pem\" }".into(), "key"),
        (
            "tls = { certificate = \"no.pem\", key = \"a.key\" }".into(),
            "cannot read the certificate",
        ),
        (
            "tls = { certificate = \"a.key\", key = \"a.key\" }".into(),
            "there is none in it",
        ),
        (
            "tls = { certificate = \"a.pem\", key = \"old.key\" }".into(),
            "not the key of the certificate",
        ),
        (
            format!("tls = {{ {sound}, certificates = [{{ {sound} }}] }}"),
            "two certificates are made out to `dns.test`",
        ),
        (
            format!("tls = {{ {sound}, tickets = {{ rotate = \"1s\" }} }}"),
            "from 1m to 7d",
        ),
        (
            format!("tls = {{ {sound} }}\nhttp = {{ path = \"dns\" }}"),
            "begins with `/`",
        ),
        ("http = { streams = 0 }".into(), "from 1 to 1000"),
        ("proxy_protocol = \"required\"".into(), "trusts nobody"),
        ("trusted = [\"10.0.0.0/33\"]".into(), "not a network"),
    ]
}

#[tokio::test]
async fn mistakes_are_told_with_their_places() {
    let authority = Authority::new("authority");
    authority.server("a", &["dns.test"]);
    let expired = Order {
        names: &["old.test"],
        days: -3,
        ..Order::default()
    };
    authority.make("old", expired);
    let check = |listener: &str| {
        let file = format!(
            "admin = {{ address = \"127.0.0.1:0\" }}\n[[listener]]\nname = \"l\"\naddress = \"127.0.0.1:853\"\n{listener}\n"
        );
        authority.write("dns.toml", file);
        let output = binary::run(authority.folder(), &["check", "dns.toml"]);
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    for (listener, expected) in mistakes() {
        let (sound, said) = check(&listener);
        assert!(!sound && said.contains(expected), "{listener}:\n{said}");
        assert!(
            said.contains("dns.toml:5:") || said.contains("dns.toml:6:"),
            "{said}"
        );
    }
    let (sound, said) = check("tls = { certificate = \"old.pem\", key = \"old.key\" }");
    assert!(
        sound && said.contains("the certificate of `old.test` has expired"),
        "{said}"
    );
}
