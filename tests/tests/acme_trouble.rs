//! Certificates over ACME when something is wrong: the authority, the names, the storage, the one who asks.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_tests::binary::run;
use tidegate_tests::certified::{A_TEST, AN_ORDER, HTTP, Site, files, leaf, orders};
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::gateway::Gateway;
use tidegate_tests::nginx::{Nginx, free_address};
use tidegate_tests::openssl::s_client;
use tidegate_tests::process::Process;
use tidegate_tests::tokens::write_certificate;
use tidegate_tests::wire::ask;

#[tokio::test]
async fn what_is_served_stays_while_the_authority_is_down() {
    let mut site = Site::start(&json!({ "certificateValidityPeriod": 24 })).await;
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
    let site = Site::start(&json!({ "httpPort": free_address().port() })).await;
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
    let mut site = Site::start(&json!({})).await;
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
    let site = Site::start(&json!({})).await;
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
    let site = Site::start(&json!({})).await;
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
