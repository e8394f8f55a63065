//! The chunked coding (RFC 9112, section 7.1), taken apart strictly.

use bytes::{Buf, Bytes, BytesMut};

use super::head::{HeadLimits, field, is_token};
use crate::refusal::Refusal;

/// Takes a chunked body apart that arrives in pieces.
#[derive(Debug)]
pub struct Chunked {
    state: State,
    /// Bytes and lines of trailers so far.
    trailers: (usize, usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The line with a chunk's size comes next.
    Size,
    /// So many bytes of a chunk are to come.
    Data(u64),
    /// The line end after a chunk comes next.
    DataEnd,
    /// A trailer or the last line comes next.
    Trailers,
    Done,
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes of the body.
    Data(Bytes),
    /// More bytes must arrive first.
    More,
    /// The body is complete.
    End,
}

/// What the beginning of what has arrived is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many bytes of framing.
    Skip(usize),
    /// So many bytes of the body.
    Data(usize),
    /// More bytes must arrive first.
    More,
    /// The body is complete.
    End,
}

/// The longest line with a size and extensions.
const SIZE_LINE: usize = 256;
/// Hexadecimal digits of a size: more would overflow 64 bits.
const SIZE_DIGITS: usize = 16;

impl Default for Chunked {
    fn default() -> Self {
        Self {
            state: State::Size,
            trailers: (0, 0),
        }
    }
}

impl Chunked {
    /// Takes the next piece out of what has arrived.
    ///
    /// # Errors
    /// When the coding is malformed.
    pub fn next(&mut self, arrived: &mut BytesMut, limits: &HeadLimits) -> Result<Piece, Refusal> {
        loop {
            match self.step(arrived, limits)? {
                Step::Skip(bytes) => arrived.advance(bytes),
                Step::Data(bytes) => return Ok(Piece::Data(arrived.split_to(bytes).freeze())),
                Step::More => return Ok(Piece::More),
                Step::End => return Ok(Piece::End),
            }
        }
    }

    /// What the beginning of what has arrived is.
    ///
    /// # Errors
    /// When the coding is malformed.
    pub fn step(&mut self, arrived: &[u8], limits: &HeadLimits) -> Result<Step, Refusal> {
        Ok(match self.state {
            State::Size => match line(arrived, SIZE_LINE).map_err(|_| Refusal::Chunk)? {
                None => Step::More,
                Some(end) => {
                    self.state = match chunk_size(&arrived[..end])? {
                        0 => State::Trailers,
                        size => State::Data(size),
                    };
                    Step::Skip(end + 2)
                }
            },
            State::Data(_) if arrived.is_empty() => Step::More,
            State::Data(left) => {
                let here = usize::try_from(left)
                    .unwrap_or(usize::MAX)
                    .min(arrived.len());
                self.state = match left - here as u64 {
                    0 => State::DataEnd,
                    left => State::Data(left),
                };
                Step::Data(here)
            }
            State::DataEnd => match arrived {
                [b'\r', b'\n', ..] => {
                    self.state = State::Size;
                    Step::Skip(2)
                }
                [] | [b'\r'] => Step::More,
                _ => return Err(Refusal::Chunk),
            },
            State::Trailers => match self.trailer(arrived, limits)? {
                Some(bytes) => Step::Skip(bytes),
                None => Step::More,
            },
            State::Done => Step::End,
        })
    }

    /// Bytes of the chunk that has begun which are still to come.
    pub fn owed(&self) -> u64 {
        match self.state {
            State::Data(left) => left,
            _ => 0,
        }
    }

    /// Takes the usual end out when it comes next, so that it is noticed with the last piece.
    pub fn take_plain_end(&mut self, arrived: &mut BytesMut) -> bool {
        let end: &[u8] = match self.state {
            State::DataEnd => b"\r\n0\r\n\r\n",
            State::Size => b"0\r\n\r\n",
            _ => return false,
        };
        let here = arrived.starts_with(end);
        if here {
            arrived.advance(end.len());
            self.state = State::Done;
        }
        here
    }

    /// Judges one trailer; how long its line is, none when it is not complete.
    fn trailer(&mut self, arrived: &[u8], limits: &HeadLimits) -> Result<Option<usize>, Refusal> {
        let Some(end) = line(arrived, limits.header).map_err(|why| match why {
            LineError::TooLong => Refusal::HeaderTooLong,
            LineError::BareEnd => Refusal::Trailer,
        })?
        else {
            return Ok(None);
        };
        if end == 0 {
            self.state = State::Done;
        } else {
            field(arrived, 0..end).map_err(|_| Refusal::Trailer)?;
            self.trailers.0 += end;
            self.trailers.1 += 1;
            if self.trailers.1 > limits.count {
                return Err(Refusal::TooManyHeaders);
            }
            if self.trailers.0 > limits.headers {
                return Err(Refusal::HeadersTooLong);
            }
        }
        Ok(Some(end + 2))
    }
}

enum LineError {
    TooLong,
    BareEnd,
}

