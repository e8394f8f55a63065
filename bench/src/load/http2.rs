//! A closed loop over HTTP/2: some connections with TLS, each with several requests under way.
//! Requests are plain ones, or unary calls of gRPC.

use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use http::{Request, Response};
use tokio::task::{JoinSet, spawn_local};

use super::crew::{Shared, drive};
use super::exchange::Connection;
use super::{Sample, Target};
use crate::error::Error;
use crate::origin::{BODY, grpc};

/// A closed loop over HTTP/2.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Http2 {
    /// How many connections there are.
    pub(crate) connections: usize,
    /// Requests that are under way on each.
    pub(crate) streams: usize,
    /// What they are.
    pub(crate) kind: Kind,
}

/// What requests are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// GET.
    Get,
    /// Unary calls of gRPC, which send a message and get one of the same length.
    Grpc,
}

impl Http2 {
    /// Drives it for so long.
    pub(crate) fn run(self, target: &Target, time: Duration) -> Result<Sample, Error> {
        let end = Instant::now() + time;
        drive(self.connections, time, |share, local, sample| {
            for _ in share.connections(self.connections) {
                let (target, sample) = (target.clone(), sample.clone());
                local.spawn_local(async move {
                    let done = self.connection(&target, end, &sample).await;
                    if let Err(error) = done {
                        sample.borrow_mut().failed(error.to_string());
                    }
                });
            }
        })
    }

    async fn connection(self, target: &Target, end: Instant, sample: &Shared) -> io::Result<()> {
        let stream = Connection::open(target).await?.into_stream();
        let (client, connection) = h2::client::handshake(stream)
            .await
            .map_err(io::Error::other)?;
        let connection = spawn_local(connection);
        let mut streams = JoinSet::new();
        for _ in 0..self.streams {
            let (client, sample) = (client.clone(), sample.clone());
            streams.spawn_local(async move {
                while Instant::now() < end {
                    let sent = Instant::now();
                    let answered = self.exchange(client.clone()).await;
                    let mut sample = sample.borrow_mut();
                    match answered {
                        Ok(()) => sample.answered(sent.elapsed()),
                        Err(error) => return sample.failed(error.to_string()),
                    }
                }
            });
        }
        streams.join_all().await;
        connection.abort();
        Ok(())
    }
}

impl Http2 {
    /// One request, and its whole answer.
    async fn exchange(self, client: SendRequest<Bytes>) -> io::Result<()> {
        let mut client = client.ready().await.map_err(io::Error::other)?;
        let request = Request::builder().header("user-agent", "tidegate-bench");
        let answer = match self.kind {
            Kind::Get => {
                let request = request.uri("https://bench.test/").body(());
                let request = request.map_err(io::Error::other)?;
                client.send_request(request, true).map(|(answer, _)| answer)
            }
            Kind::Grpc => {
                let request = request
                    .method("POST")
                    .uri("https://bench.test/bench.Echo/Say");
                let request = request
                    .header("content-type", "application/grpc")
                    .header("te", "trailers");
                let request = request.body(()).map_err(io::Error::other)?;
                client
                    .send_request(request, false)
                    .and_then(|(answer, mut body)| {
                        body.send_data(grpc::message(), true)?;
                        Ok(answer)
                    })
            }
        };
        let answer = answer.map_err(io::Error::other)?;
        self.read(answer.await.map_err(io::Error::other)?).await
    }

    /// Reads an answer to its end, which must be as it should.
    async fn read(self, answer: Response<RecvStream>) -> io::Result<()> {
        let status = answer.status();
        let mut body = answer.into_body();
        let mut length = 0;
        while let Some(piece) = body.data().await {
            let piece = piece.map_err(io::Error::other)?;
            length += piece.len();
            let released = body.flow_control().release_capacity(piece.len());
            released.map_err(io::Error::other)?;
        }
        let is_whole = match self.kind {
            Kind::Get => length == BODY.len(),
            Kind::Grpc => {
                let trailers = body.trailers().await.map_err(io::Error::other)?;
                let result = trailers.and_then(|trailers| trailers.get("grpc-status").cloned());
                length == grpc::message().len() && result.is_some_and(|result| result == "0")
            }
        };
        match status.as_u16() == 200 && is_whole {
            true => Ok(()),
            false => Err(io::Error::other(format!("status {status}, {length} bytes"))),
        }
    }
}
