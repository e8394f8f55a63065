//! One request and its answer on a connection to an upstream, both ways at once.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use http::{StatusCode, header};
use pingora_core::{Error, ErrorType, Result};

use super::answer::{Answer, Body, Piece};
use super::error::{because, upstream};
use super::request::{Framing, WrongLength, write_head};
use super::upstream::{Progress, Upstream};
use crate::deadline::Broken;
use crate::exchange::{Downstream, Interims, Started, plugin_panicked};
use crate::refusal::Refusal;

/// What is left of a request to be sent.
struct Sending {
    framing: Framing,
    /// Nothing more is read of the client's body.
    done: bool,
    /// Why the upstream takes nothing more.
    failed: Option<Box<Error>>,
}

/// What has happened in a conversation.
enum Step {
    /// Something of the request was sent, or is ready to be.
    Sent,
    /// Something of the answer has arrived.
    Arrived,
    /// Nothing more of it will.
    Ended,
}

/// Sends a request and brings the answer to the client; whether the connection can be used again.
///
/// # Errors
/// When one of the sides breaks off, or the answer is malformed.
pub(super) async fn converse<D: Downstream>(
    client: &mut D,
    started: &mut Started,
    up: &mut Upstream,
) -> Result<bool> {
    let mut sending = Sending::begin(client, started, up).await?;
    let mut interims = Interims::default();
    let mut answer = loop {
        match up.head(started.head.method()).map_err(malformed)? {
            Some(answer) if answer.head.status().is_informational() => {
                interims.count()?;
                Box::pin(interim(client, started, answer)).await?;
            }
            Some(answer) => break answer,
            None => match sending.wait(client, started, up).await? {
                true => {}
                false => return Err(sending.unanswered(up)),
            },
        }
    };
    if !started.way_out(&mut answer.head) {
        return Err(plugin_panicked());
    }
    let Answer {
        head,
        mut body,
        keep_alive,
    } = answer;
    let bodiless = matches!(body, Body::Done);
    let whole = !matches!(body, Body::Close);
    client.answer(head, bodiless).await?;
    if !bodiless {
        bring(client, started, up, &mut sending, &mut body).await?;
    }
    client.finish().await?;
    let sent = match sending.done && !up.is_writing() {
        true => sending.failed.is_none(),
        // The rest of the request has no use any more.
        false if !client.goes_on() => false,
        false => Box::pin(sending.complete(client, started, up)).await,
    };
    Ok(keep_alive && whole && sent && up.arrived().is_empty())
}

/// An answer before the answer.
async fn interim<D: Downstream>(
    client: &mut D,
    started: &mut Started,
    mut answer: Answer,
) -> Result<()> {
    if answer.head.status() == StatusCode::SWITCHING_PROTOCOLS {
        let what = "switched protocols without being asked";
        return Err(upstream(ErrorType::InvalidHTTPHeader, what));
    }
    match started.way_out(&mut answer.head) {
        true => client.answer(answer.head, false).await,
        false => Err(plugin_panicked()),
    }
}

/// Brings the body of an answer to the client.
async fn bring<D: Downstream>(
    client: &mut D,
    started: &mut Started,
    up: &mut Upstream,
    sending: &mut Sending,
    body: &mut Body,
) -> Result<()> {
    let shown = started.route.chain.bodies().response;
    loop {
        match body.next(up.arrived()).map_err(malformed)? {
            Piece::Skip(bytes) => up.consume(bytes),
            Piece::Data(bytes, last) => {
                let piece = &up.arrived()[..bytes];
                match shown {
                    true => {
                        let piece = Some(Bytes::copy_from_slice(piece));
                        Box::pin(show(client, started, piece, last)).await?;
                    }
                    false => client.write(piece, last).await?,
                }
                up.consume(bytes);
                if last {
                    return Ok(());
                }
            }
            Piece::End => {
                if shown {
                    Box::pin(show(client, started, None, true)).await?;
                }
                return Ok(());
            }
            Piece::More => {
                client.flush().await?;
                if !sending.wait(client, started, up).await? {
                    body.close()
                        .map_err(|why| upstream(ErrorType::ConnectionClosed, why.detail()))?;
                }
            }
        }
    }
}

/// Shows plugins a piece and writes what they make of it.
async fn show<D: Downstream>(
    client: &mut D,
    started: &mut Started,
    mut piece: Option<Bytes>,
    last: bool,
) -> Result<()> {
    started.response_body(&mut piece, last)?;
    match piece {
        Some(piece) => client.write(&piece, last).await,
        None => Ok(()),
    }
}

