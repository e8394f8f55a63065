//! Rounds of load in turn, and what they show of each peer.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Options, Stage};
use crate::error::Error;
use crate::load::Sample;
use crate::machine::{Memory, Usage};
use crate::peer::{Behind, Running};

/// What one round showed of one peer.
#[derive(Debug)]
pub(crate) struct Round {
    /// What the load saw.
    pub(crate) sample: Sample,
    /// CPU time of the proxy, in microseconds.
    pub(crate) proxy: f64,
    /// Of the load.
    pub(crate) load: f64,
    /// Of what stands behind the peers.
    pub(crate) origin: f64,
}

/// All rounds of a peer.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Which.
    pub(crate) peer: &'static str,
    /// In the order in which they were run.
    pub(crate) rounds: Vec<Round>,
    /// After the last.
    pub(crate) memory: Memory,
}

/// The same for several stages, also those in turn: for figures of one peer that are compared with each other. The load is told the
/// stage's place.
pub(crate) fn rounds_in_turn(
    stages: &mut [Stage<'_>],
    load: impl Fn(usize, &Running, Duration) -> Result<Sample, Error>,
) -> Result<Vec<Vec<Measured>>, Error> {
    let Some(Options { time, rounds, .. }) = stages.first().map(|stage| &stage.context.options)
    else {
        return Ok(Vec::new());
    };
    for (number, stage) in stages.iter_mut().enumerate() {
        stage.each(|running| load(number, running, (*time).min(Duration::from_secs(1))))?;
    }
    let mut all: Vec<BTreeMap<&str, Vec<Round>>> = Vec::new();
    all.resize_with(stages.len(), BTreeMap::new);
    for _ in 0..*rounds {
        for (number, stage) in stages.iter_mut().enumerate() {
            let done = stage.each_beside(|behind, running| {
                Round::run(behind, running, || load(number, running, *time))
            })?;
            for (peer, round) in done {
                all[number].entry(peer).or_default().push(round);
            }
        }
    }
    let finish = |(stage, mut all): (&mut Stage<'_>, BTreeMap<&str, Vec<Round>>)| {
        stage.each(Running::check_log)?;
        let measured = stage.running.iter().map(|running| Measured {
            peer: running.peer.name,
            rounds: all.remove(running.peer.name).unwrap_or_default(),
            memory: running.memory(),
        });
        Ok(measured.collect())
    };
    stages.iter_mut().zip(all).map(finish).collect()
}

impl Measured {
    /// CPU time of the proxy for a request in each round, in microseconds.
    pub(crate) fn cpu(&self) -> Vec<f64> {
        let cpu = |round: &Round| round.proxy / round.sample.requests as f64;
        self.rounds.iter().map(cpu).collect()
    }
}

impl Round {
    fn run(
        behind: &Behind,
        running: &Running,
        load: impl FnOnce() -> Result<Sample, Error>,
    ) -> Result<Self, Error> {
        let usage = || [running.usage(), Usage::of_this_process(), behind.usage()];
        let before = usage();
        let sample = load()?;
        let after = usage();
        if sample.requests == 0 {
            let error = sample.error.as_deref().unwrap_or("no answer in time");
            return Err(running.failed(&format!("no request succeeds: {error}")));
        }
        let [proxy, load, origin] = [0, 1, 2].map(|at| (after[at] - before[at]).micros());
        Ok(Self {
            sample,
            proxy,
            load,
            origin,
        })
    }
}