/// The length of the first line without its CR LF; none when it is not complete.
fn line(arrived: &[u8], limit: usize) -> Result<Option<usize>, LineError> {
    match memchr::memchr(b'\n', arrived) {
        Some(end) if end > limit + 1 => Err(LineError::TooLong),
        Some(end) if end > 0 && arrived[end - 1] == b'\r' => Ok(Some(end - 1)),
        Some(_) => Err(LineError::BareEnd),
        None if arrived.len() > limit + 1 => Err(LineError::TooLong),
        None if has_bare_cr(arrived) => Err(LineError::BareEnd),
        None => Ok(None),
    }
}

/// Whether a line that is not complete can never end well.
fn has_bare_cr(arrived: &[u8]) -> bool {
    memchr::memchr(b'\r', arrived).is_some_and(|at| at + 1 < arrived.len())
}

/// A size, and extensions that are judged and dropped (RFC 9112, section 7.1.1).
fn chunk_size(line: &[u8]) -> Result<u64, Refusal> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit());
    let (digits, extensions) = line.split_at(digits.count());
    if digits.is_empty() || digits.len() > SIZE_DIGITS || !are_extensions(extensions) {
        return Err(Refusal::Chunk);
    }
    let value =
        |sum: u64, digit: &u8| sum << 4 | u64::from((*digit as char).to_digit(16).unwrap_or(0));
    Ok(digits.iter().fold(0, value))
}

/// `*( ";" name [ "=" ( token / quoted-string ) ] )`, without spaces around.
fn are_extensions(mut rest: &[u8]) -> bool {
    while let [b';', after @ ..] = rest {
        let Some(after) = token(after) else {
            return false;
        };
        rest = after;
        if let [b'=', after @ ..] = rest {
            let value = if after.first() == Some(&b'"') {
                quoted(&after[1..])
            } else {
                token(after)
            };
            let Some(after) = value else {
                return false;
            };
            rest = after;
        }
    }
    rest.is_empty()
}

/// What follows a token.
fn token(text: &[u8]) -> Option<&[u8]> {
    let len = text.iter().take_while(|byte| is_token(**byte)).count();
    (len > 0).then(|| &text[len..])
}

/// What follows a quoted string whose first quote was read.
fn quoted(mut text: &[u8]) -> Option<&[u8]> {
    loop {
        text = match text {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', escaped, rest @ ..] if !escaped.is_ascii_control() => rest,
            [byte, rest @ ..] if *byte != b'\\' && (*byte == b'\t' || !byte.is_ascii_control()) => {
                rest
            }
            _ => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The whole body, or none when it is not complete.
    fn decode(pieces: &[&[u8]]) -> Result<Option<Vec<u8>>, Refusal> {
        let mut chunked = Chunked::default();
        let (mut arrived, mut body) = (BytesMut::new(), Vec::new());
        for piece in pieces {
            arrived.extend_from_slice(piece);
            loop {
                match chunked.next(&mut arrived, &HeadLimits::default())? {
                    Piece::Data(bytes) => body.extend_from_slice(&bytes),
                    Piece::More => break,
                    Piece::End => return Ok(Some(body)),
                }
            }
        }
        Ok(None)
    }

    #[test]
    fn bodies_are_taken_apart() {
        for (text, body) in [
            ("0\r\n\r\n", ""),
            ("3\r\nabc\r\n0\r\n\r\n", "abc"),
            (
                "A;x;y=z;q=\"a;\\\"b\"\r\n0123456789\r\n00\r\nt: v\r\n\r\n",
                "0123456789",
            ),
        ] {
            assert_eq!(
                decode(&[text.as_bytes()]),
                Ok(Some(body.into())),
                "{text:?}"
            );
            let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(decode(&single), Ok(Some(body.into())), "{text:?}");
        }
    }

    #[test]
    fn malformed_bodies_are_refused() {
        let long = format!("1;{}\r\n", "a".repeat(300));
        for text in [
            "\r\n",
            "x\r\n",
            "+3\r\n",
            "-1\r\n",
            "0x3\r\n",
            " 3\r\n",
            "3 \r\n",
            "3;\r\n",
            "3;a=\r\n",
            "3;a=\"b\r\n",
            "3 ;a\r\n",
            "3\n",
            "3\r\nabcd\r\n",
            "3\r\nabc\n",
            "11111111111111111\r\n",
            &long,
        ] {
            assert_eq!(decode(&[text.as_bytes()]), Err(Refusal::Chunk), "{text:?}");
        }
        for text in [
            "0\r\nbad\r\n",
            "0\r\na: b\n",
            "0\r\n a: b\r\n",
            "0\r\na : b\r\n",
        ] {
            assert_eq!(
                decode(&[text.as_bytes()]),
                Err(Refusal::Trailer),
                "{text:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_was_chunked_comes_out_again(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6), cut in 0usize..200) {
            let mut text = Vec::new();
            for chunk in &chunks {
                text.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                text.extend_from_slice(chunk);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"0\r\n\r\n");
            let (first, second) = text.split_at(cut.min(text.len()));
            prop_assert_eq!(decode(&[first, second]), Ok(Some(chunks.concat())));
        }

        #[test]
        fn any_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&[&bytes]);
        }
    }
}
