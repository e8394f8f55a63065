//! Asks a primary for its version, and fetches it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use domain::base::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;

use super::receive::{Got, Receiver, Wrong};
use super::request::{Request, now};
use super::rules::{IncomingLimits, Peer};
use super::tsig::{Why, question};
use super::version::Version;
use crate::wire::rtype::{AXFR, SOA};
use crate::zone::Name;

/// Why nothing came from a primary.
#[derive(Debug, thiserror::Error)]
pub(super) enum PullError {
    /// It cannot be reached, or is gone.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is too slow.
    #[error("no answer in time")]
    Slow,
    /// It takes longer than `transfers.within`.
    #[error("the transfer is not complete within the time that `transfers.within` allows")]
    TooLong,
    /// What came is of no use.
    #[error(transparent)]
    Wrong(#[from] Wrong),
    /// It has sent a version that is not later than ours, whatever it has said before.
    #[error("it sends serial {theirs}, which is not later than {ours}: the copy stays")]
    NotLater {
        /// What came.
        theirs: u32,
        /// What is there.
        ours: u32,
    },
    /// It is not an authority for the zone.
    #[error("it is no authority for the zone")]
    NoAuthority,
}

impl From<Why> for PullError {
    fn from(why: Why) -> Self {
        Self::Wrong(why.into())
    }
}

impl PullError {
    /// What an answer that is not signed says is more to the point, though nobody vouches for it.
    fn or_code_of(self, answer: &[u8]) -> Self {
        let code = Message::from_slice(answer).map(|message| message.header().rcode());
        match (&self, code) {
            (Self::Wrong(Wrong::Signature(Why::Unsigned)), Ok(code))
                if code != domain::base::iana::Rcode::NOERROR =>
            {
                Self::Wrong(Wrong::Code(code))
            }
            _ => self,
        }
    }

    /// Whether the whole zone may come where changes did not: not every server has them, and not all fit.
    pub(super) fn is_about_changes(&self) -> bool {
        match self {
            Self::Wrong(wrong) => {
                matches!(wrong, Wrong::Code(_) | Wrong::Broken(_) | Wrong::Misfit(_))
            }
            Self::Io(error) => error.kind() == io::ErrorKind::UnexpectedEof,
            Self::Slow | Self::TooLong | Self::NotLater { .. } | Self::NoAuthority => false,
        }
    }
}

/// How long to wait for an answer over UDP, each time.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often to ask over UDP before TCP is tried.
const TRIES: u32 = 2;

/// The serial of the version that a primary has.
///
/// # Errors
/// When it does not say.
pub(super) async fn serial(
    apex: &Name,
    peer: &Peer,
    limits: &IncomingLimits,
) -> Result<u32, PullError> {
    for _ in 0..TRIES {
        let mut request = Request::question(apex, SOA, peer.key.as_ref());
        match timeout(PATIENCE, over_udp(&mut request, peer)).await {
            Ok(Ok(Some(serial))) => return Ok(serial),
            // It was cut.
            Ok(Ok(None)) => break,
            // Over TCP it may be reached.
            Ok(Err(PullError::Io(_))) => break,
            Ok(Err(error)) => return Err(error),
            Err(_) => {}
        }
    }
    let mut request = Request::question(apex, SOA, peer.key.as_ref());
    let mut stream = connect(peer, limits).await?;
    send(&mut stream, &request.message, limits).await?;
    let answer = message(&mut stream, limits).await?;
    let serial = read_serial(&mut request, answer.clone());
    let serial = serial.map_err(|error| error.or_code_of(&answer));
    serial?.ok_or(PullError::NoAuthority)
}

/// Fetches what has changed since a version, or all of it.
///
/// # Errors
/// Why not; then nothing of it is to be used.
pub(super) async fn fetch(
    apex: &Name,
    peer: &Peer,
    base: Option<Arc<Version>>,
    limits: &IncomingLimits,
) -> Result<Got, PullError> {
    let request = match &base {
        Some(base) => Request::changes(&base.soa, peer.key.as_ref()),
        None => Request::question(apex, AXFR, peer.key.as_ref()),
    };
    let fetching = fetching(apex.clone(), peer, request, base, limits);
    let outcome = timeout(limits.within, fetching).await;
    outcome.map_err(|_| PullError::TooLong)?
}

async fn fetching(
    apex: Name,
    peer: &Peer,
    request: Request,
    base: Option<Arc<Version>>,
    limits: &IncomingLimits,
) -> Result<Got, PullError> {
    let mut stream = connect(peer, limits).await?;
    send(&mut stream, &request.message, limits).await?;
    let Request {
        id,
        question,
        mut chain,
        ..
    } = request;
    let mut receiver = Receiver::new(apex, id, &question, base, limits.size);
    loop {
        let mut message = message(&mut stream, limits).await?;
        if let Some(chain) = &mut chain {
            let verified = chain.verify(&mut message, now());
            verified.map_err(|why| PullError::from(why).or_code_of(&message))?;
        }
        if let Some(got) = receiver.take(&message)? {
            if let Some(chain) = &chain {
                chain.end()?;
            }
            return Ok(got);
        }
    }
}

async fn over_udp(request: &mut Request, peer: &Peer) -> Result<Option<u32>, PullError> {
    let socket = socket_to(peer).await?;
    socket.send(&request.message).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Somebody else may answer too: then the right answer is yet to come.
        match read_serial(request, buffer[..length].to_vec()) {
            Err(PullError::Wrong(
                Wrong::Broken(_) | Wrong::Signature(Why::Unsigned | Why::Malformed),
            )) => {}
            outcome => return outcome,
        }
    }
}

