//! Peers that hold streams and datagrams to the byte: what a balancer may not change, lose or end too early.
//!
//! A server's connections begin with a line that says what is asked for:
//!
//! | line | what it does |
//! |-|-|
//! | `who` | says its name and whom it sees, and closes |
//! | `echo` | sends back what comes, until the other side has ended its half, then ends its own |
//! | `both BYTES` | sends so many bytes of a known pattern, while it reads such a pattern to its end and compares; then says how many came |
//! | `slow BYTES` | as `both`, but it reads nothing until all is sent |
//! | `reset` | resets the connection |
//! | `hold` | keeps it, and tells how it ended ([`Server::endings`]) |
//!
//! A datagram is answered with its own bytes behind the server's name and whom it sees. All sockets block, and a
//! thread serves each connection; nothing waits for more than [`PATIENCE`].

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use crate::lab::Host;

/// How long a peer waits for bytes.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A server on a machine of a laboratory, over TCP and UDP. It ends with the process.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    endings: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// A server that says this name.
    ///
    /// # Panics
    /// When the address is in use.
    pub fn start(host: &Host, name: &str, address: SocketAddr) -> Self {
        let endings = Arc::new(Mutex::new(Vec::new()));
        let (tcp, udp) = host.on(move || (TcpListener::bind(address), UdpSocket::bind(address)));
        let tcp = tcp.expect("the laboratory's ports are free");
        let udp = udp.expect("the laboratory's ports are free");
        accept(tcp, name, &endings);
        let name = name.to_owned();
        thread::spawn(move || answer_datagrams(&udp, &name));
        Self { address, endings }
    }

    /// A server over TCP on this machine itself.
    ///
    /// # Panics
    /// When no port is free.
    pub fn local(name: &str) -> Self {
        let endings = Arc::new(Mutex::new(Vec::new()));
        let tcp = TcpListener::bind("127.0.0.1:0").expect("ports are free");
        let address = tcp.local_addr().expect("it is bound");
        accept(tcp, name, &endings);
        Self { address, endings }
    }

    /// How connections ended that were held: `end` or an error's kind.
    ///
    /// # Panics
    /// When a thread that served one panicked.
    pub fn endings(&self) -> Vec<String> {
        self.endings.lock().expect("no server panics").clone()
    }
}

/// A client's connection from a machine of a laboratory.
#[derive(Debug)]
pub struct Client(TcpStream);

impl Client {
    /// A connection.
    ///
    /// # Errors
    /// When it is refused, reset or not answered within a few seconds.
    pub fn connect(host: &Host, to: SocketAddr) -> io::Result<Self> {
        let stream = host.on(move || TcpStream::connect_timeout(&to, Duration::from_secs(5)))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    /// A connection from this machine itself.
    ///
    /// # Errors
    /// When it is refused.
    pub fn local(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        &self.0
    }

    /// Whose connection it is: the server's name, and whom that sees.
    ///
    /// # Errors
    /// When it breaks.
    pub fn who(mut self) -> io::Result<(String, SocketAddr)> {
        self.0.write_all(b"who\n")?;
        let mut answer = String::new();
        self.0.read_to_string(&mut answer)?;
        let (name, seen) = answer.split_once(' ').ok_or(ErrorKind::UnexpectedEof)?;
        let seen = seen.trim().parse().map_err(io::Error::other)?;
        Ok((name.to_owned(), seen))
    }

    /// Sends and receives so many bytes at once, and ends its half as soon as all are sent.
    ///
    /// # Errors
    /// When it breaks, or a byte is not what it must be.
    pub fn both(self, bytes: u64) -> io::Result<()> {
        self.exchange("both", bytes)
    }

    /// As [`Self::both`] with a server that first sends all it has to send.
    ///
    /// # Errors
    /// When it breaks, or a byte is not what it must be.
    pub fn with_slow_reader(self, bytes: u64) -> io::Result<()> {
        self.exchange("slow", bytes)
    }

    fn exchange(mut self, word: &str, bytes: u64) -> io::Result<()> {
        writeln!(self.0, "{word} {bytes}")?;
        let mut writing = self.0.try_clone()?;
        let sent = thread::spawn(move || {
            send_pattern(&mut writing, bytes)?;
            writing.shutdown(Shutdown::Write)
        });
        expect_pattern(&mut self.0, Some(bytes))?;
        sent.join().expect("sending does not panic")?;
        let mut rest = String::new();
        self.0.read_to_string(&mut rest)?;
        let want = format!("{bytes}\n");
        let right = rest == want;
        right
            .then_some(())
            .ok_or_else(|| io::Error::other(format!("the server got {rest:?} bytes")))
    }
}

/// Sends a datagram from a socket, and waits for the answer: the server's name, whom it sees, and the bytes.
///
/// # Errors
/// When there is none within a second.
pub fn ask(
    socket: &UdpSocket,
    to: SocketAddr,
    bytes: &[u8],
) -> io::Result<(String, SocketAddr, Vec<u8>)> {
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    socket.send_to(bytes, to)?;
    let mut buffer = [0; 65_536];
    let (length, from) = socket.recv_from(&mut buffer)?;
    if from != to {
        return Err(io::Error::other(format!("{from} answered, not {to}")));
    }
    let mut parts = buffer[..length].splitn(3, |byte| *byte == b' ');
    let mut part = || parts.next().ok_or(ErrorKind::UnexpectedEof);
    let name = String::from_utf8_lossy(part()?).into_owned();
    let seen = String::from_utf8_lossy(part()?).parse();
    Ok((name, seen.map_err(io::Error::other)?, part()?.to_vec()))
}

fn accept(tcp: TcpListener, name: &str, endings: &Arc<Mutex<Vec<String>>>) {
    let (name, endings) = (name.to_owned(), endings.clone());
    thread::spawn(move || {
        for stream in tcp.incoming().flatten() {
            let (name, endings) = (name.clone(), endings.clone());
            thread::spawn(move || serve(stream, &name, &endings));
        }
    });
}

fn answer_datagrams(socket: &UdpSocket, name: &str) {
    let mut buffer = [0; 65_536];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                let mut answer = format!("{name} {from} ").into_bytes();
                answer.extend_from_slice(&buffer[..length]);
                let _ = socket.send_to(&answer, from);
            }
            // What ICMP says of an earlier answer.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(_) => return,
        }
    }
}

