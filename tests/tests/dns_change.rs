//! Reloads and hand-overs under load: no query stays unanswered by our doing.
//!
//! `TIDEGATE_FULL=1` plays 1,000 reloads and 100 hand-overs with as many queries as are answered, and prints what there was.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tidegate_tests::authority::Authority;
use tidegate_tests::dns_load::{DnsLoad, Questions, Tally, dropped};
use tidegate_tests::name_server::NameServer;
use tidegate_tests::process::send;
use tokio::task::JoinHandle;

/// How much is played.
struct Extent {
    reloads: usize,
    hand_overs: usize,
    rate: Option<u32>,
}

impl Extent {
    fn wanted() -> Self {
        match std::env::var_os("TIDEGATE_FULL") {
            Some(_) => Self {
                reloads: 1000,
                hand_overs: 100,
                rate: None,
            },
            None => Self {
                reloads: 100,
                hand_overs: 10,
                rate: Some(1000),
            },
        }
    }
}

/// Asks over HTTPS again and again; how often it was answered, and what went wrong.
struct Https {
    stopping: Arc<AtomicBool>,
    clients: Vec<JoinHandle<(u64, Vec<String>)>>,
}

impl Https {
    /// One client for each version of HTTP.
    fn start(server: SocketAddr, tls: &ClientConfig, rate: Option<u32>) -> Self {
        let stopping = Arc::new(AtomicBool::new(false));
        let clients = [b"h2".to_vec(), b"http/1.1".to_vec()].map(|protocol| {
            let mut tls = tls.clone();
            tls.alpn_protocols = vec![protocol];
            let client = reqwest::Client::builder()
                .tls_backend_preconfigured(tls)
                .resolve("dns.test", server)
                .build()
                .expect("reqwest can do all of that");
            let url = format!("https://dns.test:{}/dns-query?dns={WWW}", server.port());
            let stopping = stopping.clone();
            let pause = rate.map(|rate| Duration::from_secs(1) / rate);
            tokio::spawn(async move {
                let (mut answered, mut failures) = (0, Vec::new());
                while !stopping.load(Relaxed) {
                    match client.get(&url).send().await {
                        Ok(response) if response.status() == 200 => answered += 1,
                        Ok(response) => failures.push(format!("{response:?}")),
                        Err(error) => failures.push(format!("{error:?}")),
                    }
                    tokio::time::sleep(pause.unwrap_or_default()).await;
                }
                (answered, failures)
            })
        });
        Self {
            stopping,
            clients: clients.into(),
        }
    }

    async fn stop(self) {
        self.stopping.store(true, Relaxed);
        for client in self.clients {
            let (answered, failures) = client.await.expect("it does not panic");
            println!("https: {answered} answered, {} failures", failures.len());
            assert_eq!(failures, [""; 0]);
            assert!(answered > 100, "{answered}");
        }
    }
}

/// `www.example.test` A, as RFC 8484 writes it.
const WWW: &str = "AAABAAABAAAAAAAAA3d3dwdleGFtcGxlBHRlc3QAAAEAAQ";

const UDP: usize = 4;
const STREAMS: usize = 3;

/// A server, and everybody who asks it.
struct Stage {
    server: NameServer,
    authority: Authority,
    loads: Vec<(&'static str, DnsLoad)>,
    https: Https,
}

impl Stage {
    async fn start(rate: Option<u32>) -> Self {
        let authority = Authority::new("authority");
        authority.server("a", &["dns.test"]);
        let server = NameServer::start(&configuration(&authority, 0), |_| {}).await;
        let questions = Questions {
            name: "www.example.test".into(),
            rate,
        };
        let dot = server.listener("dot");
        let loads = vec![
            ("udp", DnsLoad::udp(server.address, UDP, &questions)),
            ("tcp", DnsLoad::tcp(server.address, STREAMS, &questions)),
            (
                "tls",
                DnsLoad::tls(dot, STREAMS, &questions, trusting(&authority)),
            ),
        ];
        let https = Https::start(server.listener("doh"), &trusting(&authority), rate);
        Self {
            server,
            authority,
            loads,
            https,
        }
    }

    /// Waits until each load was answered so often again.
    fn more(&self, answers: u64) {
        let before: Vec<u64> = self.loads.iter().map(|(_, load)| load.answered()).collect();
        for ((name, load), before) in self.loads.iter().zip(before) {
            until(&format!("more answers over {name}"), || {
                load.answered() >= before + answers
            });
        }
    }

    /// Waits until each client is connected for the so-manieth time, and answered.
    fn every_connection_begun(&self, times: usize) {
        let wanted = (times * STREAMS) as u64;
        for (name, load) in self.streams() {
            until(&format!("{times} connections each over {name}"), || {
                load.begun() >= wanted
            });
        }
    }

