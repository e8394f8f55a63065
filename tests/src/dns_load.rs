//! Queries without a pause, over UDP, TCP and TLS; each is matched with its answer.
//!
//! A client has a fixed number of queries under way, so that neither its buffers nor those of the server overflow: what stays
//! unanswered over UDP was lost by the server. Over a stream, what was sent before an orderly end and not answered is sent
//! again on another connection (RFC 7766, 6.2.4), and counted; an end that is not orderly is a failure.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::question::query;

/// A load that runs until it is stopped.
#[derive(Debug)]
pub struct DnsLoad {
    stopping: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    begun: Arc<AtomicU64>,
    ended: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Tally>>,
}

/// What a load has met.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Queries with a right answer.
    pub answered: u64,
    /// Datagrams without an answer.
    pub unanswered: u64,
    /// Connections that the server has ended in order.
    pub ended: u64,
    /// Queries that were sent again, because their connection ended before they were answered.
    pub again: u64,
    /// Everything else: wrong answers, and connections that broke.
    pub failures: Vec<String>,
}

/// What clients send.
#[derive(Clone, Debug)]
pub struct Questions {
    /// A name with an A record.
    pub name: String,
    /// Queries a second of each client; as fast as they are answered when it is not set.
    pub rate: Option<u32>,
}

/// Queries that a client has under way.
const WINDOW: usize = 64;
/// A datagram without an answer for so long is lost.
const PATIENCE: Duration = Duration::from_secs(3);

struct Client {
    server: SocketAddr,
    questions: Questions,
    stopping: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    begun: Arc<AtomicU64>,
    ended: Arc<AtomicU64>,
    tally: Tally,
    began: Instant,
    sent: u64,
}

impl DnsLoad {
    /// Asks over UDP with so many sockets.
    pub fn udp(server: SocketAddr, clients: usize, questions: &Questions) -> Self {
        Self::start(server, clients, questions, Client::datagrams)
    }

    /// Asks over TCP with so many connections.
    pub fn tcp(server: SocketAddr, clients: usize, questions: &Questions) -> Self {
        let connect = move || {
            let stream = TcpStream::connect(server)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        Self::start(server, clients, questions, move |client| {
            client.streams(connect);
        })
    }

    /// Asks over TLS with so many connections; the server is `dns.test`.
    pub fn tls(
        server: SocketAddr,
        clients: usize,
        questions: &Questions,
        config: ClientConfig,
    ) -> Self {
        let config = Arc::new(config);
        let connect = move || {
            let stream = TcpStream::connect(server)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from("dns.test").map_err(std::io::Error::other)?;
            let connection = ClientConnection::new(config.clone(), name);
            let connection = connection.map_err(std::io::Error::other)?;
            Ok(StreamOwned::new(connection, stream))
        };
        Self::start(server, clients, questions, move |client| {
            client.streams(&connect);
        })
    }

    fn start(
        server: SocketAddr,
        clients: usize,
        questions: &Questions,
        work: impl Fn(&mut Client) + Clone + Send + 'static,
    ) -> Self {
        let stopping = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let begun = Arc::new(AtomicU64::new(0));
        let ended = Arc::new(AtomicU64::new(0));
        let client = |_| {
            let mut client = Client {
                server,
                questions: questions.clone(),
                stopping: stopping.clone(),
                answered: answered.clone(),
                begun: begun.clone(),
                ended: ended.clone(),
                tally: Tally::default(),
                began: Instant::now(),
                sent: 0,
            };
            let work = work.clone();
            std::thread::spawn(move || {
                work(&mut client);
                client.tally
            })
        };
        let clients = (0..clients).map(client).collect();
        Self {
            stopping,
            answered,
            begun,
            ended,
            clients,
        }
    }

    /// How many answers there were so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }

    /// How many connections have had a first answer so far.
    pub fn begun(&self) -> u64 {
        self.begun.load(Relaxed)
    }

    /// How many connections the server has ended so far.
    pub fn ended(&self) -> u64 {
        self.ended.load(Relaxed)
    }

    /// Stops it, once what is under way is answered.
    ///
    /// # Panics
    /// When a client has panicked.
    pub fn stop(self) -> Tally {
        self.stopping.store(true, Relaxed);
        let mut sum = Tally::default();
        for client in self.clients {
            let tally = client.join().expect("clients do not panic");
            sum.answered += tally.answered;
            sum.unanswered += tally.unanswered;
            sum.ended += tally.ended;
            sum.again += tally.again;
            sum.failures.extend(tally.failures);
        }
        sum
    }
}

/// Datagrams that the kernel has dropped because no room was left, at all sockets with this port.
///
/// # Panics
/// When the kernel does not tell.
pub fn dropped(port: u16) -> u64 {
    let table = std::fs::read_to_string("/proc/net/udp").expect("Linux tells");
    let port = format!(":{port:04X}");
    let lines = table.lines().skip(1).map(|line| {
        let mut words = line.split_whitespace();
        let local = words.nth(1).unwrap_or_default();
        let drops = words.last().and_then(|drops| drops.parse().ok());
        (local.ends_with(&port), drops.unwrap_or(0))
    });
    lines
        .filter(|(ours, _)| *ours)
        .map(|(_, drops)| drops)
        .sum()
}

impl Client {
    /// How many queries may be sent now, with so many under way.
    fn due(&self, under_way: usize) -> usize {
        if self.stopping.load(Relaxed) {
            return 0;
        }
        let room = WINDOW.saturating_sub(under_way);
        match self.questions.rate {
            None => room,
            Some(rate) => {
                let earned = self.began.elapsed().as_secs_f64() * f64::from(rate);
                room.min((earned as u64).saturating_sub(self.sent) as usize)
            }
        }
    }

