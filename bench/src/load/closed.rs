//! The closed loop: each connection sends when the one before is answered.

use std::cell::RefCell;
use std::io;
use std::time::{Duration, Instant};

use super::crew::drive;
use super::exchange::Connection;
use super::{Requests, Sample, Target};
use crate::error::Error;

/// Whether a connection carries more than one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Reuse {
    /// As many as there is time for.
    KeepAlive,
    /// One, after which the proxy closes.
    Never,
    /// One, after which the client closes.
    ClientCloses,
    /// Messages that come back, after one request to upgrade.
    Tunnel,
}

/// A closed loop.
#[derive(Clone, Debug)]
pub(crate) struct Closed {
    /// How many connections there are at a time.
    pub(crate) connections: usize,
    /// What they send.
    pub(crate) requests: Requests,
    /// How many requests a connection carries.
    pub(crate) reuse: Reuse,
    /// What comes back through a tunnel.
    pub(crate) message: Vec<u8>,
}

impl Closed {
    /// Keep-alive connections that send these requests.
    pub(crate) fn new(connections: usize, requests: Requests) -> Self {
        Self {
            connections,
            requests,
            reuse: Reuse::KeepAlive,
            message: Vec::new(),
        }
    }

    /// The same, with connections used otherwise.
    pub(crate) fn reuse(self, reuse: Reuse) -> Self {
        Self { reuse, ..self }
    }

    /// Drives it for so long.
    pub(crate) fn run(&self, target: &Target, time: Duration) -> Result<Sample, Error> {
        let end = Instant::now() + time;
        drive(self.connections, time, |share, local, sample| {
            for number in share.connections(self.connections) {
                let (this, target, sample) = (self.clone(), target.of_one_client(), sample.clone());
                local.spawn_local(async move {
                    this.connections(&target, number, end, &sample).await;
                });
            }
        })
    }

    /// One connection after the other, until the time is up.
    async fn connections(
        &self,
        target: &Target,
        number: usize,
        end: Instant,
        sample: &RefCell<Sample>,
    ) {
        let mut turn = number;
        while Instant::now() < end {
            if let Err(error) = self.connection(target, &mut turn, end, sample).await {
                sample.borrow_mut().failed(error.to_string());
                tokio::time::sleep(Duration::from_millis(1)).await; // who refuses is not flooded
            }
        }
    }

    async fn connection(
        &self,
        target: &Target,
        turn: &mut usize,
        end: Instant,
        sample: &RefCell<Sample>,
    ) -> io::Result<()> {
        let mut sent = Instant::now(); // a connection's first request waits for it
        let mut connection = Connection::open(target).await?;
        sample.borrow_mut().resumed += u64::from(connection.is_resumed());
        if self.reuse == Reuse::Tunnel {
            let answer = connection.exchange(self.requests.at(0)).await?;
            expect(answer.status, 101)?;
        }
        loop {
            let mut closes = false;
            if self.reuse == Reuse::Tunnel {
                sent = Instant::now();
                connection.echo(&self.message).await?;
            } else {
                let answer = connection.exchange(self.requests.at(*turn)).await?;
                expect(answer.status, 200)?;
                closes = answer.closes;
            }
            sample.borrow_mut().answered(sent.elapsed());
            *turn += self.connections;
            match self.reuse {
                Reuse::Never => return connection.closed().await,
                Reuse::ClientCloses => return Ok(()),
                _ if closes || Instant::now() >= end => return Ok(()),
                _ => sent = Instant::now(),
            }
        }
    }
}

fn expect(status: u16, wanted: u16) -> io::Result<()> {
    match status == wanted {
        true => Ok(()),
        false => Err(io::Error::other(format!("status {status}"))),
    }
}
