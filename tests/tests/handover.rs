//! Hand-over: a newer process takes over, and nobody notices.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tidegate_tests::admin::Admin;
use tidegate_tests::answer::Answer;
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::gateway::{Gateway, address};
use tidegate_tests::load::Load;
use tidegate_tests::process::{Process, send};
use tidegate_tests::succession::{Succession, command, descriptors, resident, run, successor_of};
use tidegate_tests::upstream::Upstream;
use tidegate_tests::wire::Wire;
use tokio::sync::watch;

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n";

/// How many times; set TIDEGATE_HANDOVERS for another number.
const HAND_OVERS: usize = 50;
/// During all hand-overs together.
const RELOADS: usize = 500;
const LISTENERS: usize = 40;

fn configuration(upstream: &Upstream, listeners: usize) -> String {
    let listeners: String = (1..listeners)
        .map(|at| format!("[[listener]]\nname = \"l{at}\"\naddress = \"127.0.0.1:0\"\n"))
        .collect();
    format!(
        r#"admin = {{ address = "127.0.0.1:0" }}
threads = 2
handover = {{ socket = "DOOR" }}
[[listener]]
name = "http"
address = "127.0.0.1:0"
{listeners}
[cluster.up]
endpoints = [{{ address = "{}" }}]
connect_timeout = "10s" # on a machine that does much else
[[route]]
name = "all"
cluster = "up"
"#,
        upstream.address
    )
}

/// Starts a gateway that can be replaced; its configuration.
async fn start(upstream: &Upstream, listeners: usize) -> (Succession, String) {
    let gateways = Succession::start(&configuration(upstream, listeners)).await;
    let text = gateways.text.clone();
    (gateways, text)
}

fn is_good(answer: &Answer) -> Result<(), String> {
    match answer.status {
        200 => Ok(()),
        other => Err(format!("status {other}")),
    }
}

async fn upgraded(address: SocketAddr) -> Wire {
    let mut wire = Wire::connect(address).await.expect("it accepts");
    wire.upgrade("/echo").await.expect("it lets through");
    wire
}

/// Reloads again and again, also while one process takes the other's place.
async fn reload_until(admin: Admin, done: watch::Receiver<bool>) -> (usize, usize) {
    let (mut reloads, mut asked_again) = (0, 0);
    while !*done.borrow() || reloads < RELOADS {
        match admin.reload().await.status {
            200 => reloads += 1,
            503 => asked_again += 1,
            other => panic!("a reload was answered {other}"),
        }
    }
    (reloads, asked_again)
}

