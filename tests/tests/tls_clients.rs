//! Certificates of clients: who is let in, and what plugins and upstreams learn.

use std::time::{Duration, Instant};

use tidegate_tests::authority::{Authority, Order};
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::gateway::Gateway;
use tidegate_tests::openssl::{Said, run, s_client};
use tidegate_tests::upstream::{Seen, Upstream};

/// A gateway whose listener `https` asks clients for certificates, and an upstream.
struct Site {
    /// Of the gateway.
    authority: Authority,
    gateway: Gateway,
    upstream: Upstream,
}

const ROBOT: Order<'_> = Order {
    names: &["robot.test"],
    common_name: "robot, 7",
    uri: "spiffe://example.org/robot",
    serial: 255,
    days: 90,
    seconds: 0,
    rsa: false,
};

/// The plugin lets clients without a certificate through where the listener does.
fn configuration(clients: &str, upstream: &Upstream) -> String {
    format!(
        r#"
threads = 2
admin = {{ address = "127.0.0.1:0" }}
plugins = ["who", "log"]

[[listener]]
name = "https"
address = "127.0.0.1:0"
tls = {{ certificate = "a.pem", key = "a.key"{clients} }}

[cluster.c]
endpoints = [{{ address = "{}" }}]

[plugin.who]
kind = "client_certificate"
optional = true
identity = "uri"

[plugin.who.forward]
subject = "x-subject"
issuer = "x-issuer"
serial = "x-serial"
fingerprint = "x-fingerprint"
certificate = "client-cert"

[plugin.log]
kind = "access_log"
tls = true

[[route]]
name = "r"
cluster = "c"
"#,
        upstream.address
    )
}

impl Site {
    /// The robots' authority signs `robot` for whoever the listener trusts.
    async fn with(clients: &str, robots: &Authority) -> Self {
        let authority = Authority::new("servers");
        authority.server("a", &["a.test"]);
        let upstream = Upstream::start("u").await;
        let clients = clients.replace("ROBOTS", &robots.folder().display().to_string());
        authority.write("gateway.toml", configuration(&clients, &upstream));
        let gateway = Gateway::of(&authority.file("gateway.toml")).await;
        Self {
            authority,
            gateway,
            upstream,
        }
    }

    async fn reload(&self, clients: &str, robots: &Authority) {
        let clients = clients.replace("ROBOTS", &robots.folder().display().to_string());
        let text = configuration(&clients, &self.upstream);
        self.authority.write("gateway.toml", text);
        self.gateway.admin.reload().await.expect(200);
    }

    /// Asks with what there is in a folder of an authority.
    async fn ask(&self, of: &Authority, args: &str) -> Said {
        s_client(self.gateway.listener("https"), of.folder(), args).await
    }

    async fn count(&self, outcome: &str) -> f64 {
        let name = "tidegate_gateway_tls_handshakes_total";
        let metric = format!("{name}{{outcome=\"{outcome}\"}}");
        self.gateway.admin.metric(&metric).await.unwrap_or(0.0)
    }
}

const REQUIRED: &str = ", client_certificates = { ca = \"ROBOTS/ca.pem\" }";
const OPTIONAL: &str = ", client_certificates = { mode = \"optional\", ca = \"ROBOTS/ca.pem\" }";
const SHOWN: &str = "-cert robot.pem -key robot.key";

#[tokio::test]
async fn without_a_valid_certificate_there_is_no_handshake() {
    let robots = Authority::new("robots");
    robots.make("robot", ROBOT);
    let expired = Order { days: -1, ..ROBOT };
    robots.make("expired", expired);
    let others = Authority::new("others");
    others.make("robot", ROBOT);
    let site = Site::with(REQUIRED, &robots).await;
    for version in ["-tls1_3", "-tls1_2"] {
        let valid = site.ask(&robots, &format!("{SHOWN} {version}")).await;
        valid.expect("HTTP/1.1 200");
        // TLS 1.2 has no alert of its own for that.
        let none = site.ask(&robots, version).await;
        assert!(
            none.has("certificate required") || none.has("handshake failure"),
            "{}",
            none.text
        );
        let stranger = site.ask(&others, &format!("{SHOWN} {version}")).await;
        stranger.expect("unknown ca");
        let late = format!("-cert expired.pem -key expired.key {version}");
        site.ask(&robots, &late).await.expect("certificate expired");
    }
    assert_eq!(site.count("full").await, 2.0);
    assert_eq!(site.count("no_client_certificate").await, 2.0);
    assert_eq!(site.count("bad_client_certificate").await, 4.0);
    assert_eq!(
        site.upstream.count(),
        2,
        "nothing else reached the upstream"
    );
}

