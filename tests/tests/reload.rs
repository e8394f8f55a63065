//! Reload: nothing is lost, nothing is mixed, and a mistake changes nothing.

use std::fs;
use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use rustix::process::Signal;
use tidegate_tests::answer::Answer;
use tidegate_tests::api::Api;
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::gateway::Gateway;
use tidegate_tests::load::Load;
use tidegate_tests::tokens::write_certificate;
use tidegate_tests::upstream::Upstream;
use tidegate_tests::versions::Versions;
use tidegate_tests::wire::Wire;

/// A whole configuration in which everything says `version`.
fn configuration(version: &str, upstream: &Upstream) -> String {
    format!(
        r#"plugins = ["mark"]
admin = {{ address = "127.0.0.1:0" }}
threads = 2

[[listener]]
name = "http"
address = "127.0.0.1:0"

[cluster.{version}]
endpoints = [{{ address = "{}" }}]

[plugin.mark]
kind = "headers"
request = {{ set = {{ x-version = "{version}" }} }}
response = {{ set = {{ x-version = "{version}" }} }}

[[route]]
name = "all-{version}"
cluster = "{version}"

[[route]]
name = "only-{version}"
path = "/only/{version}"
cluster = "{version}"
plugins = ["only"]

[plugin.only]
kind = "headers"
response = {{ set = {{ x-only = "{version}" }} }}
"#,
        upstream.address
    )
}

/// The version that an answer comes from; an error when it comes from more than one.
fn version_of(answer: &Answer) -> Result<String, String> {
    if answer.status != 200 {
        return Err(format!("status {}: {}", answer.status, answer.text()));
    }
    let told = answer.json();
    let parts = [
        answer.header("x-version"),
        told["upstream"].as_str().unwrap_or_default(),
        told["headers"]["x-version"].as_str().unwrap_or_default(),
    ];
    match parts.iter().all(|part| *part == parts[0]) {
        true => Ok(parts[0].to_owned()),
        false => Err(format!("of mixed versions: {parts:?}")),
    }
}

