//! Reloads and hand-overs of the balancer while clients connect without a pause: none is refused, none is reset.
//!
//! `TIDEGATE_FULL=1` plays 500 reloads, 50 hand-overs and 9,900 connections that are held, and prints what there was. More
//! are not possible where a process may have 20,000 open files: each connection needs two.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tidegate_tests::binary;
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::l4::{Balancer, Recorder, client_hello, cluster, listener, sni};
use tidegate_tests::process::send;
use tidegate_tests::script::Script;
use tidegate_tests::succession::resident;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// How much is played.
struct Extent {
    reloads: usize,
    hand_overs: usize,
    held: usize,
    pause: Duration,
}

impl Extent {
    fn wanted() -> Self {
        match std::env::var_os("TIDEGATE_FULL") {
            Some(_) => Self {
                reloads: 500,
                hand_overs: 50,
                held: 9900,
                pause: Duration::ZERO,
            },
            None => Self {
                reloads: 50,
                hand_overs: 6,
                held: 1000,
                pause: Duration::from_millis(2),
            },
        }
    }
}

/// Clients that connect, say something, hear the endpoint's name to its end, and connect again.
struct Load {
    stopping: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

/// Half of them begin with a name.
const CLIENTS: usize = 6;

impl Load {
    fn start(to: SocketAddr, pause: Duration) -> Self {
        let (stopping, served): (Arc<AtomicBool>, Arc<AtomicU64>) = Default::default();
        let clients = (0..CLIENTS).map(|number| {
            let (stopping, served) = (stopping.clone(), served.clone());
            tokio::spawn(async move {
                let (mut failures, mut turn) = (Vec::new(), 0);
                while !stopping.load(Relaxed) {
                    turn += 1;
                    let named = number % 2 == 0;
                    match exchange(to, named).await {
                        Ok(name) if name == if named { "one" } else { "rest" } => {
                            served.fetch_add(1, Relaxed);
                        }
                        other => failures.push(format!("{turn}: {other:?}")),
                    }
                    tokio::time::sleep(pause).await;
                }
                failures
            })
        });
        Self {
            clients: clients.collect(),
            stopping,
            served,
        }
    }

    /// Waits until so many more were served.
    async fn more(&self, count: u64) {
        let before = self.served.load(Relaxed);
        eventually("more are served", SOON, async || {
            (self.served.load(Relaxed) >= before + count).then_some(())
        })
        .await;
    }

    async fn stop(self, what: &str) {
        self.stopping.store(true, Relaxed);
        let mut failures = Vec::new();
        for client in self.clients {
            failures.extend(client.await.expect("it does not panic"));
        }
        let served = self.served.load(Relaxed);
        println!("{what}: {served} connections, {} failures", failures.len());
        assert_eq!(failures, [""; 0], "{what}");
        assert!(served > 500, "{what}: {served}");
    }
}

async fn exchange(to: SocketAddr, named: bool) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(to).await?;
    let hello = client_hello(&[sni("one.test")], 16_384);
    stream
        .write_all(if named { &hello } else { b"\0\0\0\0" })
        .await?;
    stream.shutdown().await?;
    let mut name = String::new();
    let read = tokio::time::timeout(SOON, stream.read_to_string(&mut name)).await;
    read.unwrap_or(Err(ErrorKind::TimedOut.into()))?;
    Ok(name.trim().to_owned())
}

struct Site {
    balancer: Balancer,
    one: Recorder,
    rest: Recorder,
}

impl Site {
    async fn start() -> Self {
        let (one, rest) = (Recorder::start("one").await, Recorder::start("rest").await);
        let text = configuration(&one, &rest, 0);
        let balancer = Balancer::start(&text).await;
        Self {
            balancer,
            one,
            rest,
        }
    }
}

