//! Holds one conversation of a case with the gateway.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::timeout;

use super::case::{Case, End, Step};
use super::message::{Framing, Head, Wire, Wrong, shown};

/// How the bytes of a case are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Each turn in one write.
    AtOnce,
    /// Each byte in a write of its own.
    Dripped,
    /// The first turn in two writes, the second from this byte on.
    Split(usize),
    /// With much more behind, which nobody will read.
    WithMoreBehind,
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: Head,
    pub(super) body: Vec<u8>,
    /// The end of the connection is the end of the body.
    ends: bool,
}

/// What came of a conversation.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) answers: Vec<Answer>,
    /// What is wrong with the connection itself, the first thing of all.
    pub(super) wrong: Option<Wrong>,
}

/// How long the gateway may take for what takes it a millisecond.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two writes, so that they are two reads.
const GAP: Duration = Duration::from_millis(1);

/// What is sent behind a request that is refused; more than socket buffers of the gateway hold unread.
const BEHIND: usize = 1 << 20;

/// Plays a case.
pub(super) async fn play(address: SocketAddr, case: &Case, manner: Manner) -> Outcome {
    let mut outcome = Outcome::default();
    let wrong = match Wire::connect(address).await {
        Ok(mut wire) => {
            wire.drop_hard();
            converse(&mut wire, case, manner, &mut outcome).await.err()
        }
        Err(error) => Some(format!("cannot connect: {error}")),
    };
    outcome.wrong = wrong;
    outcome
}

async fn converse(
    wire: &mut Wire,
    case: &Case,
    manner: Manner,
    outcome: &mut Outcome,
) -> Result<(), Wrong> {
    let mut ended = false;
    for (number, step) in case.steps.iter().enumerate() {
        match step {
            Step::Send(bytes) => {
                let sent = send(wire, bytes, manner, number == 0);
                let sent = in_time("not all is taken", sent).await;
                // The connection may end before all was sent.
                if !case.is_refused() && case.end != End::Closed {
                    sent?;
                }
            }
            Step::Finish => wire.finish().await.map_err(|error| error.to_string())?,
            Step::Answer(reply) => {
                let answer = in_time("no answer", answer(wire, reply.to_head)).await?;
                ended = answer.ends;
                outcome.answers.push(answer);
            }
        }
    }
    match &case.end {
        End::Any => Ok(()),
        End::Open => {
            let probed = in_time("no answer", probe(wire)).await;
            probed.map_err(|wrong| format!("one more request: {wrong}"))
        }
        End::Gone => in_time("not closed", wire.rest()).await.map(drop),
        End::Closed if ended => Ok(()),
        End::Closed => rest_is(wire, b"").await,
        End::Tunnel(bytes) => rest_is(wire, bytes).await,
    }
}

async fn send(wire: &mut Wire, bytes: &[u8], manner: Manner, first: bool) -> Result<(), Wrong> {
    let sent = match manner {
        Manner::Split(at) if first => pieces(wire, &[&bytes[..at], &bytes[at..]]).await,
        Manner::Dripped => pieces(wire, &bytes.chunks(1).collect::<Vec<_>>()).await,
        Manner::WithMoreBehind => wire.send(&[bytes, &vec![b'x'; BEHIND]].concat()).await,
        Manner::AtOnce | Manner::Split(_) => wire.send(bytes).await,
    };
    sent.map_err(|error| format!("cannot send: {error}"))
}

/// Sends pieces, each to be a read of its own at the other side.
async fn pieces(wire: &mut Wire, pieces: &[&[u8]]) -> std::io::Result<()> {
    for piece in pieces {
        wire.send(piece).await?;
        tokio::time::sleep(GAP).await;
    }
    Ok(())
}

/// Reads an answer.
async fn answer(wire: &mut Wire, to_head: bool) -> Result<Answer, Wrong> {
    let head = wire.head().await?.ok_or("closed without an answer")?;
    let status = status(&head.first).ok_or_else(|| format!("no status line: {}", head.first))?;
    let framing = head.framing()?;
    let bare = to_head || matches!(status, 100..=199 | 204 | 304);
    if matches!(status, 100..=199 | 204) && framing != Framing::Unsaid {
        return Err(format!("a body that cannot be (RFC 9110, 8.6): {head}"));
    }
    let ends = !bare && framing == Framing::Unsaid;
    let body = match framing {
        _ if bare => Vec::new(),
        Framing::Length(length) => wire.exactly(length).await?,
        Framing::Chunked => wire.chunks().await?.0,
        Framing::Unsaid => wire.rest().await?,
    };
    Ok(Answer {
        status,
        head,
        body,
        ends,
    })
}

/// The code of a status line (RFC 9112, section 4).
fn status(line: &str) -> Option<u16> {
    let rest = line
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| line.strip_prefix("HTTP/1.0 "))?;
    let (code, _reason) = rest.split_once(' ')?;
    let code = code.parse().ok();
    code.filter(|code| (100..600).contains(code))
}

/// Asks for one thing more, which shows that both sides agree where they are.
async fn probe(wire: &mut Wire) -> Result<(), Wrong> {
    let request = b"GET /probe HTTP/1.1\r\nHost: probe.test\r\n\r\n";
    let sent = wire.send(request).await;
    sent.map_err(|error| format!("cannot send: {error}"))?;
    let answer = answer(wire, false).await?;
    match answer.status == 200 && answer.body == b"GET /probe 0" {
        true => Ok(()),
        false => Err(format!("{}, {}", answer.head, shown(&answer.body))),
    }
}

async fn rest_is(wire: &mut Wire, expected: &[u8]) -> Result<(), Wrong> {
    let rest = in_time("not closed", wire.rest()).await?;
    match rest == expected {
        true => Ok(()),
        false => Err(format!("the last bytes are {}", shown(&rest))),
    }
}

async fn in_time<T>(
    otherwise: &str,
    what: impl Future<Output = Result<T, Wrong>>,
) -> Result<T, Wrong> {
    let late = |_| Err(format!("{otherwise} within {PATIENCE:?}"));
    timeout(PATIENCE, what).await.unwrap_or_else(late)
}
