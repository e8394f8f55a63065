//! HTTP/1.1 byte by byte: nothing is normalised, retried or hidden.

use std::io;
use std::net::SocketAddr;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::answer::Answer;

/// A connection to a server.
#[derive(Debug)]
pub struct Wire(BufReader<TcpStream>);

impl Wire {
    /// Connects.
    ///
    /// # Errors
    /// When nobody accepts.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Over a connection that is there.
    pub fn over(stream: TcpStream) -> Self {
        Self(BufReader::new(stream))
    }

    /// Sends a request and reads the answer.
    ///
    /// # Errors
    /// When the connection fails, or the answer is no HTTP.
    pub async fn exchange(&mut self, request: &str) -> io::Result<Answer> {
        self.send(request).await?;
        self.answer().await
    }

    /// Asks to speak something else from now on; gateways let only WebSockets through.
    ///
    /// # Errors
    /// When the connection fails, or the answer is not 101.
    pub async fn upgrade(&mut self, path: &str) -> io::Result<()> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: a.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        match self.exchange(&request).await?.status {
            101 => Ok(()),
            other => Err(wrong(&other.to_string())),
        }
    }

    /// Sends a line after an upgrade, and requires that it comes back.
    ///
    /// # Errors
    /// When the connection fails, or something else comes back.
    pub async fn echo(&mut self, line: &str) -> io::Result<()> {
        self.send(&format!("{line}\n")).await?;
        let mut back = String::new();
        if self.0.read_line(&mut back).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match back.trim_end() == line {
            true => Ok(()),
            false => Err(wrong(&back)),
        }
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.get_mut().write_all(bytes.as_ref()).await
    }

    /// Reads an answer to a request that was not `HEAD`.
    ///
    /// # Errors
    /// When the connection fails, or the answer is no HTTP.
    pub async fn answer(&mut self) -> io::Result<Answer> {
        let (first, headers) = read_head(&mut self.0)
            .await?
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| wrong(&first))?;
        let body = match status {
            101 | 204 | 304 => Vec::new(),
            _ => match read_body(&mut self.0, &headers).await? {
                Some(body) => body,
                None => {
                    let mut body = Vec::new();
                    self.0.read_to_end(&mut body).await?;
                    body
                }
            },
        };
        Ok(Answer {
            status,
            headers,
            body,
        })
    }
}

/// Sends one request on a connection of its own.
///
/// # Panics
/// When it is not answered.
pub async fn ask(address: SocketAddr, request: &str) -> Answer {
    let exchange = async { Wire::connect(address).await?.exchange(request).await };
    exchange
        .await
        .unwrap_or_else(|error| panic!("{error}: {address} does not answer {request:?}"))
}

/// The first line and the headers of a message; none when the connection ended before it.
pub(crate) async fn read_head(
    stream: &mut (impl AsyncBufRead + Unpin),
) -> io::Result<Option<(String, HeaderMap)>> {
    let mut first = String::new();
    if stream.read_line(&mut first).await? == 0 {
        return Ok(None);
    }
    let mut headers = HeaderMap::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(Some((first.trim_end().to_owned(), headers)));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| wrong(line))?;
        let name = HeaderName::try_from(name).map_err(|_| wrong(line))?;
        let value = HeaderValue::try_from(value.trim()).map_err(|_| wrong(line))?;
        headers.append(name, value);
    }
}

/// The body of a message; none when its headers do not say where it ends.
pub(crate) async fn read_body(
    stream: &mut (impl AsyncBufRead + Unpin),
    headers: &HeaderMap,
) -> io::Result<Option<Vec<u8>>> {
    if headers.contains_key("transfer-encoding") {
        return read_chunks(stream).await.map(Some);
    }
    let length = headers.get("content-length");
    let length = length.and_then(|value| value.to_str().ok()?.parse().ok());
    let Some(length) = length else {
        return Ok(None);
    };
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Some(body))
}

async fn read_chunks(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let size = usize::from_str_radix(line.trim(), 16).map_err(|_| wrong(&line))?;
        let mut chunk = vec![0; size + 2];
        stream.read_exact(&mut chunk).await?;
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(&chunk[..size]);
    }
}

fn wrong(line: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP: {line:?}"))
}
