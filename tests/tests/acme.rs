//! Certificates over ACME: issued by a real Pebble, served, stored, renewed.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_tests::binary::run;
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::gateway::Gateway;
use tidegate_tests::nginx::{Nginx, free_address};
use tidegate_tests::openssl::{Said, s_client};
use tidegate_tests::pebble::Pebble;
use tidegate_tests::process::Process;
use tidegate_tests::succession::Succession;
use tidegate_tests::tokens::write_certificate;
use tidegate_tests::wire::ask;

/// An order takes a second; on a busy machine, longer.
const AN_ORDER: Duration = Duration::from_secs(30);

/// An authority, and a folder for gateways that have certificates from it.
struct Site {
    folder: TempDir,
    pebble: Pebble,
}

impl Site {
    async fn start(settings: Value) -> Self {
        let folder = TempDir::new().expect("temporary folders can be made");
        let pebble = Pebble::start(&settings).await;
        Self { folder, pebble }
    }

    /// A configuration with listeners where Pebble asks, and these keys for TLS.
    fn configuration(&self, authority: &str, tls: &str) -> String {
        let Pebble {
            http, tls: https, ..
        } = self.pebble;
        format!(
            r#"
threads = 2
admin = {{ address = "127.0.0.1:0" }}
listener = [
  {{ name = "http", address = "{http}" }},
  {{ name = "https", address = "{https}", tls = {{ {tls} }} }},
]

[acme.pebble]
directory = "{}"
contact = ["mailto:ops@a.test"]
storage = "acme"
terms_agreed = true
root = "{}"
{authority}
"#,
            self.pebble.directory(),
            self.pebble.certificate().display(),
        )
    }

    fn write(&self, authority: &str, tls: &str) -> PathBuf {
        let file = self.folder.path().join("gateway.toml");
        fs::write(&file, self.configuration(authority, tls)).expect("the folder is new");
        file
    }

    async fn gateway(&self, authority: &str, tls: &str) -> Gateway {
        Gateway::of(&self.write(authority, tls)).await
    }

    /// Has Pebble's root verify the certificate that a client gets for a name.
    async fn trusted(&self, name: &str) -> Option<String> {
        let said = self.ask(name).await;
        let sound = said.has("Verify return code: 0 (ok)");
        sound.then(|| leaf(&said)).flatten()
    }

    /// Waits for the first certificate.
    async fn issued(&self, name: &str) -> String {
        fs::write(
            self.folder.path().join("root.pem"),
            self.pebble.root().await,
        )
        .expect("files can be written");
        eventually(&format!("a certificate for {name}"), AN_ORDER, async || {
            self.trusted(name).await
        })
        .await
    }

    async fn ask(&self, name: &str) -> Said {
        let args = format!("-servername {name} -verify_hostname {name} -CAfile root.pem");
        s_client(self.pebble.tls, self.folder.path(), &args).await
    }

    fn storage(&self) -> PathBuf {
        self.folder.path().join("acme")
    }
}

const A_TEST: &str = r#"acme = { issuer = "pebble", names = ["a.test"] }"#;
const HTTP: &str = r#"challenge = "http-01""#;

/// The certificate that `openssl s_client` shows.
fn leaf(said: &Said) -> Option<String> {
    let from = said.text.find("-----BEGIN CERTIFICATE-----")?;
    let to = said.text.find("-----END CERTIFICATE-----")?;
    Some(said.text[from..to].to_owned())
}

async fn orders(gateway: &Gateway, outcome: &str) -> f64 {
    let labels = format!("{{issuer=\"pebble\",outcome=\"{outcome}\"}}");
    let metric = format!("tidegate_gateway_acme_orders_total{labels}");
    gateway.admin.metric(&metric).await.unwrap_or(0.0)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("it is there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        }
        found.push(path);
    }
    found
}

