//! A closed loop over HTTP/2: some connections with TLS, each with several requests under way.

use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::task::{JoinSet, spawn_local};

use super::crew::{Shared, drive};
use super::exchange::Connection;
use super::{Sample, Target};
use crate::error::Error;

/// A closed loop over HTTP/2.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Http2 {
    /// How many connections there are.
    pub(crate) connections: usize,
    /// Requests that are under way on each.
    pub(crate) streams: usize,
}

impl Http2 {
    /// Drives it for so long.
    pub(crate) fn run(self, target: &Target, time: Duration) -> Result<Sample, Error> {
        let end = Instant::now() + time;
        drive(self.connections, |share, local, sample| {
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
                    let answered = exchange(client.clone()).await;
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

/// One request, and its whole answer.
async fn exchange(client: SendRequest<Bytes>) -> io::Result<()> {
    let request = Request::get("https://bench.test/").header("user-agent", "tidegate-bench");
    let request = request.body(()).map_err(io::Error::other)?;
    let mut client = client.ready().await.map_err(io::Error::other)?;
    let (answer, _) = client
        .send_request(request, true)
        .map_err(io::Error::other)?;
    let answer = answer.await.map_err(io::Error::other)?;
    if answer.status() != 200 {
        return Err(io::Error::other(format!("status {}", answer.status())));
    }
    let mut body = answer.into_body();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(io::Error::other)?;
        let released = body.flow_control().release_capacity(piece.len());
        released.map_err(io::Error::other)?;
    }
    Ok(())
}
