//! Messages of HTTP/1, read strictly: what a lenient reader would forgive is an error here.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Why bytes are no message, or why there are none.
pub type Wrong = String;

/// A connection, and what came and was not read yet.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    pending: Vec<u8>,
}

/// The first line and the fields of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The first line without its end.
    pub first: String,
    /// Names in lower case and values, in their order.
    pub fields: Vec<(String, Vec<u8>)>,
}

/// Where the body of a message ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes.
    Length(usize),
    /// After the last chunk.
    Chunked,
    /// The head does not say.
    Unsaid,
}

impl Head {
    /// Parses the bytes up to and without the empty line (RFC 9112, section 2.1).
    ///
    /// # Errors
    /// When a line is not exactly as the grammar has it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Wrong> {
        let mut lines = split_lines(bytes)?.into_iter();
        let first = lines.next().unwrap_or_default();
        let fields = lines.map(field).collect::<Result<_, _>>()?;
        match std::str::from_utf8(first) {
            Ok(first) => Ok(Self {
                first: first.to_owned(),
                fields,
            }),
            Err(_) => Err(format!("the first line is {}", shown(first))),
        }
    }

    /// The values of a field, whose name is in lower case.
    pub fn all(&self, name: &str) -> Vec<&[u8]> {
        let named = self.fields.iter().filter(|(found, _)| found == name);
        named.map(|(_, value)| value.as_slice()).collect()
    }

    /// Whether a comma-separated field names this, whatever its case.
    pub fn lists(&self, name: &str, wanted: &str) -> bool {
        let lists = |value: &[u8]| {
            let text = String::from_utf8_lossy(value);
            text.split(',')
                .any(|item| item.trim().eq_ignore_ascii_case(wanted))
        };
        self.all(name).into_iter().any(lists)
    }

    /// Where its body ends (RFC 9112, section 6.3).
    ///
    /// # Errors
    /// When it says so twice, or in a way that is read differently.
    pub fn framing(&self) -> Result<Framing, Wrong> {
        let (codings, lengths) = (self.all("transfer-encoding"), self.all("content-length"));
        match (&*codings, &*lengths) {
            ([], []) => Ok(Framing::Unsaid),
            ([coding], []) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
            ([], [length]) if length.iter().all(u8::is_ascii_digit) => {
                let length = String::from_utf8_lossy(length).parse();
                length
                    .map(Framing::Length)
                    .map_err(|_| "a bad Content-Length".into())
            }
            _ => Err(format!("unclear framing: {self}")),
        }
    }
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.first)?;
        self.fields
            .iter()
            .try_for_each(|(name, value)| write!(f, " | {name}: {}", shown(value)))
    }
}

impl Wire {
    /// Connects.
    ///
    /// # Errors
    /// When nobody accepts.
    pub async fn connect(address: std::net::SocketAddr) -> io::Result<Self> {
        TcpStream::connect(address).await.and_then(Self::of)
    }