#[tokio::test]
async fn a_certificate_is_had_over_http_for_all_names_of_an_entry() {
    let site = Site::start(json!({})).await;
    let tls = r#"acme = [{ issuer = "pebble", names = ["a.test", "B.test"] }, { issuer = "pebble", names = ["c.test"] }]"#;
    let gateway = site.gateway(HTTP, tls).await;
    let a = site.issued("a.test").await;
    assert_eq!(site.issued("b.test").await, a);
    assert_ne!(site.issued("c.test").await, a);
    assert_eq!(orders(&gateway, "issued").await, 2.0);

    for path in files(&site.storage()).iter().chain([&site.storage()]) {
        let mode = fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, expected, "{}", path.display());
    }
    let challenges = files(&site.storage().join("challenges"));
    let left: Vec<_> = challenges.iter().filter(|path| path.is_file()).collect();
    assert!(left.is_empty(), "{left:?}");
    let log = gateway.process.stderr();
    assert!(!log.contains("PRIVATE KEY"), "{log}");
}

#[tokio::test]
async fn a_certificate_is_had_over_tls_where_clients_go_on_unharmed() {
    let site = Site::start(json!({})).await;
    let gateway = site.gateway("", A_TEST).await;
    site.issued("a.test").await;
    assert_eq!(orders(&gateway, "issued").await, 1.0);
    let handshakes = "tidegate_gateway_tls_handshakes_total{outcome=\"acme_challenge\"}";
    assert!(gateway.admin.metric(handshakes).await >= Some(1.0));

    // Who asks for a challenge that nobody waits for gets none, and no page either.
    let args = "-servername a.test -alpn acme-tls/1";
    let said = s_client(site.pebble.tls, site.folder.path(), args).await;
    assert!(!said.has("HTTP/1.1"), "{}", said.text);
    assert_eq!(leaf(&said), None, "{}", said.text);
}

#[tokio::test]
async fn a_restart_serves_what_is_stored_without_the_authority() {
    let mut site = Site::start(json!({})).await;
    let mut gateway = site.gateway(HTTP, A_TEST).await;
    let before = site.issued("a.test").await;
    site.pebble.die();
    gateway.process.signal(Signal::TERM);
    gateway.process.ended(SOON).await;

    let gateway = site.gateway(HTTP, A_TEST).await;
    assert_eq!(site.trusted("a.test").await, Some(before));
    assert_eq!(orders(&gateway, "unreachable").await, 0.0);
}

#[tokio::test]
async fn a_successor_serves_what_its_predecessor_got() {
    let site = Site::start(json!({})).await;
    let text = site.configuration(HTTP, A_TEST);
    let text = format!("handover = {{ socket = \"DOOR\" }}\n{text}");
    let mut succession = Succession::start(&text).await;
    let before = site.issued("a.test").await;
    let file = succession.file();
    succession.hand_over(&file).await.assert_succeeded();
    assert_eq!(site.trusted("a.test").await, Some(before));
    let issued = "tidegate_gateway_acme_orders_total{outcome=\"issued\"}";
    assert_eq!(succession.admin().metric(issued).await, None);
}

#[tokio::test]
async fn a_reload_keeps_the_certificate_and_a_new_name_gets_one() {
    let site = Site::start(json!({})).await;
    let gateway = site.gateway(HTTP, A_TEST).await;
    let before = site.issued("a.test").await;
    let more = r#"acme = [{ issuer = "pebble", names = ["a.test"] }, { issuer = "pebble", names = ["b.test"] }]"#;
    site.write(HTTP, more);
    gateway.admin.reload().await.expect(200);
    assert_ne!(site.issued("b.test").await, before);
    assert_eq!(site.trusted("a.test").await, Some(before));
    assert_eq!(orders(&gateway, "issued").await, 2.0);
}

#[tokio::test]
async fn a_certificate_is_renewed_without_a_restart() {
    let site = Site::start(json!({ "certificateValidityPeriod": 12 })).await;
    let gateway = site.gateway(HTTP, A_TEST).await;
    let first = site.issued("a.test").await;
    let second = eventually("another certificate", AN_ORDER, async || {
        let now = site.trusted("a.test").await?;
        (now != first).then_some(now)
    })
    .await;
    assert!(orders(&gateway, "issued").await >= 2.0);
    let stored = files(&site.storage().join("certificates"));
    let stored = fs::read_to_string(&stored[0]).unwrap();
    assert!(stored.contains(second.lines().nth(1).unwrap()), "{stored}");
}