    /// Waits until the server has ended every connection so often.
    fn every_connection_ended(&self, times: usize) {
        let wanted = (times * STREAMS) as u64;
        for (name, load) in self.streams() {
            until(&format!("{times} ends each over {name}"), || {
                load.ended() >= wanted
            });
        }
    }

    fn streams(&self) -> impl Iterator<Item = &(&'static str, DnsLoad)> {
        self.loads.iter().filter(|(name, _)| *name != "udp")
    }

    /// Stops everybody; what each has met, and the figures in a line.
    async fn stop(self, what: &str) -> Vec<(&'static str, Tally)> {
        self.https.stop().await;
        let drops = dropped(self.server.address.port());
        let tallies: Vec<_> = self
            .loads
            .into_iter()
            .map(|(name, load)| (name, load.stop()))
            .collect();
        for (name, tally) in &tallies {
            let Tally {
                answered,
                unanswered,
                ended,
                again,
                failures,
            } = tally;
            println!(
                "{what}: {name}: {answered} answered, {unanswered} unanswered, {ended} connections ended, {again} asked again, {} failures",
                failures.len()
            );
        }
        println!("{what}: {drops} datagrams dropped by the kernel for want of room");
        assert_eq!(
            drops, 0,
            "the load overflows buffers: what is lost tells nothing"
        );
        tallies
    }
}

/// The last successor; it ends with this.
struct Serving(Option<u32>);

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(process) = self.0 {
            send(process, Signal::TERM);
        }
    }
}

/// Waits, without the runtime: nothing of the test runs on it.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn configuration(authority: &Authority, version: usize) -> String {
    let folder = authority.folder().display();
    // Each time other answers, and now and then another listener.
    let extra = match version % 5 {
        4 => "[[listener]]\nname = \"extra\"\naddress = \"127.0.0.1:0\"\n",
        _ => "",
    };
    format!(
        r#"
handover = {{ socket = "door.sock" }}
tcp = {{ queries = 4000000000 }}
threads = 2

[[listener]]
name = "dot"
address = "127.0.0.1:0"
tls = {{ certificate = "{folder}/a.pem", key = "{folder}/a.key" }}
[[listener]]
name = "doh"
address = "127.0.0.1:0"
tls = {{ certificate = "{folder}/a.pem", key = "{folder}/a.key" }}
http = {{}}
{extra}
[[zone]]
name = "example.test"
ns = ["ns1.example.net."]
[[zone.record]]
name = "www"
type = "A"
values = ["192.0.2.{}"]
"#,
        version % 250 + 1
    )
}

fn trusting(authority: &Authority) -> ClientConfig {
    let provider = rustls::crypto::ring::default_provider();
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(authority.file("ca.pem")).expect("it was just made");
    roots.add(ca).expect("it is an authority");
    ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .expect("ring knows them")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_under_load_leave_no_query_unanswered() {
    let extent = Extent::wanted();
    let stage = Stage::start(extent.rate).await;
    stage.more(10);
    for version in 1..=extent.reloads {
        stage
            .server
            .configure(&configuration(&stage.authority, version));
        let answer = stage.server.admin.reload().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    stage.more(10);
    for (name, tally) in stage.stop(&format!("{} reloads", extent.reloads)).await {
        assert_eq!(tally.failures, [""; 0], "{name}");
        assert_eq!(tally.unanswered, 0, "{name}");
        assert_eq!(tally.ended, 0, "a reload ends no connection: {name}");
        assert!(tally.answered > 100, "{name}: {}", tally.answered);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hand_overs_under_load_leave_no_query_unanswered() {
    let extent = Extent::wanted();
    let mut stage = Stage::start(extent.rate).await;
    let mut serving = Serving(None);
    for number in 1..=extent.hand_overs {
        stage.every_connection_begun(number);
        serving.0 = Some(stage.server.hand_over());
        stage.every_connection_ended(number);
    }
    stage.more(10);
    // The first has gone by itself, with everything that it had.
    assert!(
        stage
            .server
            .process
            .ended(Duration::from_secs(10))
            .await
            .success()
    );
    let answer = stage.server.admin.reload().await;
    let tallies = stage
        .stop(&format!("{} hand-overs", extent.hand_overs))
        .await;
    drop(serving);
    assert_eq!(answer.status, 200, "{}", answer.text());
    for (name, tally) in tallies {
        assert_eq!(tally.failures, [""; 0], "no reset, no truncation: {name}");
        assert_eq!(tally.unanswered, 0, "{name}");
        if name != "udp" {
            let each = (extent.hand_overs * STREAMS) as u64;
            assert_eq!(tally.ended, each, "once a hand-over: {name}");
        }
        assert!(tally.answered > 100, "{name}: {}", tally.answered);
    }
}