    /// Takes a connection.
    ///
    /// # Errors
    /// When it is no longer one.
    pub fn of(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let pending = Vec::new();
        Ok(Self { stream, pending })
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Ends it at once when it is dropped, so that thousands of them leave no port in TIME_WAIT.
    pub fn drop_hard(&self) {
        let _ = self.stream.set_zero_linger();
    }

    /// Nothing is there that was not read.
    pub fn is_blank(&self) -> bool {
        self.pending.is_empty()
    }

    /// A head; none when the connection ends before one begins.
    ///
    /// # Errors
    /// When it ends within, or is malformed.
    pub async fn head(&mut self) -> Result<Option<Head>, Wrong> {
        loop {
            if let Some(at) = find(&self.pending, b"\r\n\r\n") {
                let bytes: Vec<u8> = self.pending.drain(..at + 4).collect();
                return Head::parse(&bytes[..at]).map(Some);
            }
            if !self.more().await? {
                return match self.pending.is_empty() {
                    true => Ok(None),
                    false => Err(format!("ended within a head: {}", shown(&self.pending))),
                };
            }
        }
    }

    /// So many bytes.
    ///
    /// # Errors
    /// When the connection ends before.
    pub async fn exactly(&mut self, count: usize) -> Result<Vec<u8>, Wrong> {
        while self.pending.len() < count {
            if !self.more().await? {
                let got = self.pending.len();
                return Err(format!("ended after {got} bytes of {count}"));
            }
        }
        Ok(self.pending.drain(..count).collect())
    }

    /// The data of chunks and the fields behind them (RFC 9112, section 7.1).
    ///
    /// # Errors
    /// When a chunk has an extension, or is malformed in any way.
    pub async fn chunks(&mut self) -> Result<(Vec<u8>, Head), Wrong> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let digits = line.iter().all(u8::is_ascii_hexdigit);
            let size = std::str::from_utf8(&line).ok().filter(|_| digits);
            let size = size.and_then(|text| usize::from_str_radix(text, 16).ok());
            let size = size.ok_or_else(|| format!("no chunk size: {}", shown(&line)))?;
            if size == 0 {
                break;
            }
            body.extend(self.exactly(size).await?);
            match &*self.exactly(2).await? {
                b"\r\n" => {}
                other => return Err(format!("after a chunk comes {}", shown(other))),
            }
        }
        let mut trailers = Head::default();
        loop {
            match self.line().await? {
                line if line.is_empty() => return Ok((body, trailers)),
                line => trailers.fields.push(field(&line)?),
            }
        }
    }

    /// All until the other side says that nothing more comes.
    ///
    /// # Errors
    /// When the connection breaks instead.
    pub async fn rest(&mut self) -> Result<Vec<u8>, Wrong> {
        while self.more().await? {}
        Ok(std::mem::take(&mut self.pending))
    }

    /// What came, once something did; none when nothing more comes.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn some(&mut self) -> Result<Option<Vec<u8>>, Wrong> {
        if self.pending.is_empty() && !self.more().await? {
            return Ok(None);
        }
        Ok(Some(std::mem::take(&mut self.pending)))
    }

    async fn line(&mut self) -> Result<Vec<u8>, Wrong> {
        loop {
            if let Some(at) = find(&self.pending, b"\n") {
                let line: Vec<u8> = self.pending.drain(..=at).collect();
                let end = line.strip_suffix(b"\r\n");
                let sound = end.filter(|line| !line.contains(&b'\r'));
                return sound
                    .map(<[u8]>::to_vec)
                    .ok_or_else(|| format!("no line: {}", shown(&line)));
            }
            if !self.more().await? {
                return Err("ended within a line".into());
            }
        }
    }

    async fn more(&mut self) -> Result<bool, Wrong> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer).await {
            Ok(count) => {
                self.pending.extend_from_slice(&buffer[..count]);
                Ok(count > 0)
            }
            Err(error) => Err(format!("{error}")),
        }
    }
}

/// Bytes as they would be written in a case.
pub fn shown(bytes: &[u8]) -> String {
    const LONGEST: usize = 400;
    let text = bytes[..bytes.len().min(LONGEST)].escape_ascii().to_string();
    match bytes.len() {
        0..=LONGEST => format!("\"{text}\""),
        more => format!("\"{text}\"... ({more} bytes)"),
    }
}

fn split_lines(bytes: &[u8]) -> Result<Vec<&[u8]>, Wrong> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while let Some(at) = find(rest, b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    lines.push(rest);
    let stray = |line: &&&[u8]| line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
    match lines.iter().find(stray) {
        Some(line) => Err(format!("a stray line end or NUL: {}", shown(line))),
        None => Ok(lines),
    }
}

/// `name: value`, without the whitespace around the value.
fn field(line: impl AsRef<[u8]>) -> Result<(String, Vec<u8>), Wrong> {
    let line = line.as_ref();
    let wrong = || format!("no field: {}", shown(line));
    let at = find(line, b":").ok_or_else(wrong)?;
    let (name, value) = (&line[..at], &line[at + 1..]);
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let sound = |byte: &u8| matches!(byte, b'\t' | 32..=126 | 128..);
    if name.is_empty() || !name.iter().all(token) || !value.iter().all(sound) {
        return Err(wrong());
    }
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    Ok((name, value.trim_ascii().to_vec()))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let mut windows = bytes.windows(wanted.len());
    windows.position(|window| window == wanted)
}