#[tokio::test]
async fn what_is_served_stays_while_the_authority_is_down() {
    let mut site = Site::start(json!({ "certificateValidityPeriod": 24 })).await;
    let authority = format!("{HTTP}\nrenew_before = \"1h\"");
    let gateway = site.gateway(&authority, A_TEST).await;
    let before = site.issued("a.test").await;
    site.pebble.die();
    // It is due with half of its life left.
    eventually("a failed renewal", Duration::from_secs(60), async || {
        (orders(&gateway, "unreachable").await >= 1.0).then_some(())
    })
    .await;
    assert_eq!(site.trusted("a.test").await, Some(before));
    let log = gateway.process.stderr();
    assert!(log.contains("no new certificate"), "{log}");
    assert!(log.contains("Connection refused"), "{log}");

    // It comes back, and does not know the account any more.
    site.pebble.come_back().await;
    site.issued("a.test").await;
    let log = gateway.process.stderr();
    assert_eq!(log.matches("a new ACME account").count(), 2, "{log}");
}

#[tokio::test]
async fn a_name_that_does_not_lead_here_is_told_and_the_default_is_served() {
    let site = Site::start(json!({ "httpPort": free_address().port() })).await;
    let folder = site.folder.path();
    write_certificate(&folder.join("own.pem"), &folder.join("own.key"));
    let own = fs::read_to_string(folder.join("own.pem")).unwrap();
    let tls = format!(r#"certificate = "own.pem", key = "own.key", {A_TEST}"#);
    let gateway = site.gateway(HTTP, &tls).await;
    eventually("an order fails", AN_ORDER, async || {
        (orders(&gateway, "invalid").await >= 1.0).then_some(())
    })
    .await;
    let log = gateway.process.stderr();
    assert!(log.contains("a.test was not validated"), "{log}");
    assert!(log.contains("connection refused"), "{log}");
    let args = "-servername a.test";
    let served = leaf(&s_client(site.pebble.tls, folder, args).await).unwrap();
    assert!(own.starts_with(served.trim_end()), "{served}");
}

#[tokio::test]
async fn without_any_certificate_a_client_is_told_by_an_alert() {
    let mut site = Site::start(json!({})).await;
    site.pebble.die();
    let gateway = site.gateway(HTTP, A_TEST).await;
    for _ in 0..2 {
        let said = s_client(site.pebble.tls, site.folder.path(), "-servername a.test").await;
        assert_eq!(leaf(&said), None);
        assert!(said.has("alert"), "{}", said.text);
    }
    let log = gateway.process.stderr();
    assert_eq!(log.matches("was not issued yet").count(), 1, "{log}");
}

/// Asks over HTTP as an authority does.
async fn challenge(address: SocketAddr, token: &str) -> (u16, String) {
    let path = format!("/.well-known/acme-challenge/{token}");
    let request = format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n");
    let answer = ask(address, &request).await;
    (answer.status, answer.text())
}

#[tokio::test]
async fn challenges_of_another_process_are_answered_and_nothing_else_is_read() {
    let site = Site::start(json!({})).await;
    let gateway = site.gateway(HTTP, A_TEST).await;
    site.issued("a.test").await;
    let http = gateway.listener("http");
    let folder = site.storage().join("challenges/http-01");
    fs::write(folder.join("token-1_x"), "token-1_x.thumb").unwrap();
    fs::write(folder.join("odd"), "something else").unwrap();
    let answered = challenge(http, "token-1_x").await;
    assert_eq!(answered, (200, "token-1_x.thumb".into()));
    let account = files(&site.storage().join("accounts")).remove(0);
    let account = account.file_name().unwrap().to_string_lossy().into_owned();
    let up = format!("..%2f..%2faccounts%2f{account}");
    for token in ["odd", "other", "", "..", &up, &"a".repeat(129), "%00"] {
        let (status, body) = challenge(http, token).await;
        assert!([400, 404].contains(&status), "{token}: {status} {body}");
    }
    fs::remove_file(folder.join("token-1_x")).unwrap();
    assert_eq!(challenge(http, "token-1_x").await.0, 404);
}

#[tokio::test]
async fn two_gateways_with_one_storage_order_once() {
    let site = Site::start(json!({})).await;
    let first = site.write(HTTP, A_TEST);
    let second = site.folder.path().join("second.toml");
    let text = fs::read_to_string(&first).unwrap();
    let text = text.replace(&site.pebble.http.to_string(), "127.0.0.1:0");
    fs::write(
        &second,
        text.replace(&site.pebble.tls.to_string(), "127.0.0.1:0"),
    )
    .unwrap();
    let (first, second) = tokio::join!(Gateway::of(&first), Gateway::of(&second));
    let served = site.issued("a.test").await;
    let there = second.listener("https");
    eventually("the other serves it too", AN_ORDER, async || {
        let said = s_client(there, site.folder.path(), "-servername a.test").await;
        (leaf(&said)? == served).then_some(())
    })
    .await;
    let issued = orders(&first, "issued").await + orders(&second, "issued").await;
    assert_eq!(issued, 1.0);
    let accounts = files(&site.storage().join("accounts"));
    assert_eq!(accounts.len(), 1, "{accounts:?}");
}

#[tokio::test]
async fn an_authority_that_wants_a_binding_gets_one() {
    let settings = json!({
        "externalAccountBindingRequired": true,
        "externalAccountMACKeys": {
            "kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W",
        },
    });
    let site = Site::start(settings).await;
    let folder = site.folder.path();
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W\n";
    fs::write(folder.join("hmac"), key).unwrap();
    let secret = format!("${{file:{}}}", folder.join("hmac").display());
    let binding = format!(r#"external_account = {{ key_id = "kid-1", hmac_key = "{secret}" }}"#);
    let gateway = site.gateway(&format!("{HTTP}\n{binding}"), A_TEST).await;
    site.issued("a.test").await;
    let log = gateway.process.stderr();
    assert!(!log.contains(key.trim()), "{log}");
}

/// An authority that wants to be left alone, with `ADDRESS` for where it is.
const BUSY: &str = r#"server {
  listen ADDRESS ssl; ssl_certificate FOLDER/cert.pem; ssl_certificate_key FOLDER/key.pem;
  location = /dir { return 200 '{"newNonce": "https://ADDRESS/nonce", "newAccount": "https://ADDRESS/account", "newOrder": "https://ADDRESS/order"}'; }
  location = /nonce { add_header Replay-Nonce abc; return 200; }
  location = /account { add_header Retry-After 120 always; return 429 '{"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many accounts"}'; }
}"#;

#[tokio::test]
async fn an_authority_that_wants_to_be_left_alone_is() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("cert.pem");
    let busy = Nginx::start(BUSY, |nginx| {
        write_certificate(&nginx.join("cert.pem"), &nginx.join("key.pem"));
        fs::copy(nginx.join("cert.pem"), &root).unwrap();
    })
    .await;
    let gateway = Gateway::with(&format!(
        r#"admin = {{ address = "127.0.0.1:0" }}
[acme.pebble]
directory = "https://{}/dir"
storage = "acme"
terms_agreed = true
root = "{}"
[[listener]]
name = "https"
address = "127.0.0.1:0"
tls.{A_TEST}
"#,
        busy.address,
        root.display()
    ))
    .await;
    let failure = eventually("a failed order", AN_ORDER, async || {
        let log = gateway.process.stderr();
        let line = log
            .lines()
            .find(|line| line.contains("no new certificate"))?;
        serde_json::from_str::<Value>(line).ok()
    })
    .await;
    let error = failure["error"].as_str().unwrap();
    assert!(error.contains("too many accounts"), "{failure}");
    assert!(failure["next_attempt_s"].as_u64() >= Some(110), "{failure}");
    assert_eq!(orders(&gateway, "rate_limited").await, 1.0);
}

#[tokio::test]
async fn checking_makes_nothing_and_starting_without_storage_fails() {
    let site = Site::start(json!({})).await;
    let file = site.write(HTTP, A_TEST);
    let folder = site.folder.path();
    let output = run(folder, &["check".as_ref(), file.as_os_str()]);
    assert!(output.status.success(), "{output:?}");
    assert!(!site.storage().exists());

    fs::write(site.storage(), "a file, not a folder").unwrap();
    let args = ["gateway".into(), "-c".into(), file.into()];
    let mut process = Process::start(&args, &[]);
    assert!(!process.ended(SOON).await.success());
    let said = process.stderr();
    assert!(
        said.contains("certificates cannot be stored there"),
        "{said}"
    );
    assert!(said.contains("gateway.toml:"), "{said}");
}