/// Something of it differs from version to version: weights, routes, and a listener that comes and goes.
fn configuration(one: &Recorder, rest: &Recorder, version: usize) -> String {
    let mut text = "handover = { socket = \"door.sock\", drain = \"20s\" }\n".to_owned();
    text += &listener("in", "cluster = \"rest\"");
    if version % 3 == 1 {
        text += &listener("other", "cluster = \"rest\"");
    }
    text += "[[route]]\nnames = [\"one.test\"]\ncluster = \"one\"\n";
    text += &format!("[[route]]\nnames = [\"v{version}.test\"]\ncluster = \"rest\"\n");
    let weight = 1 + version as u32 % 5;
    text += &cluster("one", &[(one.address, weight)], "drain = \"1s\"");
    let scheduler = ["round_robin", "maglev", "two_choices"][version % 3];
    let keys = format!("drain = \"1s\"\nscheduler = \"{scheduler}\"");
    text + &cluster("rest", &[(rest.address, weight)], &keys)
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_refuse_and_reset_nobody() {
    let extent = Extent::wanted();
    let site = Site::start().await;
    let load = Load::start(site.balancer.listener("in"), extent.pause);
    for version in 1..=extent.reloads {
        let text = configuration(&site.one, &site.rest, version);
        site.balancer.reload(&text).await;
        load.more(5).await;
    }
    load.more(50).await;
    load.stop(&format!("{} reloads", extent.reloads)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hand_overs_refuse_and_reset_nobody() {
    let extent = Extent::wanted();
    let mut site = Site::start().await;
    let load = Load::start(site.balancer.listener("in"), extent.pause);
    for _ in 0..extent.hand_overs {
        load.more(80).await;
        site.balancer.hand_over().await;
    }
    load.more(100).await;
    load.stop(&format!("{} hand-overs", extent.hand_overs))
        .await;
    let ended = site.balancer.process.ended(SOON * 3).await;
    assert!(ended.success(), "the first has gone by itself: {ended}");
}

/// A client that holds very many connections; it ends with its test.
struct Holder {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Holder {
    fn start(to: SocketAddr, count: usize) -> Self {
        let mut child = Command::new("/usr/bin/python3")
            .arg(binary::repository().join("tests/clients/held.py"))
            .args(["client", &to.to_string(), &count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python is installed: make setup-tests");
        let input = child.stdin.take().expect("it is piped");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut holder = Self {
            child,
            input,
            output,
        };
        holder.expect("held");
        holder
    }

    fn expect(&mut self, wanted: &str) {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it prints text");
        assert_eq!(line.trim(), wanted, "the client has failed");
    }

    /// Requires that a byte goes each way over each connection.
    fn all_go_on(&mut self) {
        writeln!(self.input, "again").expect("the client is there");
        self.expect("all");
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn very_many_connections_outlive_a_hand_over() {
    let count = Extent::wanted().held;
    let endpoint = Script::serve("held.py", &["endpoint"]);
    let endpoint: SocketAddr = endpoint_of(&endpoint);
    let text = |drain: &str| {
        format!(
            "connections = {count}\nhandover = {{ socket = \"door.sock\", drain = \"{drain}\" }}\n"
        ) + &listener("in", "cluster = \"up\"")
            + &cluster("up", &[(endpoint, 1)], "")
    };
    let mut balancer = Balancer::start(&text("300s")).await;
    let first = balancer.process.id();
    let before = resident(first);
    let to = balancer.listener("in");
    let begun = Instant::now();
    let holder = tokio::task::spawn_blocking(move || Holder::start(to, count));
    let mut holder = holder.await.expect("it does not panic");
    balancer.holds("in", count as f64).await;
    let each = (resident(first) - before) * 1024 / count as u64;
    println!(
        "{count} connections in {:?}, {each} octets of memory each",
        begun.elapsed()
    );
    balancer.hand_over().await;
    let holding = tokio::task::spawn_blocking(move || {
        holder.all_go_on();
        holder
    });
    let holder = holding.await.expect("it does not panic");
    assert!(!balancer.process.has_ended(), "the first serves them on");
    drop(holder);
    let ended = balancer.process.ended(SOON * 3).await;
    assert!(ended.success(), "it ends with the last of them: {ended}");
}

fn endpoint_of(script: &Script) -> SocketAddr {
    script.address.parse().expect("it is an address")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_closes_connections_one_by_one() {
    const COUNT: usize = 40;
    let up = Recorder::start("up").await;
    let text = "handover = { socket = \"door.sock\", drain = \"4s\" }\n".to_owned()
        + &listener("in", "cluster = \"up\"")
        + &cluster("up", &[(up.address, 1)], "");
    let mut balancer = Balancer::start(&text).await;
    let hold = async |to: SocketAddr| {
        let mut open = Vec::new();
        for _ in 0..COUNT {
            let mut stream = TcpStream::connect(to).await.unwrap();
            stream.read_exact(&mut [0; 3]).await.unwrap();
            open.push(stream);
        }
        open
    };
    let open = hold(balancer.listener("in")).await;
    balancer.hand_over().await;
    let spread = ends(open).await;
    println!(
        "handed over: from {:?} to {:?}",
        spread[0],
        spread[COUNT - 1]
    );
    assert!(spread[COUNT / 2] > Duration::from_secs(1), "{spread:?}");
    assert!(spread[COUNT - 1] < Duration::from_secs(6), "{spread:?}");
    assert!(balancer.process.ended(SOON).await.success());
    // One that stops leaves nobody in its place, and takes no longer than two seconds.
    let open = hold(balancer.listener("in")).await;
    send(balancer.serving(), rustix::process::Signal::TERM);
    let spread = ends(open).await;
    println!("stopped: from {:?} to {:?}", spread[0], spread[COUNT - 1]);
    assert!(spread[COUNT / 2] > Duration::from_millis(500), "{spread:?}");
    assert!(spread[COUNT - 1] < Duration::from_secs(5), "{spread:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_listens_no_more_while_somebody_has_yet_to_say_where_to() {
    let up = Recorder::start("up").await;
    let route = "[[route]]\nnames = [\"up.test\"]\ncluster = \"up\"\n";
    let text = listener("named", "")
        + &listener("in", "cluster = \"up\"")
        + route
        + &cluster("up", &[(up.address, 1)], "");
    let mut balancer = Balancer::start(&text).await;
    let (named, to) = (balancer.listener("named"), balancer.listener("in"));
    let _silent = TcpStream::connect(named).await.unwrap();
    balancer.holds("named", 1.0).await;
    send(balancer.serving(), rustix::process::Signal::TERM);
    // Whoever comes before it is heard is served, and nobody is left without an answer.
    let begun = Instant::now();
    for to in [to, named] {
        while let Ok(mut stream) = TcpStream::connect(to).await {
            assert!(begun.elapsed() < Duration::from_millis(700), "{to}");
            let hello = client_hello(&[sni("up.test")], 1000);
            let _ = stream.write_all(&hello).await;
            let said = stream.read_u8().await;
            assert_eq!(said.expect("who is let in is served"), b'u');
        }
    }
    assert!(
        !balancer.process.has_ended(),
        "the silent one may yet speak"
    );
    assert!(balancer.process.ended(SOON).await.success());
}

/// When each of them ends, in order.
async fn ends(open: Vec<TcpStream>) -> Vec<Duration> {
    let begun = Instant::now();
    let ends = open.into_iter().map(|mut stream| {
        tokio::spawn(async move {
            let _ = stream.read(&mut [0; 9]).await;
            begun.elapsed()
        })
    });
    let mut all = Vec::new();
    for end in ends.collect::<Vec<_>>() {
        all.push(end.await.expect("it does not panic"));
    }
    all.sort();
    all
}
