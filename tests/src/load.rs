//! Many requests without a pause; every failure is counted and kept.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use tokio::task::JoinHandle;

use crate::answer::Answer;
use crate::eventually::{SOON, eventually};
use crate::wire::Wire;

/// What an answer must be; else why it is wrong.
pub type Judge = dyn Fn(&Answer) -> Result<(), String> + Send + Sync;

/// A load that runs until it is stopped.
#[derive(Debug)]
pub struct Load {
    stopping: Arc<AtomicBool>,
    good: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Tally>>,
}

/// What a load has met.
#[derive(Debug, Default)]
pub struct Tally {
    /// Answers as they should be.
    pub good: u64,
    /// Broken connections and wrong answers.
    pub failures: Vec<String>,
    /// Connections that the server closed after an answer, as it announced in that answer.
    pub closed: u64,
}

impl Load {
    /// Sends a GET again and again on so many connections, each kept alive.
    pub fn start(
        address: SocketAddr,
        connections: usize,
        path: &str,
        judge: impl Fn(&Answer) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        let stopping = Arc::new(AtomicBool::new(false));
        let good = Arc::new(AtomicU64::new(0));
        let judge: Arc<Judge> = Arc::new(judge);
        let request = format!("GET {path} HTTP/1.1\r\nhost: load.test\r\n\r\n");
        let client = |_| {
            let client = Client {
                address,
                request: request.clone(),
                judge: judge.clone(),
                stopping: stopping.clone(),
                good: good.clone(),
            };
            tokio::spawn(client.run())
        };
        let clients = (0..connections).map(client).collect();
        Self {
            stopping,
            good,
            clients,
        }
    }

    /// Waits until so many more answers were good.
    pub async fn more(&self, answers: u64) {
        let wanted = self.good.load(SeqCst) + answers;
        let what = format!("{answers} more good answers");
        eventually(&what, SOON, async || {
            (self.good.load(SeqCst) >= wanted).then_some(())
        })
        .await;
    }

    /// Stops it.
    ///
    /// # Panics
    /// When a judge panicked.
    pub async fn stop(self) -> Tally {
        self.stopping.store(true, SeqCst);
        let mut sum = Tally::default();
        for client in self.clients {
            let tally = client.await.expect("judges do not panic");
            sum.good += tally.good;
            sum.closed += tally.closed;
            sum.failures.extend(tally.failures);
        }
        sum
    }
}

impl Tally {
    /// Requires that nothing failed and no connection was closed.
    ///
    /// # Panics
    /// When something was.
    #[track_caller]
    pub fn assert_unbroken(&self) {
        self.assert_no_failure();
        assert_eq!(self.closed, 0, "connections that the server closed");
    }

    /// Requires that nothing failed.
    ///
    /// # Panics
    /// When something did.
    #[track_caller]
    pub fn assert_no_failure(&self) {
        let (failed, good) = (self.failures.len(), self.good);
        let first: Vec<_> = self.failures.iter().take(5).collect();
        assert_eq!(failed, 0, "of {} requests: {first:?}", good + failed as u64);
        assert!(good > 0, "the load sent nothing");
    }
}

struct Client {
    address: SocketAddr,
    request: String,
    judge: Arc<Judge>,
    stopping: Arc<AtomicBool>,
    good: Arc<AtomicU64>,
}

impl Client {
    async fn run(self) -> Tally {
        let mut tally = Tally::default();
        while !self.stopping.load(SeqCst) {
            if let Err(error) = self.connection(&mut tally).await {
                tally.failures.push(format!("connection: {error}"));
                tokio::task::yield_now().await;
            }
        }
        tally
    }

    /// Uses one connection as long as it lasts.
    async fn connection(&self, tally: &mut Tally) -> std::io::Result<()> {
        let mut wire = Wire::connect(self.address).await?;
        while !self.stopping.load(SeqCst) {
            let answer = wire.exchange(&self.request).await?;
            match (self.judge)(&answer) {
                Ok(()) => {
                    tally.good += 1;
                    self.good.fetch_add(1, SeqCst);
                }
                Err(why) => tally.failures.push(why),
            }
            if answer.header("connection").eq_ignore_ascii_case("close") {
                tally.closed += 1;
                return Ok(());
            }
        }
        Ok(())
    }
}
