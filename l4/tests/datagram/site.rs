//! A listener with its threads, and endpoints that answer.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chassis::net::{
    BoundDatagram, Inherited, InheritedSocket, ListenOptions, Source, bind_datagram,
};
use tidegate_l4::balance::{Cluster, Endpoint, Scheduler};
use tidegate_l4::datagram::{
    Bequest, Counter, Counts, Denial, End, Ended, Plan, Shared, Stage, Steer, start,
};
use tidegate_l4::sniff::ServerName;

/// Long enough for anything that is to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A listener that leads to clusters.
pub(crate) struct Site {
    pub(crate) bound: BoundDatagram,
    pub(crate) shared: Arc<Shared>,
    pub(crate) ended: Arc<Mutex<Vec<End>>>,
    pub(crate) threads: Vec<JoinHandle<()>>,
}

/// What a listener is to do.
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) clusters: HashMap<Option<&'static str>, Arc<Cluster>>,
    pub(crate) quic: bool,
    pub(crate) most: usize,
    pub(crate) idle: Duration,
    pub(crate) unanswered: Duration,
    pub(crate) opening: Duration,
    pub(crate) drain: Duration,
}

struct Leads {
    wanted: Wanted,
    open: Arc<AtomicUsize>,
    ended: Arc<Mutex<Vec<End>>>,
}