async fn every_listener_answers(gateway: &Gateway) {
    for at in 1..LISTENERS {
        let address = gateway.listener(&format!("l{at}"));
        let mut wire = Wire::connect(address).await.expect("it accepts");
        let answer = wire.exchange(REQUEST).await.expect("it answers");
        answer.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn hand_overs_under_load_lose_nothing() {
    let wanted = std::env::var("TIDEGATE_HANDOVERS").ok();
    let wanted = wanted.map_or(HAND_OVERS, |count| count.parse().expect("a number"));
    let mut upstream = Upstream::start("up").await;
    let (mut gateways, _) = start(&upstream, LISTENERS).await;
    let address = gateways.first.listener("http");
    let before = descriptors(gateways.serving);
    let mut early = resident(gateways.serving);
    let load = Load::start(address, 200, "/", is_good);
    let (done, is_done) = watch::channel(false);
    let reloads = tokio::spawn(reload_until(gateways.first.admin, is_done));
    let mut long_lived = vec![upgraded(address).await];
    load.more(400).await;

    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    for turn in 0..wanted {
        let (old, file, began) = (gateways.serving, gateways.file(), Instant::now());
        let outcome = gateways.hand_over(&file).await;
        slowest = slowest.max(began.elapsed());
        outcome.assert_succeeded();
        let told = format!("process {} took over from {old}\n", gateways.serving);
        assert!(outcome.stdout.ends_with(&told), "{outcome:?}");
        if turn % (wanted / 4).max(1) == 0 {
            long_lived.push(upgraded(address).await);
        }
        for wire in &mut long_lived {
            wire.echo("still here").await.expect("it lives on");
        }
        load.more(100).await;
        if turn == 5 {
            early = resident(gateways.serving);
        }
    }
    let took = began.elapsed();
    done.send_replace(true);
    let (reloads, asked_again) = reloads.await.expect("every reload was answered");
    let load = load.stop().await;
    load.assert_no_failure();

    // Every listener is still there, and what is gone leaves nothing behind.
    every_listener_answers(&gateways.first).await;
    for wire in &mut long_lived {
        wire.echo("still here").await.expect("it lives on");
    }
    drop(long_lived);
    // With it go the connections that the gateway keeps for later.
    upstream.die().await;
    let now = eventually("the connections are gone", SOON, async || {
        let now = descriptors(gateways.serving);
        (now <= before + 4).then_some(now)
    })
    .await;
    let memory = resident(gateways.serving);
    assert!(
        memory < early + 16 * 1024,
        "{memory} KiB in the last process, {early} KiB in an early one"
    );
    println!(
        "{wanted} hand-overs in {took:?}, the slowest {slowest:?}; {} requests, {} closed as announced, \
         {reloads} reloads, {asked_again} asked again; descriptors {before} -> {now}, memory {early} -> {memory} KiB",
        load.good, load.closed
    );
}

/// Successors that cannot serve: what is wrong, their configuration, and what is said.
fn failures(sound: &str, taken: SocketAddr) -> Vec<(&'static str, String, String)> {
    let without_door: Vec<&str> = sound
        .lines()
        .filter(|line| !line.contains("door.sock"))
        .collect();
    let more = format!("[[listener]]\nname = \"more\"\naddress = \"{taken}\"\n");
    vec![
        (
            "a mistake",
            sound.replace("threads = 2", "thread = 2"),
            "unknown key `thread`".into(),
        ),
        (
            "a mistake in what it means",
            sound.replace("cluster = \"up\"", "cluster = \"down\""),
            "there is no cluster `down`".into(),
        ),
        (
            "no door",
            without_door.join("\n"),
            "add `handover = { socket = ".into(),
        ),
        (
            "the door of nobody",
            sound.replace("door.sock", "other.sock"),
            "start a gateway with `tidegate gateway`".into(),
        ),
        (
            "a port of somebody else",
            format!("{sound}\n{more}"),
            format!("the listener `more` cannot listen on {taken}"),
        ),
    ]
}

#[tokio::test]
async fn a_successor_that_cannot_serve_leaves_the_old_one_serving() {
    let upstream = Upstream::start("up").await;
    let (mut gateways, sound) = start(&upstream, 2).await;
    let load = Load::start(gateways.first.listener("http"), 4, "/", is_good);
    let mut long_lived = upgraded(gateways.first.listener("http")).await;
    for (what, text, why) in failures(&sound, upstream.address) {
        let file = gateways.other(&text);
        let outcome = gateways.hand_over(&file).await;
        outcome.assert_failed(&why);
        if !what.contains("door") {
            let place = format!("{}:", file.display());
            let drawn = outcome.stderr.contains(&place);
            assert!(drawn, "no place in {}", outcome.stderr);
        }
        load.more(20).await;
    }
    assert_eq!(gateways.first.admin.get("/readyz").await.status, 200);
    gateways.first.admin.reload().await.expect(200);
    let file = gateways.file();
    gateways.hand_over(&file).await.assert_succeeded();
    load.more(20).await;
    long_lived.echo("through it all").await.unwrap();
    load.stop().await.assert_no_failure();
}

/// A configuration whose successor waits for an endpoint that does not answer its check.
fn slow(sound: &str, silent: &std::net::TcpListener) -> String {
    let silent = silent.local_addr().expect("it is bound");
    let cluster = format!(
        "[cluster.slow]\nendpoints = [{{ address = \"{silent}\" }}]\ncheck = {{ path = \"/\", interval = \"30s\", timeout = \"20s\" }}\n"
    );
    sound.replace("[cluster.up]", &format!("{cluster}[cluster.up]"))
}

#[tokio::test]
async fn a_successor_that_is_killed_leaves_the_old_one_serving() {
    let upstream = Upstream::start("up").await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut gateways, sound) = start(&upstream, 2).await;
    let load = Load::start(gateways.first.listener("http"), 4, "/", is_good);
    let file = gateways.other(&slow(&sound, &silent));
    for pause in [0, 20, 200, 800] {
        let command = command(&file)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let successor = successor_of(command.id().unwrap()).await;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        send(successor, Signal::KILL);
        let output = command.wait_with_output().await.unwrap();
        assert_eq!(output.status.code(), Some(1));
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("changed nothing"), "{told}");
        load.more(20).await;
    }
    let said = gateways.first.process.stderr();
    assert!(said.contains("the other process has gone"), "{said}");

    // While one successor prepares itself, there is no place for another.
    let mut first = command(&file).spawn().unwrap();
    eventually("the first has the sockets", SOON, async || {
        let successor = successor_of(first.id().unwrap()).await;
        (descriptors(successor) > 20).then_some(())
    })
    .await;
    let second = gateways.hand_over(&gateways.file()).await;
    second.assert_failed("another hand-over is under way");
    let status = first.wait().await.unwrap();
    assert!(status.success(), "the first takes over in the end");
    load.more(20).await;
    load.stop().await.assert_no_failure();
    gateways.gone(gateways.first.process.id(), SOON).await;
    for process in tidegate_tests::process::naming(gateways.folder()) {
        send(process, Signal::KILL);
    }
}

