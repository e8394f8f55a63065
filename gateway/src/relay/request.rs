//! A request as bytes for an HTTP/1.1 upstream.

use plugins::RequestHead;

use crate::h1::message::content_length;
use crate::h1::{is_hop_by_hop, line};

/// How the body of a request is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none, or all of it was written.
    Done,
    /// So many bytes are still owed.
    Length(u64),
    Chunked,
}

/// The body does not have the length that the head says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WrongLength;

/// Writes the head; how the body is to be framed.
pub(super) fn write_head(out: &mut Vec<u8>, head: &RequestHead, bodiless: bool) -> Framing {
    out.extend_from_slice(head.method().as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.target().as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let mut host = false;
    let (mut length, mut lengths) = (None, 0);
    head.fields().write_lines(out, |name, value| {
        match name.len() {
            4 => host |= name.eq_ignore_ascii_case(b"host"),
            // How the body is framed is said below, in one way.
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                length = content_length(value);
                lengths += 1;
                return false;
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => return false,
            _ => {}
        }
        !is_hop_by_hop(name)
    });
    if let (false, Some(authority)) = (host, head.authority()) {
        line(out, b"Host", authority.as_bytes());
    }
    let length = length.filter(|length| lengths == 1 && (*length == 0) == bodiless);
    if let Some(length) = length {
        line(out, b"Content-Length", length.to_string().as_bytes());
    }
    let framing = match (bodiless, length) {
        (true, _) => Framing::Done,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => {
            line(out, b"Transfer-Encoding", b"chunked");
            Framing::Chunked
        }
    };
    out.extend_from_slice(b"\r\n");
    framing
}

impl Framing {
    /// Takes so many bytes of the body.
    ///
    /// # Errors
    /// When there would be more than the head says.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), WrongLength> {
        match self {
            Self::Length(owed) => {
                *owed = owed.checked_sub(bytes as u64).ok_or(WrongLength)?;
                Ok(())
            }
            Self::Chunked => Ok(()),
            Self::Done => Err(WrongLength),
        }
    }

    /// Ends the body; what is to be written then.
    ///
    /// # Errors
    /// When it is shorter than the head says.
    pub(super) fn end(&mut self) -> Result<&'static [u8], WrongLength> {
        match std::mem::replace(self, Self::Done) {
            Self::Length(1..) => Err(WrongLength),
            Self::Chunked => Ok(b"0\r\n\r\n"),
            Self::Length(0) | Self::Done => Ok(b""),
        }
    }
}