async fn serves(gateway: &Gateway, version: &str) {
    eventually(&format!("{version} serves"), SOON, async || {
        let answer = gateway.get("/", "").await;
        (version_of(&answer).as_deref() == Ok(version)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_thousand_reloads_under_load_lose_and_mix_nothing() {
    let (a, b) = (Upstream::start("a").await, Upstream::start("b").await);
    let versions = Versions::of(&[("a", configuration("a", &a)), ("b", configuration("b", &b))]);
    let gateway = Gateway::of(&versions.file()).await;
    let load = Load::start(gateway.listener("http"), 4, "/", |answer| {
        version_of(answer).map(drop)
    });
    load.more(100).await;
    for turn in 0..1000 {
        let version = if turn % 2 == 0 { "b" } else { "a" };
        versions.switch_to(version);
        gateway.admin.reload().await.expect(200);
        if turn % 50 == 0 {
            for route in ["a", "b"] {
                let answer = gateway.get(&format!("/only/{route}"), "").await;
                assert_eq!(version_of(&answer).unwrap(), version);
                let expected = if route == version { version } else { "" };
                assert_eq!(answer.header("x-only"), expected, "the routes of {version}");
            }
            load.more(20).await;
        }
    }
    load.stop().await.assert_unbroken();
    assert!(a.count() > 100 && b.count() > 100, "both versions served");
    let reloads = gateway
        .admin
        .metric("tidegate_reloads_total{result=\"ok\"}")
        .await;
    assert_eq!(reloads, Some(1000.0));
}

#[tokio::test]
async fn endpoints_that_are_new_are_checked_before_the_old_ones_leave() {
    let upstream = Upstream::start("a").await;
    let checked = |interval: &str| {
        let check = format!("check = {{ path = \"/healthz\", interval = \"{interval}\" }}\n");
        configuration("a", &upstream).replace("[plugin.mark]", &format!("{check}\n[plugin.mark]"))
    };
    let versions = Versions::of(&[("slow", checked("50s")), ("slower", checked("60s"))]);
    let gateway = Gateway::of(&versions.file()).await;
    let load = Load::start(gateway.listener("http"), 4, "/", |answer| {
        version_of(answer).map(drop)
    });
    for turn in 0..40 {
        let version = if turn % 2 == 0 { "slower" } else { "slow" };
        versions.switch_to(version);
        gateway.admin.reload().await.expect(200);
        load.more(10).await;
    }
    load.stop().await.assert_unbroken();
}

#[tokio::test]
async fn a_changed_file_is_noticed() {
    let (a, b) = (Upstream::start("a").await, Upstream::start("b").await);
    let gateway = Gateway::with(&configuration("a", &a)).await;
    serves(&gateway, "a").await;
    gateway.rewrite(&configuration("b", &b));
    serves(&gateway, "b").await;
    gateway.rewrite(&configuration("a", &a));
    serves(&gateway, "a").await;
}

#[tokio::test]
async fn a_file_that_was_gone_for_a_while_is_noticed_when_it_comes_back() {
    let (a, b) = (Upstream::start("a").await, Upstream::start("b").await);
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("gateway.toml");
    fs::write(&file, configuration("a", &a)).expect("the folder can be written");
    let gateway = Gateway::of(&file).await;
    fs::remove_file(&file).expect("the file is there");
    eventually("the loss is noticed", SOON, async || {
        (last_failed(&gateway).await == 1.0).then_some(())
    })
    .await;
    serves(&gateway, "a").await;
    fs::write(&file, configuration("b", &b)).expect("the folder can be written");
    serves(&gateway, "b").await;
}

#[tokio::test]
async fn sighup_reloads() {
    let (a, b) = (Upstream::start("a").await, Upstream::start("b").await);
    let versions = Versions::of(&[("a", configuration("a", &a)), ("b", configuration("b", &b))]);
    let gateway = Gateway::of(&versions.file()).await;
    versions.switch_to("b");
    serves(&gateway, "a").await;
    gateway.process.signal(Signal::HUP);
    serves(&gateway, "b").await;
}

/// A name, a broken configuration, and what is said about it after the file's name.
fn mistakes(sound: &str) -> [(&'static str, String, &'static str); 4] {
    let certificate = "tls = { certificate = \"absent.pem\", key = \"absent.pem\" }";
    [
        (
            "key",
            sound.replace("threads", "thread"),
            ":3:1: unknown key `thread`",
        ),
        (
            "cluster",
            sound.replace("cluster = \"b\"", "cluster = \"c\""),
            ":19:11: there is no cluster `c`",
        ),
        (
            "certificate",
            sound.replace(
                "name = \"http\"",
                &format!("name = \"http\"\n{certificate}"),
            ),
            ":7:23: cannot read the certificate",
        ),
        (
            "syntax",
            sound.replace("[cluster.b]", "[cluster.b"),
            ":9:11: ",
        ),
    ]
}

#[tokio::test]
async fn a_mistake_changes_nothing_and_says_its_place() {
    let (a, b) = (Upstream::start("a").await, Upstream::start("b").await);
    let sound = configuration("b", &b);
    let mistakes = mistakes(&sound);
    let mut versions = vec![("a", configuration("a", &a)), ("b", sound)];
    versions.extend(mistakes.iter().map(|(name, text, _)| (*name, text.clone())));
    let versions = Versions::of(&versions);
    let gateway = Gateway::of(&versions.file()).await;
    let load = Load::start(gateway.listener("http"), 2, "/", |answer| {
        version_of(answer).map(drop)
    });
    load.more(20).await;
    for (name, _, expected) in mistakes {
        versions.switch_to(name);
        let problem = reload_fails(&gateway).await;
        let place = format!("{}{expected}", versions.file().display());
        assert!(problem.contains(&place), "{place:?} is not in {problem:?}");
        assert!(gateway.process.stderr().contains(&place), "nor in the log");
        let still = gateway.get("/only/a", "").await;
        assert_eq!(version_of(&still).unwrap(), "a", "{name}");
    }
    assert_eq!(b.count(), 0, "nothing of a refused configuration was used");
    versions.switch_to("b");
    gateway.admin.reload().await.expect(200);
    assert_eq!(last_failed(&gateway).await, 0.0);
    serves(&gateway, "b").await;
    load.stop().await.assert_unbroken();
}

#[tokio::test]
async fn a_port_of_somebody_else_changes_nothing_and_says_its_place() {
    let a = Upstream::start("a").await;
    let taken = Upstream::start("stranger").await;
    let plain = configuration("a", &a);
    let listener = format!(
        "\n[[listener]]\nname = \"more\"\naddress = \"{}\"\n",
        taken.address
    );
    let greedy = plain.replace("response = { set", "response = { add") + &listener;
    let versions = Versions::of(&[("plain", plain), ("greedy", greedy)]);
    let gateway = Gateway::of(&versions.file()).await;
    versions.switch_to("greedy");
    let problem = reload_fails(&gateway).await;
    serves(&gateway, "a").await;
    assert!(
        problem.contains("more") && problem.contains(&taken.address.to_string()),
        "{problem}"
    );
    versions.switch_to("plain");
    gateway.admin.reload().await.expect(200);
    assert_eq!(last_failed(&gateway).await, 0.0);
    assert!(
        problem.contains("gateway.toml:33:11"),
        "no place in {problem:?}"
    );
}

async fn reload_fails(gateway: &Gateway) -> String {
    let refused = gateway.admin.reload().await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert_eq!(last_failed(gateway).await, 1.0);
    let detail = refused.json()["detail"].as_str().map(str::to_owned);
    detail.expect("the problem has a detail")
}

async fn last_failed(gateway: &Gateway) -> f64 {
    let gauge = gateway.admin.metric("tidegate_reload_last_failed").await;
    gauge.expect("the gauge is always there")
}

#[tokio::test]
async fn a_listener_comes_and_goes_while_another_serves() {
    let a = Upstream::start("a").await;
    let plain = configuration("a", &a);
    let more = plain.clone() + "\n[[listener]]\nname = \"more\"\naddress = \"127.0.0.1:0\"\n";
    let versions = Versions::of(&[("plain", plain), ("more", more)]);
    let gateway = Gateway::of(&versions.file()).await;
    let load = Load::start(gateway.listener("http"), 4, "/", |answer| {
        version_of(answer).map(drop)
    });
    load.more(50).await;

    versions.switch_to("more");
    gateway.admin.reload().await.expect(200);
    let opened = gateway.opened("more").await;
    let second = Load::start(opened, 1, "/", |answer| version_of(answer).map(drop));
    second.more(50).await;
    second.stop().await.assert_unbroken();

    versions.switch_to("plain");
    gateway.admin.reload().await.expect(200);
    eventually("the listener refuses", SOON, async || {
        tokio::net::TcpStream::connect(opened).await.err()
    })
    .await;
    load.more(50).await;
    load.stop().await.assert_unbroken();
}

#[tokio::test]
async fn connections_of_a_removed_listener_end_after_the_next_answer_which_says_so() {
    let a = Upstream::start("a").await;
    let plain = configuration("a", &a);
    let more = plain.clone() + "\n[[listener]]\nname = \"more\"\naddress = \"127.0.0.1:0\"\n";
    let versions = Versions::of(&[("more", more), ("plain", plain)]);
    let gateway = Gateway::of(&versions.file()).await;
    let mut idle = Wire::connect(gateway.listener("more")).await.unwrap();
    let request = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    idle.exchange(request).await.unwrap().expect(200);
    versions.switch_to("plain");
    gateway.admin.reload().await.expect(200);
    let answer = idle.exchange(request).await.unwrap();
    let answer = answer.expect(200);
    assert_eq!(answer.header("connection"), "close");
    let ended = tokio::time::timeout(Duration::from_secs(3), idle.answer()).await;
    assert!(ended.expect("the connection ends").is_err());
}

#[tokio::test]
async fn a_replaced_certificate_is_used_for_new_handshakes() {
    let a = Upstream::start("a").await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let tls = "tls = { certificate = \"cert.pem\", key = \"key.pem\" }\n";
    let text = configuration("a", &a).replace("\n[cluster", &format!("{tls}\n[cluster"));
    write_certificate(&file("cert.pem"), &file("key.pem"));
    fs::copy(file("cert.pem"), file("first.pem")).unwrap();
    fs::write(file("gateway.toml"), text).unwrap();
    let gateway = Gateway::of(&file("gateway.toml")).await;
    let address = gateway.listener("http");
    let before = Api::trusting(address, &file("first.pem"));
    assert!(reaches(&before).await);

    write_certificate(&file("cert.pem"), &file("key.pem"));
    eventually("new handshakes get the new certificate", SOON, async || {
        reaches(&Api::trusting(address, &file("cert.pem")))
            .await
            .then_some(())
    })
    .await;
    assert!(reaches(&before).await, "the old connection goes on");
    assert!(!reaches(&Api::trusting(address, &file("first.pem"))).await);

    replace_by(&file("cert.pem"), "no certificate");
    eventually("the broken certificate is told", SOON, async || {
        (last_failed(&gateway).await == 1.0).then_some(())
    })
    .await;
    assert!(reaches(&before).await);
}

async fn reaches(api: &Api) -> bool {
    let request = api
        .request(Method::GET, "/")
        .timeout(Duration::from_secs(5));
    request
        .send()
        .await
        .is_ok_and(|response| response.status() == 200)
}

fn replace_by(file: &Path, text: &str) {
    let next = file.with_extension("next");
    fs::write(&next, text).expect("the folder can be written");
    fs::rename(&next, file).expect("a file can replace a file");
}
