//! A closed loop of clients that make each request from what they were answered before.

use std::cell::RefCell;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::crew::drive;
use super::exchange::Connection;
use super::{Requests, Sample, Target};
use crate::error::Error;

/// What one client says next, and what it makes of the answer.
pub(crate) trait Speaker: Send + 'static {
    /// The next request.
    fn request(&mut self) -> Requests;

    /// The answer to it; an error when that is not what was wanted.
    fn answered(&mut self, status: u16, body: &[u8]) -> io::Result<()>;
}

/// Clients, each on a connection of its own. They go on in one round where they stopped in the one before.
#[derive(Debug)]
pub(crate) struct Dialogue<S>(Vec<Arc<Mutex<S>>>);

impl<S: Speaker> Dialogue<S> {
    /// Of these clients.
    pub(crate) fn new(speakers: impl IntoIterator<Item = S>) -> Self {
        let speakers = speakers
            .into_iter()
            .map(|speaker| Mutex::new(speaker).into());
        Self(speakers.collect())
    }

    /// Drives it for so long.
    pub(crate) fn run(&self, target: &Target, time: Duration) -> Result<Sample, Error> {
        let end = Instant::now() + time;
        drive(self.0.len(), time, |share, local, sample| {
            for number in share.connections(self.0.len()) {
                let speaker = self.0[number].clone();
                let (target, sample) = (target.of_one_client(), sample.clone());
                local.spawn_local(async move {
                    while Instant::now() < end {
                        if let Err(error) = speak(&target, &speaker, end, &sample).await {
                            sample.borrow_mut().failed(error.to_string());
                            tokio::time::sleep(Duration::from_millis(1)).await; // who refuses is not flooded
                        }
                    }
                });
            }
        })
    }
}

async fn speak(
    target: &Target,
    speaker: &Mutex<impl Speaker>,
    end: Instant,
    sample: &RefCell<Sample>,
) -> io::Result<()> {
    let lock = || speaker.lock().unwrap_or_else(PoisonError::into_inner);
    let mut sent = Instant::now(); // a connection's first request waits for it
    let mut connection = Connection::open(target).await?;
    let mut body = Vec::new();
    loop {
        let request = lock().request();
        body.clear();
        let answer = connection.exchange_seeing(request.at(0), |piece| body.extend(piece));
        let answer = answer.await?;
        lock().answered(answer.status, &body)?;
        sample.borrow_mut().answered(sent.elapsed());
        if answer.closes || Instant::now() >= end {
            return Ok(());
        }
        sent = Instant::now();
    }
}