#[tokio::test]
async fn the_upstream_learns_who_the_client_is() {
    let robots = Authority::new("robots");
    robots.make("robot", ROBOT);
    let site = Site::with(OPTIONAL, &robots).await;
    site.ask(&robots, "-servername a.test")
        .await
        .expect("HTTP/1.1 200");
    site.ask(&robots, &format!("{SHOWN} -servername a.test"))
        .await
        .expect("HTTP/1.1 200");
    let url = format!("https://{}/", site.gateway.listener("https"));
    let curl = format!("-sSk --http2 --cert robot.pem --key robot.key -w %{{http_version}} {url}");
    let over_h2 = run("curl", robots.folder(), &curl).await;
    assert!(over_h2.text.trim().ends_with('2'), "{}", over_h2.text);
    let [nobody, robot, h2] = &site.upstream.seen()[..] else {
        panic!("not three requests");
    };
    let subject = |seen: &Seen| seen.headers.get("x-subject").cloned();
    assert_eq!(subject(h2), subject(robot));
    assert!(nobody.headers.get("x-subject").is_none());
    let header = |name: &str| robot.headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!(header("x-subject"), Some(r"CN=robot\, 7"));
    assert_eq!(header("x-issuer"), Some("CN=robots"));
    assert_eq!(header("x-serial"), Some("00ff"));
    assert_eq!(header("x-fingerprint").unwrap().len(), 64);
    assert!(header("client-cert").unwrap().starts_with(":MII"));
    let logged = eventually("all requests are logged", SOON, async || {
        let log = site.gateway.process.stdout();
        (log.lines().count() == 3).then_some(log)
    })
    .await;
    let lines: Vec<serde_json::Value> = logged
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let shown = |line: &&serde_json::Value| line["subject"] == "spiffe://example.org/robot";
    assert_eq!(lines.iter().filter(shown).count(), 2);
    let named = lines
        .iter()
        .filter(shown)
        .find(|line| line["tls_name"] == "a.test");
    let named = named.expect("the name that was asked for is logged");
    assert_eq!(named["tls_version"], "1.3");
    assert!(named["tls_cipher"].as_str().unwrap().starts_with("TLS_"));
}

#[tokio::test]
async fn a_certificate_that_is_shown_must_be_valid_even_where_none_is_needed() {
    let robots = Authority::new("robots");
    let others = Authority::new("others");
    others.make("robot", ROBOT);
    let site = Site::with(OPTIONAL, &robots).await;
    site.ask(&others, SHOWN).await.expect("unknown ca");
    assert_eq!(site.count("bad_client_certificate").await, 1.0);
    let off = ", client_certificates = { mode = \"off\", ca = \"ROBOTS/ca.pem\" }";
    site.reload(off, &robots).await;
    site.ask(&others, SHOWN).await.expect("HTTP/1.1 200");
}

#[tokio::test]
async fn who_is_revoked_is_refused_with_the_next_handshake() {
    let robots = Authority::new("robots");
    robots.make("robot", ROBOT);
    robots.revoke("robots.crl", &[1]);
    let clients =
        ", client_certificates = { ca = \"ROBOTS/ca.pem\", crl = [\"ROBOTS/robots.crl\"] }";
    let site = Site::with(clients, &robots).await;
    let first = site
        .ask(&robots, &format!("{SHOWN} -sess_out session"))
        .await;
    first.expect("HTTP/1.1 200");
    let again = format!("{SHOWN} -sess_in session");
    site.ask(&robots, &again).await.expect("Reused, TLSv1.3");
    let seen = site.upstream.seen();
    let subjects: Vec<_> = seen.iter().map(|one| &one.headers["x-subject"]).collect();
    assert_eq!(
        subjects, [r"CN=robot\, 7"; 2],
        "known in the second session too"
    );
    robots.revoke("robots.crl", &[1, ROBOT.serial]);
    eventually(
        "the robot is refused, with its old session too",
        SOON,
        async || {
            let said = site.ask(&robots, &again).await;
            said.has("certificate revoked").then_some(())
        },
    )
    .await;
    assert!(site.count("bad_client_certificate").await >= 1.0);
}

#[tokio::test]
async fn a_session_does_not_outlive_the_certificate_that_it_began_with() {
    let robots = Authority::new("robots");
    let (days, seconds) = (0, 4);
    let short = Order {
        days,
        seconds,
        ..ROBOT
    };
    let site = Site::with(REQUIRED, &robots).await;
    for version in ["-tls1_2", "-tls1_3"] {
        robots.make("robot", short);
        let made = Instant::now();
        let first = format!("{SHOWN} {version} -sess_out session");
        site.ask(&robots, &first).await.expect("HTTP/1.1 200");
        let again = format!("{SHOWN} {version} -sess_in session");
        site.ask(&robots, &again).await.expect("Reused, TLSv1.");
        tokio::time::sleep_until((made + Duration::from_secs(5)).into()).await;
        site.ask(&robots, &again)
            .await
            .expect("certificate expired");
        robots.make("robot", ROBOT);
        let renewed = site.ask(&robots, &again).await;
        renewed.expect("New, TLSv1.").expect("HTTP/1.1 200");
    }
}

#[tokio::test]
async fn an_old_revocation_list_lets_nobody_in() {
    let robots = Authority::new("robots");
    robots.make("robot", ROBOT);
    robots.revoke_until("robots.crl", &[], 2025);
    let clients =
        ", client_certificates = { ca = \"ROBOTS/ca.pem\", crl = [\"ROBOTS/robots.crl\"] }";
    let site = Site::with(clients, &robots).await;
    let refused = site.ask(&robots, SHOWN).await;
    assert!(!refused.has("HTTP/1.1"), "{}", refused.text);
    assert_eq!(site.count("bad_client_certificate").await, 1.0);
    let log = site.gateway.process.stderr();
    assert!(log.contains("the revocation list is out of date"), "{log}");
    robots.revoke("robots.crl", &[]);
    eventually("a new list lets them in again", SOON, async || {
        let said = site.ask(&robots, SHOWN).await;
        said.has("HTTP/1.1 200").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_session_without_a_certificate_does_not_go_on_where_one_is_needed() {
    let robots = Authority::new("robots");
    robots.make("robot", ROBOT);
    let site = Site::with("", &robots).await;
    let first = site.ask(&robots, "-sess_out session").await;
    first.expect("HTTP/1.1 200");
    site.ask(&robots, "-sess_in session")
        .await
        .expect("Reused, TLSv1.3");
    site.reload(REQUIRED, &robots).await;
    let again = site.ask(&robots, "-sess_in session").await;
    again.expect("certificate required");
}
