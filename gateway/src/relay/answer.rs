//! The answer of an HTTP/1.1 upstream, read as strictly as a request: where its body ends, and
//! whether its connection can be used again.
//!
//! Pure: it sees bytes and says what they are.

use http::{Method, StatusCode};
use plugins::ResponseHead;

use crate::h1::chunked::{Chunked, Step};
use crate::h1::head::{Head, HeadLimits, StatusLine};
use crate::h1::message::{content_length, options};
use crate::refusal::Refusal;

/// What the head of an answer may measure: all of it fits into one buffer.
pub const LIMITS: HeadLimits = HeadLimits {
    request_line: 8 << 10,
    header: 32 << 10,
    headers: 56 << 10,
    count: 256,
};

/// Where the body of an answer ends.
#[derive(Debug)]
pub enum Body {
    /// Here.
    Done,
    /// After so many bytes, at least one.
    Length(u64),
    /// With its last chunk.
    Chunked(Chunked),
    /// With the connection.
    Close,
}

/// What a head says about the answer.
#[derive(Debug)]
pub struct Answer {
    /// The head, as it came.
    pub head: ResponseHead,
    /// Where the body ends.
    pub body: Body,
    /// Whether the connection goes on after it.
    pub keep_alive: bool,
}

/// The next piece of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The first so many bytes are framing.
    Skip(usize),
    /// The first so many bytes are the body's; whether they are the last of it.
    Data(usize, bool),
    /// More bytes must arrive first.
    More,
    /// The body is complete.
    End,
}

/// Judges the head of an answer to a request of this method.
///
/// # Errors
/// When it could be read in two ways (RFC 9112, section 6).
pub fn judge(head: &Head<'_, StatusLine>, method: &Method) -> Result<Answer, Refusal> {
    let mut lengths: Option<&[u8]> = None;
    let (mut several, mut chunked, mut close, mut stay) = (false, false, false, false);
    for (name, value) in head.pairs() {
        match name.len() {
            10 if name.eq_ignore_ascii_case(b"connection") => {
                for option in options(value) {
                    close |= option.eq_ignore_ascii_case(b"close");
                    stay |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                several |= lengths.replace(value).is_some();
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Refusal::TransferEncoding);
                }
                chunked = true;
            }
            _ => {}
        }
    }
    let StatusLine { status, http11, .. } = *head.line;
    let bodiless = *method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let body = match lengths {
        // With both, the coding counts (RFC 9112, section 6.3).
        _ if chunked => Body::Chunked(Chunked::default()),
        None => Body::Close,
        Some(text) => match content_length(text).filter(|_| !several) {
            Some(0) => Body::Done,
            Some(length) => Body::Length(length),
            None => return Err(Refusal::ContentLength),
        },
    };
    let both = chunked && lengths.is_some();
    Ok(Answer {
        head: taken(head),
        keep_alive: !close && !both && (http11 || (stay && !chunked)),
        body: if bodiless { Body::Done } else { body },
    })
}

fn taken(head: &Head<'_, StatusLine>) -> ResponseHead {
    let mut text = Vec::with_capacity(head.len + TEXT_ROOM);
    text.extend_from_slice(&head.bytes[..head.len]);
    let mut fields = Vec::with_capacity(head.fields.len() + ROOM);
    fields.extend_from_slice(head.fields);
    let reason = Some(head.line.reason.clone());
    ResponseHead::of_text(head.line.status, text, reason, fields)
}

/// Room for the headers that the gateway and its plugins add.
const ROOM: usize = 4;
const TEXT_ROOM: usize = 128;

impl Body {
    /// The next piece of what has arrived.
    ///
    /// # Errors
    /// When its coding is malformed.
    pub fn next(&mut self, arrived: &[u8]) -> Result<Piece, Refusal> {
        let piece = match self {
            Self::Done => return Ok(Piece::End),
            Self::Chunked(chunked) => match chunked.step(arrived, &LIMITS)? {
                Step::Skip(bytes) => Piece::Skip(bytes),
                Step::Data(bytes) => Piece::Data(bytes, false),
                Step::More => Piece::More,
                Step::End => Piece::End,
            },
            Self::Length(_) | Self::Close if arrived.is_empty() => Piece::More,
            Self::Close => Piece::Data(arrived.len(), false),
            Self::Length(left) => {
                let here = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(arrived.len());
                *left -= here as u64;
                Piece::Data(here, *left == 0)
            }
        };
        if matches!(piece, Piece::End | Piece::Data(_, true)) {
            *self = Self::Done;
        }
        Ok(piece)
    }

    /// The upstream has closed the connection.
    ///
    /// # Errors
    /// When the body is not complete.
    pub fn close(&mut self) -> Result<(), Refusal> {
        match std::mem::replace(self, Self::Done) {
            Self::Done | Self::Close => Ok(()),
            Self::Length(_) | Self::Chunked(_) => Err(Refusal::BodyIncomplete),
        }
    }
}

#[cfg(test)]
mod tests;
