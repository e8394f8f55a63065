//! HTTP/2 frame by frame, for what no client would send.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A connection that sends what it is told to.
#[derive(Debug)]
pub struct RawH2 {
    stream: TcpStream,
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoAway {
    /// The error code; none when the connection ended without a GOAWAY.
    pub code: Option<u32>,
    /// What else it said.
    pub debug: String,
}

/// Types of frames (RFC 9113, section 6).
pub mod kind {
    #![expect(missing_docs, reason = "they are the names of the RFC")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// The flag of DATA and HEADERS that ends a stream.
pub const END_STREAM: u8 = 1;
/// The flag of HEADERS and CONTINUATION that ends a header block.
pub const END_HEADERS: u8 = 4;
/// RFC 9113, section 7.
pub const ENHANCE_YOUR_CALM: u32 = 11;

impl RawH2 {
    /// Connects, and sends the preface and these settings.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> io::Result<Self> {
        Self::over(TcpStream::connect(address).await?, settings).await
    }

    /// The same on a connection that is there.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn over(mut stream: TcpStream, settings: &[(u16, u32)]) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        let greeting = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(kind::SETTINGS, 0, 0, &payload),
        ];
        stream.write_all(&greeting.concat()).await?;
        Ok(Self { stream })
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Reads a frame; none at the end of the connection.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn frame(&mut self) -> io::Result<Option<Frame>> {
        let mut head = [0; 9];
        if let Err(error) = self.stream.read_exact(&mut head).await {
            return match error.kind() {
                io::ErrorKind::UnexpectedEof => Ok(None),
                _ => Err(error),
            };
        }
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload).await?;
        Ok(Some(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes(stream),
            payload,
        }))
    }

    /// What becomes of a stream: HEADERS or RST_STREAM, or the GOAWAY of the connection.
    ///
    /// # Panics
    /// When the connection ends before it.
    pub async fn verdict(&mut self, stream: u32) -> Frame {
        loop {
            let frame = self.frame().await.expect("the connection holds");
            let frame = frame.expect("the connection goes on");
            let wanted = matches!(frame.kind, kind::HEADERS | kind::RST_STREAM);
            if wanted && frame.stream == stream || frame.kind == kind::GOAWAY {
                return frame;
            }
        }
    }

    /// Reads until the connection ends.
    ///
    /// # Panics
    /// When it does not within the time.
    pub async fn end(&mut self, within: Duration) -> GoAway {
        let mut end = GoAway {
            code: None,
            debug: String::new(),
        };
        let reading = async {
            while let Ok(Some(frame)) = self.frame().await {
                if frame.kind == kind::GOAWAY {
                    let (fixed, debug) = frame.payload.split_at(8);
                    let code = [fixed[4], fixed[5], fixed[6], fixed[7]];
                    end.code = Some(u32::from_be_bytes(code));
                    end.debug = String::from_utf8_lossy(debug).into_owned();
                }
            }
        };
        timeout(within, reading).await.expect("the connection ends");
        end
    }

    /// Sends the same bytes again and again, at most so often, until the connection
    /// ends; how often they went out, and how it ended.
    ///
    /// # Panics
    /// When it does not end within the time.
    pub async fn flood(
        &mut self,
        most: usize,
        within: Duration,
        mut bytes: impl FnMut(u32) -> Vec<u8>,
    ) -> (usize, GoAway) {
        let mut sent = 0;
        let sending = async {
            while sent < most {
                let piece = bytes(u32::try_from(sent).unwrap_or(u32::MAX));
                if self.stream.write_all(&piece).await.is_err() {
                    break;
                }
                sent += 1;
            }
        };
        // A server that reads no more lets the sending stand still.
        let _ = timeout(within, sending).await;
        (sent, self.end(within).await)
    }
}

/// A frame as it is sent.
///
/// # Panics
/// When the payload is larger than any frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame is small");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A request in one HEADERS frame, without a body when `end`.
pub fn request(stream: u32, method: &str, path: &str, more: &[(&str, &str)], end: bool) -> Vec<u8> {
    let flags = END_HEADERS | if end { END_STREAM } else { 0 };
    frame(kind::HEADERS, flags, stream, &block(method, path, more))
}

/// The header block of a request.
pub fn block(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [
        (":method", method),
        (":scheme", "http"),
        (":authority", "a.test"),
        (":path", path),
    ];
    fields(pseudo.iter().chain(more))
}

/// Fields without indexing and without Huffman (RFC 7541, section 6.2.2).
pub fn fields<'a>(fields: impl IntoIterator<Item = &'a (&'a str, &'a str)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        text(&mut bytes, name);
        text(&mut bytes, value);
    }
    bytes
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    integer(bytes, text.len());
    bytes.extend(text.bytes());
}

/// With a prefix of seven bits (RFC 7541, section 5.1).
fn integer(bytes: &mut Vec<u8>, value: usize) {
    let Some(mut rest) = value.checked_sub(127) else {
        return bytes.push(u8::try_from(value).unwrap_or(127));
    };
    bytes.push(127);
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).unwrap_or(0) | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap_or(127));
}