struct Permit(Arc<AtomicUsize>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Steer for Leads {
    fn admit(&self, _: IpAddr, _: bool, _: Instant) -> Result<Box<dyn Send>, Denial> {
        let open = self.open.fetch_add(1, Relaxed);
        let permit = Permit(self.open.clone());
        match open < self.wanted.most {
            true => Ok(Box::new(permit)),
            false => Err(Denial::Full),
        }
    }

    fn cluster(&self, name: Option<&ServerName>) -> Option<Arc<Cluster>> {
        let clusters = &self.wanted.clusters;
        let named = clusters.get(&name.map(ServerName::as_str));
        named.or_else(|| clusters.get(&None)).cloned()
    }

    fn ended(&self, ended: &Ended<'_>) {
        self.ended
            .lock()
            .expect("nobody panics with it")
            .push(ended.end);
    }
}

impl Wanted {
    /// A listener for one cluster.
    pub(crate) fn new(cluster: Arc<Cluster>) -> Self {
        Self {
            clusters: HashMap::from([(None, cluster)]),
            quic: false,
            most: usize::MAX,
            idle: PATIENCE,
            unanswered: PATIENCE,
            opening: PATIENCE,
            drain: PATIENCE,
        }
    }

    pub(crate) fn start(self, address: &str) -> Site {
        let bound = bind_datagram(
            "test",
            address
                .parse()
                .expect("loopback has sockets, and threads can begin"),
            &ListenOptions::default(),
            2,
            false,
            &mut Inherited::default(),
        );
        self.serve(
            bound.expect("loopback has sockets, and threads can begin"),
            Vec::new(),
        )
    }

    /// Takes the place of another: its sockets, and what it tells of its sessions.
    pub(crate) fn succeed(self, old: &Site) -> Site {
        let passed = old.bound.descriptors().map(|socket| {
            let socket = socket
                .try_clone_to_owned()
                .expect("loopback has sockets, and threads can begin");
            InheritedSocket::new("test", None, socket, Source::Predecessor, false)
                .expect("loopback has sockets, and threads can begin")
        });
        let mut inherited: Inherited = passed.collect();
        let address = old
            .bound
            .address()
            .tcp()
            .expect("loopback has sockets, and threads can begin");
        let options = ListenOptions::default();
        let bound = bind_datagram("test", address, &options, 2, false, &mut inherited)
            .expect("loopback has sockets, and threads can begin");
        old.shared.close(Stage::Replaced);
        let mut sessions = None;
        let begun = Instant::now();
        while sessions.is_none() && begun.elapsed() < PATIENCE {
            sessions = old.shared.bequeath();
        }
        self.serve(bound, sessions.expect("every thread says what it has"))
    }

    fn serve(self, bound: BoundDatagram, sessions: Vec<Bequest>) -> Site {
        let ended = Arc::default();
        let steer = Leads {
            wanted: self.clone(),
            open: Arc::default(),
            ended: Arc::clone(&ended),
        };
        let plan = Plan {
            steer: Box::new(steer),
            quic: self.quic,
            transparent: false,
            idle: self.idle,
            unanswered: self.unanswered,
            opening: self.opening,
            drain: self.drain,
        };
        let shared = Arc::new(
            Shared::new(plan, Arc::new(Counts::default()))
                .expect("loopback has sockets, and threads can begin"),
        );
        shared.inherit(sessions);
        let sockets = bound
            .for_workers(2)
            .expect("loopback has sockets, and threads can begin")
            .into_iter()
            .enumerate();
        let threads = sockets
            .map(|(number, socket)| {
                start(number, socket, shared.clone())
                    .expect("loopback has sockets, and threads can begin")
            })
            .collect();
        Site {
            bound,
            shared,
            ended,
            threads,
        }
    }
}

impl Site {
    pub(crate) fn address(&self) -> SocketAddr {
        let bound = self
            .bound
            .address()
            .tcp()
            .expect("loopback has sockets, and threads can begin");
        match bound.ip().is_unspecified() {
            true => SocketAddr::new([127, 0, 0, 1].into(), bound.port()),
            false => bound,
        }
    }

    /// A client that speaks to it alone.
    pub(crate) fn client(&self) -> Client {
        let socket =
            UdpSocket::bind("127.0.0.1:0").expect("loopback has sockets, and threads can begin");
        socket
            .connect(self.address())
            .expect("loopback has sockets, and threads can begin");
        Client(socket)
    }

    pub(crate) fn sum(&self, counter: Counter) -> u64 {
        self.shared.counts.sum(counter)
    }

    /// Whether all threads have ended soon.
    pub(crate) fn has_ended(&self) -> bool {
        eventually(|| self.threads.iter().all(JoinHandle::is_finished))
    }
}

/// A client of a listener.
pub(crate) struct Client(pub(crate) UdpSocket);

impl Client {
    /// What is answered within a time.
    pub(crate) fn receive(&self, within: Duration) -> Option<String> {
        let mut buffer = [0; 2000];
        self.0
            .set_read_timeout(Some(within))
            .expect("loopback has sockets, and threads can begin");
        let length = self.0.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    /// Asks until there is an answer, as clients do.
    pub(crate) fn ask(&self, question: &str) -> String {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            // A refusal of the question before may be told now.
            let _ = self.0.send(question.as_bytes());
            if let Some(answer) = self.receive(Duration::from_millis(300)) {
                return answer;
            }
        }
        panic!("no answer");
    }
}

/// An endpoint that answers `NAME PORT DATAGRAM`, with the port that it was asked from.
pub(crate) struct Answering {
    pub(crate) address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Answering {
    pub(crate) fn start(name: &'static str) -> Self {
        let socket =
            UdpSocket::bind("127.0.0.1:0").expect("loopback has sockets, and threads can begin");
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .expect("loopback has sockets, and threads can begin");
        let address = socket
            .local_addr()
            .expect("loopback has sockets, and threads can begin");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 70_000];
            while !stopped.load(Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                let question = String::from_utf8_lossy(&buffer[..length]);
                let answer = format!("{name} {} {question}", from.port());
                let _ = socket.send_to(answer.as_bytes(), from);
            }
        });
        Self {
            address,
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A cluster of endpoints that are well.
pub(crate) fn cluster(scheduler: Scheduler, addresses: &[SocketAddr]) -> Arc<Cluster> {
    let now = Instant::now();
    let endpoints = addresses.iter().map(|address| {
        let endpoint = Endpoint::new(*address, 1);
        endpoint.set_well(true, now);
        Arc::new(endpoint)
    });
    let endpoints = endpoints.collect();
    Arc::new(Cluster::new(scheduler, Duration::ZERO, endpoints, now))
}

/// Waits until something is so.
pub(crate) fn eventually(is_so: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if is_so() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}