    /// Said at once: a test that waits in vain shows no tally.
    fn fail(&mut self, what: String) {
        eprintln!("{:?} after the start: {what}", self.began.elapsed());
        self.tally.failures.push(what);
    }

    fn query(&mut self, id: u16) -> Vec<u8> {
        self.sent += 1;
        query(id, &self.questions.name, "A")
    }

    /// Whether a packet is the answer to this query.
    fn judge(&mut self, packet: &[u8], id: u16) -> bool {
        // A response, authoritative, NOERROR, one question and one answer.
        let right = packet.len() > 40
            && packet[..2] == id.to_be_bytes()
            && packet[2] & 0x84 == 0x84
            && packet[3] & 0x0F == 0
            && packet[4..8] == [0, 1, 0, 1];
        if right {
            self.tally.answered += 1;
            self.answered.fetch_add(1, Relaxed);
        } else {
            let head = &packet[..packet.len().min(16)];
            self.fail(format!("not the answer to {id}: {head:?}"));
        }
        right
    }

    fn datagrams(&mut self) {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a port is free");
        socket.connect(self.server).expect("loopback is there");
        let tick = Some(Duration::from_millis(1));
        socket.set_read_timeout(tick).expect("it is a time");
        let mut under_way: VecDeque<(u16, Instant)> = VecDeque::new();
        let mut next = 0_u16;
        let mut buffer = [0; 4096];
        loop {
            for _ in 0..self.due(under_way.len()) {
                let packet = self.query(next);
                under_way.push_back((next, Instant::now()));
                next = next.wrapping_add(1);
                if let Err(error) = socket.send(&packet) {
                    self.fail(format!("sending: {error}"));
                }
            }
            match socket.recv(&mut buffer) {
                Ok(length) => {
                    let id = u16::from_be_bytes([buffer[0], buffer[1]]);
                    // Several sockets answer: their order is not that of the queries.
                    match under_way.iter().position(|(sent, _)| *sent == id) {
                        Some(at) if self.judge(&buffer[..length], id) => {
                            under_way.remove(at);
                        }
                        Some(_) => {}
                        None => self.fail(format!("{id} is answered twice")),
                    }
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    while under_way
                        .front()
                        .is_some_and(|(_, sent)| sent.elapsed() > PATIENCE)
                    {
                        under_way.pop_front();
                        self.tally.unanswered += 1;
                    }
                    if under_way.is_empty() && self.stopping.load(Relaxed) {
                        return;
                    }
                }
                Err(error) => self.fail(format!("receiving: {error}")),
            }
        }
    }

    fn streams<S: Read + Write>(&mut self, connect: impl Fn() -> std::io::Result<S>) {
        let mut owed = 0;
        while owed > 0 || !self.stopping.load(Relaxed) {
            let mut stream = match connect() {
                Ok(stream) => stream,
                Err(error) => {
                    self.fail(format!("connecting: {error}"));
                    std::thread::sleep(Duration::from_millis(10));
                    continue;
                }
            };
            let mut under_way = VecDeque::new();
            match self.converse(&mut stream, owed, &mut under_way) {
                Ok(false) => return,
                Ok(true) => {
                    self.tally.ended += 1;
                    self.ended.fetch_add(1, Relaxed);
                }
                Err(error) => self
                    .tally
                    .failures
                    .push(format!("a connection broke: {error}")),
            }
            owed = under_way.len();
            self.tally.again += owed as u64;
        }
    }

    /// Asks over one connection; first so many queries as are owed. Whether the server has ended it.
    fn converse(
        &mut self,
        stream: &mut (impl Read + Write),
        mut owed: usize,
        under_way: &mut VecDeque<u16>,
    ) -> std::io::Result<bool> {
        let mut next = 0_u16;
        let mut is_first = true;
        let mut received = Vec::new();
        let mut buffer = [0; 16 * 1024];
        loop {
            let mut packets = Vec::new();
            let due = self.due(under_way.len() + owed);
            for _ in 0..owed + due {
                let packet = self.query(next);
                packets.extend((packet.len() as u16).to_be_bytes());
                packets.extend(packet);
                under_way.push_back(next);
                next = next.wrapping_add(1);
            }
            owed = 0;
            if !packets.is_empty() {
                // The server may have ended the connection meanwhile; what it has said last is to be read all the same.
                let _ = stream.write_all(&packets).and_then(|()| stream.flush());
            }
            if under_way.is_empty() {
                if self.stopping.load(Relaxed) {
                    return Ok(false);
                }
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            match stream.read(&mut buffer)? {
                0 => return Ok(true),
                count => received.extend_from_slice(&buffer[..count]),
            }
            let mut at = 0;
            while let Some(packet) = message(&received[at..]) {
                at += 2 + packet.len();
                let Some(id) = under_way.pop_front() else {
                    return Err(std::io::Error::other("an answer that nobody has asked for"));
                };
                self.judge(packet, id);
                if std::mem::take(&mut is_first) {
                    self.begun.fetch_add(1, Relaxed);
                }
            }
            received.drain(..at);
        }
    }
}

/// The first whole message.
fn message(received: &[u8]) -> Option<&[u8]> {
    let [high, low, rest @ ..] = received else {
        return None;
    };
    rest.get(..usize::from(u16::from_be_bytes([*high, *low])))
}