#[tokio::test]
async fn an_idle_connection_gets_one_more_answer_and_a_stop_is_still_obeyed() {
    let upstream = Upstream::start("up").await;
    let (mut gateways, text) = start(&upstream, 1).await;
    let hasty = format!("drain = \"500ms\"\n{text}");
    fs::write(gateways.file(), hasty).unwrap();
    gateways.first.admin.reload().await.expect(200);
    let address = gateways.first.listener("http");
    let mut idle = Wire::connect(address).await.unwrap();
    idle.exchange(REQUEST).await.unwrap().expect(200);
    let mut silent = Wire::connect(address).await.unwrap();
    let mut long_lived = upgraded(address).await;
    let (old, file) = (gateways.serving, gateways.file());
    gateways.hand_over(&file).await.assert_succeeded();
    tokio::time::sleep(Duration::from_millis(700)).await;
    for wire in [&mut idle, &mut silent] {
        let answer = wire.exchange(REQUEST).await.unwrap().expect(200);
        assert_eq!(answer.header("connection"), "close");
    }
    long_lived.echo("still here").await.unwrap();
    assert!(!gateways.first.process.has_ended());
    send(old, Signal::TERM);
    gateways.gone(old, Duration::from_secs(3)).await;
    assert!(long_lived.echo("gone").await.is_err());
    assert_eq!(gateways.admin().get("/readyz").await.status, 200);
}

#[tokio::test]
async fn a_successor_takes_the_place_of_a_process_that_dies_under_its_hands() {
    let upstream = Upstream::start("up").await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (gateways, sound) = start(&upstream, 2).await;
    let address = gateways.first.listener("http");
    let file = gateways.other(&slow(&sound, &silent));
    let mut command = command(&file).spawn().unwrap();
    let successor = successor_of(command.id().unwrap()).await;
    eventually("it has the sockets", SOON, async || {
        (descriptors(successor) > 20).then_some(())
    })
    .await;
    send(gateways.serving, Signal::KILL);
    // Whoever comes now waits in the sockets' queues, which are the successor's too.
    let mut waiting = Wire::connect(address).await.unwrap();
    let answer = tokio::time::timeout(SOON, waiting.exchange(REQUEST)).await;
    answer.expect("it is answered").unwrap().expect(200);
    assert!(command.wait().await.unwrap().success());
    send(successor, Signal::TERM);
}

#[tokio::test]
async fn connections_are_cut_when_the_time_of_the_predecessor_is_over() {
    let upstream = Upstream::start("up").await;
    let (mut gateways, text) = start(&upstream, 1).await;
    let limited = text.replace("door.sock\"", "door.sock\", drain = \"500ms\"");
    fs::write(gateways.file(), limited).unwrap();
    gateways.first.admin.reload().await.expect(200);
    let mut long_lived = upgraded(gateways.first.listener("http")).await;
    let (old, file) = (gateways.serving, gateways.file());
    gateways.hand_over(&file).await.assert_succeeded();
    long_lived.echo("still here").await.unwrap();
    gateways.gone(old, Duration::from_secs(3)).await;
    assert!(long_lived.echo("gone").await.is_err());
}

#[tokio::test]
async fn successors_may_have_more_or_fewer_threads_and_other_listeners() {
    let upstream = Upstream::start("up").await;
    let (mut gateways, text) = start(&upstream, 3).await;
    let load = Load::start(gateways.first.listener("http"), 16, "/", is_good);
    let removed = gateways.first.listener("l2");
    for threads in [4, 1, 3, 2] {
        let text = text.replace("threads = 2", &format!("threads = {threads}"));
        let text = text.replace("name = \"l2\"", &format!("name = \"with{threads}\""));
        fs::write(gateways.file(), text).unwrap();
        let file = gateways.file();
        gateways.hand_over(&file).await.assert_succeeded();
        let added = address(&gateways.ready(), &format!("with{threads}"));
        let mut wire = Wire::connect(added).await.unwrap();
        wire.exchange(REQUEST).await.unwrap().expect(200);
        load.more(50).await;
    }
    load.stop().await.assert_no_failure();
    let refused = Wire::connect(removed).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_gateway_with_a_supervisor_is_not_replaced() {
    let upstream = Upstream::start("up").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    let door = folder.path().join("door.sock");
    let text = configuration(&upstream, 1).replace("DOOR", &door.to_string_lossy());
    fs::write(&file, text).unwrap();
    let supervisor = [("TIDEGATE_SUPERVISOR", std::process::id().to_string())];
    let args = ["gateway".into(), "-c".into(), file.clone().into()];
    let gateway = Gateway::running(Process::start(&args, &supervisor)).await;
    let outcome = run(command(&file), folder.path(), &[]).await;
    outcome.assert_failed("it belongs to `tidegate up`");
    gateway.get("/", "").await.expect(200);
}