impl Sending {
    /// Writes the head, and what is there of the body already.
    async fn begin<D: Downstream>(
        client: &mut D,
        started: &mut Started,
        up: &mut Upstream,
    ) -> Result<Self> {
        let bodiless = client.is_bodiless();
        let mut sending = Self {
            framing: write_head(up.out(), &started.head, bodiless),
            done: false,
            failed: None,
        };
        if bodiless {
            sending.take(None, true, started, up)?;
            return Ok(sending);
        }
        client.leave_invitation(started.head.header(&header::EXPECT).is_some());
        if let Some(kept) = client.kept().filter(|kept| !kept.is_empty()) {
            sending.hear(Some(kept), client, started, up)?;
        } else {
            let here = {
                let mut read = pin!(client.read());
                poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx))).await
            };
            if let Poll::Ready(piece) = here {
                sending.hear(piece?, client, started, up)?;
            }
        }
        Ok(sending)
    }

    /// Waits until something of the answer arrives, and meanwhile sends the request; false when
    /// nothing will arrive any more.
    async fn wait<D: Downstream>(
        &mut self,
        client: &mut D,
        started: &mut Started,
        up: &mut Upstream,
    ) -> Result<bool> {
        loop {
            match self.step(client, started, up).await? {
                Step::Arrived => return Ok(true),
                Step::Ended => return Ok(false),
                Step::Sent => {}
            }
        }
    }

    /// Sends what is left of the request, as long as both sides go on; whether all of it was sent.
    async fn complete<D: Downstream>(
        &mut self,
        client: &mut D,
        started: &mut Started,
        up: &mut Upstream,
    ) -> bool {
        while !self.done || up.is_writing() {
            if !matches!(self.step(client, started, up).await, Ok(Step::Sent)) {
                return false;
            }
        }
        self.failed.is_none()
    }

    /// Waits until either side moves.
    async fn step<D: Downstream>(
        &mut self,
        client: &mut D,
        started: &mut Started,
        up: &mut Upstream,
    ) -> Result<Step> {
        let writing = up.is_writing();
        let reading = !self.done && !writing;
        tokio::select! {
            biased;
            progress = up.progress(reading) => match progress {
                Ok(Progress::Arrived) => return Ok(Step::Arrived),
                Ok(Progress::Ended) => return Ok(Step::Ended),
                Ok(Progress::Written) => {}
                Ok(Progress::Unwritable(error)) => self.give_up(error),
                Err(why) => return Err(self.broken(why, writing)),
            },
            piece = hear(client, self.done), if reading || self.done => {
                self.hear(piece?, client, started, up)?;
            }
        }
        Ok(Step::Sent)
    }

    /// Takes what was read of the client's body.
    fn hear<D: Downstream>(
        &mut self,
        piece: Option<Bytes>,
        client: &D,
        started: &mut Started,
        up: &mut Upstream,
    ) -> Result<()> {
        let last = piece.is_none() || client.is_body_done();
        self.take(piece, last, started, up)
    }

    /// Takes a piece of the client's body.
    fn take(
        &mut self,
        mut piece: Option<Bytes>,
        last: bool,
        started: &mut Started,
        up: &mut Upstream,
    ) -> Result<()> {
        started.request_body(&mut piece, last)?;
        if let Some(piece) = piece.filter(|piece| !piece.is_empty()) {
            self.framing.take(piece.len()).map_err(wrong_length)?;
            match self.framing {
                Framing::Chunked => {
                    let size = format!("{:x}\r\n", piece.len());
                    up.out().extend_from_slice(size.as_bytes());
                    up.write_piece(piece, b"\r\n");
                }
                Framing::Length(_) | Framing::Done => up.write_piece(piece, b""),
            }
        }
        if last {
            self.done = true;
            let end = self.framing.end().map_err(wrong_length)?;
            up.write_end(end);
        }
        Ok(())
    }

    /// The upstream takes nothing more, but may answer.
    fn give_up(&mut self, error: std::io::Error) {
        self.done = true;
        self.failed = Some(because(ErrorType::WriteError, "sending the request", error));
    }

    /// The upstream took too long, or its connection broke.
    fn broken(&mut self, why: Broken, writing: bool) -> Box<Error> {
        let (late, doing) = match writing {
            true => (ErrorType::WriteTimedout, "sending the request"),
            false => (ErrorType::ReadTimedout, "waiting for the answer"),
        };
        // Why it took nothing more says more.
        self.failed.take().unwrap_or_else(|| match why {
            Broken::Late => upstream(late, doing),
            Broken::Failed(cause) => because(ErrorType::ReadError, doing, cause),
        })
    }

    /// The upstream has closed the connection before an answer.
    fn unanswered(&mut self, up: &Upstream) -> Box<Error> {
        self.failed.take().unwrap_or_else(|| {
            let what = match up.arrived() {
                [] => "closed before an answer",
                _ => "closed within the head of the answer",
            };
            upstream(ErrorType::ConnectionClosed, what)
        })
    }
}

/// The next piece of the client's body; once it is `done`, an error when the client is gone.
async fn hear<D: Downstream>(client: &mut D, done: bool) -> Result<Option<Bytes>> {
    match done {
        true => Err(client.idle().await),
        false => client.read().await,
    }
}

fn malformed(why: Refusal) -> Box<Error> {
    let what = match why {
        Refusal::RequestLine | Refusal::RequestLineTooLong => "the status line is malformed",
        other => other.detail(),
    };
    upstream(ErrorType::InvalidHTTPHeader, what)
}

fn wrong_length(WrongLength: WrongLength) -> Box<Error> {
    let what = "the body does not have the length that its head says";
    Error::explain(ErrorType::InternalError, what).into_in()
}