fn serve(stream: TcpStream, name: &str, endings: &Mutex<Vec<String>>) {
    let outcome = converse(stream, name);
    let ending = match outcome {
        Ok(false) => return,
        Ok(true) => "end".to_owned(),
        Err(error) => format!("{:?}", error.kind()),
    };
    endings.lock().expect("no server panics").push(ending);
}

/// One connection; whether it was held.
fn converse(stream: TcpStream, name: &str) -> io::Result<bool> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut writing = stream.try_clone()?;
    let peer = stream.peer_addr()?;
    let mut reading = BufReader::with_capacity(CHUNK, stream);
    let mut line = String::new();
    reading.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let word = words.next().unwrap_or_default().to_owned();
    let bytes = words.next().and_then(|bytes| bytes.parse().ok());
    match (&*word, bytes) {
        ("who", _) => writeln!(writing, "{name} {peer}")?,
        ("echo", _) => drop(io::copy(&mut reading, &mut writing)?),
        ("both", Some(bytes)) => {
            let mut sending = writing.try_clone()?;
            let sent = thread::spawn(move || send_pattern(&mut sending, bytes));
            let came = expect_pattern(&mut reading, None)?;
            sent.join().expect("sending does not panic")?;
            writeln!(writing, "{came}")?;
        }
        ("slow", Some(bytes)) => {
            send_pattern(&mut writing, bytes)?;
            let came = expect_pattern(&mut reading, None)?;
            writeln!(writing, "{came}")?;
        }
        ("reset", _) => {
            rustix::net::sockopt::set_socket_linger(&writing, Some(Duration::ZERO))?;
        }
        ("hold", _) => {
            writeln!(writing, "{name}")?;
            reading.get_ref().set_read_timeout(None)?;
            io::copy(&mut reading, &mut io::sink())?;
            return Ok(true);
        }
        _ => return Err(io::Error::other(format!("no such thing: {line:?}"))),
    }
    Ok(false)
}

/// Noise of a length that is prime: no shift of a stream looks like the stream.
fn pattern() -> &'static [u8] {
    static PATTERN: OnceLock<Vec<u8>> = OnceLock::new();
    PATTERN.get_or_init(|| {
        let mut state = 0x2545_F491_4F6C_DD1D_u64;
        let noise = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        });
        noise.take(1_048_573).collect()
    })
}

fn send_pattern(to: &mut impl Write, bytes: u64) -> io::Result<()> {
    let mut source = io::Read::take(Endless(0), bytes);
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = source.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..length])?;
    }
}

/// Reads so many bytes, or all there are, and compares them with the pattern; how many there were.
fn expect_pattern(from: &mut impl Read, bytes: Option<u64>) -> io::Result<u64> {
    let (mut came, mut want) = (vec![0; CHUNK], vec![0; CHUNK]);
    let (mut source, mut total) = (Endless(0), 0);
    loop {
        let most = bytes.map_or(CHUNK as u64, |bytes| (bytes - total).min(CHUNK as u64));
        let length = from.read(&mut came[..most as usize])?;
        if length == 0 {
            let early = bytes.is_some_and(|bytes| total < bytes);
            return if early {
                Err(ErrorKind::UnexpectedEof.into())
            } else {
                Ok(total)
            };
        }
        source.read_exact(&mut want[..length])?;
        if came[..length] != want[..length] {
            return Err(io::Error::other(format!("other bytes after {total}")));
        }
        total += length as u64;
    }
}

/// The pattern again and again.
struct Endless(usize);

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = &pattern()[self.0..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.0 = (self.0 + length) % pattern().len();
        Ok(length)
    }
}

const CHUNK: usize = 64 * 1024;
