//! A row of a report: one peer in one case.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::figure::Figure;
use crate::machine::Memory;
use crate::peer::OURS;
use crate::stage::{Measured, Round};

/// What was measured of a peer in a case. What a suite does not measure is `null`.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Row {
    /// The suite.
    pub(crate) suite: &'static str,
    /// The case of the suite.
    pub(crate) case: String,
    /// The proxy.
    pub(crate) peer: &'static str,
    /// CPU time of all its processes for a request, in microseconds; the median of the rounds.
    pub(crate) cpu_us_per_request: Option<f64>,
    /// The least and the most of the rounds.
    pub(crate) cpu_us_range: Option<[f64; 2]>,
    /// Tidegate's CPU time over this peer's, taken in each round; the median.
    pub(crate) cpu_ratio: Option<f64>,
    /// The least and the most of the rounds.
    pub(crate) cpu_ratio_range: Option<[f64; 2]>,
    /// Requests a second.
    pub(crate) requests_per_second: Option<f64>,
    /// Latency that half of the requests had at most, in microseconds.
    pub(crate) p50_us: Option<f64>,
    /// That 99 of 100 had at most.
    pub(crate) p99_us: Option<f64>,
    /// That 999 of 1,000 had at most.
    pub(crate) p999_us: Option<f64>,
    /// Memory after the last round, what its processes share counted in each.
    pub(crate) rss_bytes: Option<u64>,
    /// The same, what they share counted once.
    pub(crate) pss_bytes: Option<u64>,
    /// Requests that failed, in all rounds.
    pub(crate) errors: u64,
    /// What the first of them was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// The share of its workers' time for which it was busy; below 0.9 or so, the load or the
    /// origin were the limit, and requests a second say little about the proxy.
    pub(crate) busy: Option<f64>,
    /// CPU time of the load and of the origin for a request, in microseconds.
    pub(crate) load_us_per_request: Option<f64>,
    /// See `load_us_per_request`.
    pub(crate) origin_us_per_request: Option<f64>,
    /// What only this suite measures.
    #[serde(flatten)]
    pub(crate) more: BTreeMap<&'static str, f64>,
}

impl Row {
    /// With nothing measured yet.
    pub(crate) fn new(suite: &'static str, case: &str, peer: &'static str) -> Self {
        Self {
            suite,
            case: case.to_owned(),
            peer,
            ..Self::default()
        }
    }

    /// The rows of a case, one a peer.
    pub(crate) fn of_case(
        suite: &'static str,
        case: &str,
        workers: usize,
        measured: &[Measured],
    ) -> Vec<Self> {
        let ours = measured.iter().find(|measured| measured.peer == OURS);
        let ours = ours.map(Measured::cpu).unwrap_or_default();
        let row = |measured: &Measured| {
            let mut row = Self::new(suite, case, measured.peer);
            row.rounds(measured, workers);
            row.ratio(Figure::of_ratios(&ours, &measured.cpu()));
            row.memory(measured.memory);
            row
        };
        measured.iter().map(row).collect()
    }

    /// What the case compares, and Tidegate's over this peer's: of CPU time, unless the suite has
    /// another figure.
    pub(crate) fn compared(&self) -> Option<(&'static str, f64)> {
        let other = |(name, what): (&str, &'static str)| Some((what, *self.more.get(name)?));
        let other = OTHERS.into_iter().find_map(other);
        other.or_else(|| Some(("CPU time", self.cpu_ratio?)))
    }

    fn ratio(&mut self, ratio: Option<Figure>) {
        self.cpu_ratio = ratio.map(|ratio| ratio.median);
        self.cpu_ratio_range = ratio.map(|ratio| [ratio.min, ratio.max]);
    }

    fn memory(&mut self, memory: Memory) {
        self.rss_bytes = Some(memory.rss);
        self.pss_bytes = Some(memory.pss);
    }

    fn rounds(&mut self, measured: &Measured, workers: usize) {
        let rounds = &measured.rounds;
        let median = |of: &dyn Fn(&Round) -> f64| {
            Figure::of(rounds.iter().map(of)).map(|figure| figure.median)
        };
        let requests = |round: &Round| round.sample.requests as f64;
        let seconds = |round: &Round| round.sample.time.as_secs_f64();
        let cpu = Figure::of(measured.cpu());
        self.cpu_us_per_request = cpu.map(|cpu| cpu.median);
        self.cpu_us_range = cpu.map(|cpu| [cpu.min, cpu.max]);
        self.requests_per_second = median(&|round| requests(round) / seconds(round));
        // A load that is not ours tells how many were answered, and not after how long.
        if rounds.iter().any(|round| !round.sample.latency.is_empty()) {
            self.p50_us = median(&|round| round.sample.micros(0.5));
            self.p99_us = median(&|round| round.sample.micros(0.99));
            self.p999_us = median(&|round| round.sample.micros(0.999));
        }
        self.busy = median(&|round| round.proxy / 1e6 / seconds(round) / workers as f64);
        self.load_us_per_request = median(&|round| round.load / requests(round));
        self.origin_us_per_request = median(&|round| round.origin / requests(round));
        self.errors = rounds.iter().map(|round| round.sample.errors).sum();
        self.error = rounds.iter().find_map(|round| round.sample.error.clone());
        if rounds.iter().any(|round| round.sample.resumed > 0) {
            let resumed = median(&|round| round.sample.resumed as f64 / requests(round));
            self.more
                .extend(resumed.map(|share| ("resumed_share", share)));
        }
    }
}

/// Ratios that stand for a case in place of that of CPU time, with what they compare.
const OTHERS: [(&str, &str); 2] = [("memory_ratio", "memory"), ("p999_ratio", "p99.9")];
