//! Certificates over ACME: issued by a real Pebble, served, stored, renewed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tidegate_tests::certified::{A_TEST, AN_ORDER, HTTP, Site, files, leaf, orders};
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::gateway::Gateway;
use tidegate_tests::nginx::Nginx;
use tidegate_tests::openssl::s_client;
use tidegate_tests::succession::Succession;
use tidegate_tests::tokens::{unix_now, write_certificate};

#[tokio::test]
async fn a_certificate_is_had_over_http_for_all_names_of_an_entry() {
    let site = Site::start(&json!({})).await;
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
    let expiry = "tidegate_gateway_certificate_expiry_timestamp_seconds{name=\"a.test\"}";
    let until = gateway.admin.metric(expiry).await;
    assert!(until > Some(unix_now() as f64), "{until:?}");
    let challenges = files(&site.storage().join("challenges"));
    let left: Vec<_> = challenges.iter().filter(|path| path.is_file()).collect();
    assert!(left.is_empty(), "{left:?}");
    let log = gateway.process.stderr();
    assert!(!log.contains("PRIVATE KEY"), "{log}");
}

#[tokio::test]
async fn a_certificate_is_had_over_tls_where_clients_go_on_unharmed() {
    let site = Site::start(&json!({})).await;
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
    let mut site = Site::start(&json!({})).await;
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
    let site = Site::start(&json!({})).await;
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
    let site = Site::start(&json!({})).await;
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
    let site = Site::start(&json!({ "certificateValidityPeriod": 12 })).await;
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

/// A directory of Pebble's resources, and of suggestions to renew, which Pebble has none of.
const IMPATIENT: &str = r#"server {
  listen ADDRESS ssl; ssl_certificate FOLDER/cert.pem; ssl_certificate_key FOLDER/key.pem;
  location = /dir { return 200 '{"newNonce": "PEBBLE/nonce-plz", "newAccount": "PEBBLE/sign-me-up", "newOrder": "PEBBLE/order-plz", "renewalInfo": "https://ADDRESS/ari"}'; }
  location /ari/ { add_header Retry-After 3600; return 200 '{"suggestedWindow": {"start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z"}}'; }
}"#;

#[tokio::test]
async fn an_authority_may_want_a_certificate_renewed_and_does_not_get_it_without_end() {
    let site = Site::start(&json!({})).await;
    let pebble = site.pebble.directory();
    let pebble = pebble.trim_end_matches("/dir");
    let roots = site.folder.path().join("roots.pem");
    let impatient = Nginx::start(&IMPATIENT.replace("PEBBLE", pebble), |nginx| {
        write_certificate(&nginx.join("cert.pem"), &nginx.join("key.pem"));
        let both = [nginx.join("cert.pem"), site.pebble.certificate()];
        let both = both.map(|file| fs::read_to_string(file).unwrap());
        fs::write(&roots, both.concat()).unwrap();
    })
    .await;
    let file = site.write(HTTP, A_TEST);
    let certificate = site.pebble.certificate().display().to_string();
    let text = fs::read_to_string(&file)
        .unwrap()
        .replace(
            &format!("{pebble}/dir"),
            &format!("https://{}/dir", impatient.address),
        )
        .replace(&certificate, &roots.display().to_string());
    fs::write(&file, text).unwrap();
    let mut gateway = Gateway::of(&file).await;
    let first = site.issued("a.test").await;
    gateway.process.signal(Signal::TERM);
    gateway.process.ended(SOON).await;

    // Pebble does not know what is replaced; then it is not said.
    let gateway = Gateway::of(&file).await;
    eventually("another certificate", AN_ORDER, async || {
        let now = site.trusted("a.test").await?;
        (now != first).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(orders(&gateway, "issued").await, 1.0);
}

#[tokio::test]
async fn two_gateways_with_one_storage_order_once() {
    let site = Site::start(&json!({})).await;
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
    let site = Site::start(&settings).await;
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