/// A socket that sends to one address, and hears from no other.
pub(super) async fn socket_to(peer: &Peer) -> io::Result<UdpSocket> {
    let any: IpAddr = match peer.address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((peer.from.unwrap_or(any), 0)).await?;
    socket.connect(peer.address).await?;
    Ok(socket)
}

async fn connect(peer: &Peer, limits: &IncomingLimits) -> Result<TcpStream, PullError> {
    let socket = match peer.address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(from) = peer.from {
        socket.bind((from, 0).into())?;
    }
    let connected = timeout(limits.progress, socket.connect(peer.address)).await;
    let stream = connected.map_err(|_| PullError::Slow)??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn send(
    stream: &mut TcpStream,
    message: &[u8],
    limits: &IncomingLimits,
) -> Result<(), PullError> {
    let mut framed = (message.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    let sent = timeout(limits.progress, stream.write_all(&framed)).await;
    Ok(sent.map_err(|_| PullError::Slow)??)
}

/// The next message; it must be there as a whole within the time for one.
async fn message(stream: &mut TcpStream, limits: &IncomingLimits) -> Result<Vec<u8>, PullError> {
    let reading = async {
        let mut message = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut message).await?;
        io::Result::Ok(message)
    };
    let read = timeout(limits.progress, reading).await;
    Ok(read.map_err(|_| PullError::Slow)??)
}

/// The serial in an answer; none when it was cut.
fn read_serial(request: &mut Request, mut answer: Vec<u8>) -> Result<Option<u32>, PullError> {
    judge(request, &answer)?;
    if let Some(chain) = &mut request.chain {
        chain.verify(&mut answer, now())?;
    }
    let message = Message::from_slice(&answer).map_err(|_| Wrong::Broken("no header"))?;
    let header = message.header();
    if header.rcode() != domain::base::iana::Rcode::NOERROR {
        return Err(Wrong::Code(header.rcode()).into());
    }
    if header.tc() {
        return Ok(None);
    }
    let broken = |_| Wrong::Broken("the answer cannot be read");
    let first = message.answer().map_err(broken)?.next();
    let first = first.ok_or(PullError::NoAuthority)?.map_err(broken)?;
    let soa = first.to_record::<domain::rdata::Soa<_>>();
    let soa = soa.map_err(broken)?.ok_or(PullError::NoAuthority)?;
    match header.aa() {
        true => Ok(Some(soa.data().serial().into_int())),
        false => Err(PullError::NoAuthority),
    }
}

/// Whether it is an answer to this request at all.
pub(super) fn judge(request: &Request, answer: &[u8]) -> Result<(), Wrong> {
    let message = Message::from_slice(answer).map_err(|_| Wrong::Broken("no header"))?;
    let header = message.header();
    let same_question =
        question(answer).is_some_and(|found| found.eq_ignore_ascii_case(&request.question));
    // An error may come without the question.
    let no_question = message.header_counts().qdcount() == 0
        && header.rcode() != domain::base::iana::Rcode::NOERROR;
    let opcode = request.message[2] >> 3 & 0x0F;
    match header.id() == request.id
        && header.qr()
        && header.opcode().to_int() == opcode
        && (same_question || no_question)
    {
        true => Ok(()),
        false => Err(Wrong::Broken("not an answer to what was asked")),
    }
}
