//! All cases of a file, played in every way.
//!
//! Each case is played alone first, so that what the upstream saw is this case's. Then those
//! that went well are played again, many at once: dripped byte by byte, split in two
//! at every place, and, when they are refused, with much more behind.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::case::{self, Case, End};
use super::judge;
use super::message::Wrong;
use super::play::{Manner, play};
use super::recorder::{Recorder, Seen};
use crate::binary;
use crate::eventually::eventually;
use crate::gateway::{Gateway, Keys};

/// Plays the file `tests/http1/NAME.txt`, with the gateway's relay and without: both must answer the same.
///
/// # Panics
/// When something is not as it should be, after all was played.
pub async fn check(name: &str) {
    let file = folder().join(name).with_extension("txt");
    let mut groups: BTreeMap<String, Vec<Case>> = BTreeMap::new();
    for case in case::read(&file) {
        groups.entry(case.listener.clone()).or_default().push(case);
    }
    for carrier in ["relay", "Pingora"] {
        let mut report = Report::default();
        for (keys, cases) in &groups {
            report.cases += cases.len();
            match Setup::start(keys, carrier == "relay").await {
                Ok(setup) => setup.play_all(cases.clone(), &mut report).await,
                Err(wrong) => cases
                    .iter()
                    .for_each(|case| report.add(case, "", std::slice::from_ref(&wrong))),
            }
        }
        report.tell(name, carrier);
    }
}

/// The folder of the files.
pub fn folder() -> std::path::PathBuf {
    binary::repository().join("tests/http1")
}

/// A gateway in front of a recorder.
struct Setup {
    gateway: Gateway,
    recorder: Recorder,
    address: SocketAddr,
}

/// Everything that went wrong.
#[derive(Default)]
struct Report {
    cases: usize,
    conversations: usize,
    /// By the line of the case; 0 is none.
    failed: BTreeMap<usize, String>,
}

/// Longer cases are not played byte by byte: they are about limits.
const LONGEST: usize = 700;

/// How many conversations there are at once.
const CROWD: usize = 48;

/// How long a request may take to reach the upstream though its client has its answer.
const SETTLE: Duration = Duration::from_millis(3);

impl Setup {
    /// Starts both; if the listener cannot have these keys, what is wrong with them.
    async fn start(keys: &str, relay: bool) -> Result<Self, Wrong> {
        let recorder = Recorder::start().await;
        let listener = keys.replace("; ", "\n");
        let cluster = format!("relay = {relay}");
        let keys = Keys {
            listener: &listener,
            cluster: &cluster,
            ..Keys::default()
        };
        let configuration = keys.before(&recorder.address.to_string());
        check_configuration(&configuration)?;
        let gateway = Gateway::with(&configuration).await;
        let address = gateway.listener("http");
        Ok(Self {
            gateway,
            recorder,
            address,
        })
    }

    async fn play_all(self, cases: Vec<Case>, report: &mut Report) {
        let mut good = Vec::new();
        for case in cases {
            match self.alone(&case).await {
                wrong if wrong.is_empty() => good.push(case),
                wrong => report.add(&case, "", &wrong),
            }
            report.conversations += 1;
        }
        // A body that its client breaks off is refused too, though nobody may be there to hear it.
        let broken_off =
            |case: &&Case| case.end == End::Gone && case.seen.iter().any(|sight| sight.cut);
        let refused = good
            .iter()
            .filter(|case| case.is_refused() || broken_off(case))
            .count();
        let counted = self.refusals().await;
        if report.failed.is_empty() && counted != refused {
            let what = format!("{refused} refusals, and the metric counts {counted}\n");
            report.failed.insert(0, what);
        }
        self.many(good, report).await;
    }

    /// Plays a case while nothing else happens.
    async fn alone(&self, case: &Case) -> Vec<String> {
        self.recorder.forget();
        let outcome = play(self.address, case, Manner::AtOnce).await;
        let mut wrong = judge::client_side(case, &outcome);
        tokio::time::sleep(SETTLE).await;
        let mut seen = self.settled().await;
        if case.end == End::Open && outcome.wrong.is_none() {
            seen.pop(); // the request that showed that the connection is open
        }
        wrong.extend(judge::upstream_side(case, &seen));
        wrong
    }

    /// What the upstream saw, once nothing of it is under way.
    async fn settled(&self) -> Vec<Seen> {
        let settled = async || {
            let seen = self.recorder.seen();
            seen.iter().all(Seen::is_settled).then_some(seen)
        };
        let patience = Duration::from_secs(2);
        let wait = eventually("every request ends", patience * 2, settled);
        let seen = tokio::time::timeout(patience, wait).await;
        seen.unwrap_or_else(|_| self.recorder.seen())
    }

    /// Plays cases in all other ways, many at once.
    async fn many(&self, cases: Vec<Case>, report: &mut Report) {
        self.recorder.forget();
        let failed = report.failed.len();
        let mut expected = 0..=0;
        let mut playing = JoinSet::new();
        for case in cases.into_iter().map(Arc::new) {
            for manner in manners(&case) {
                if playing.len() >= CROWD {
                    report.collect(playing.join_next().await);
                }
                let (least, most) = requests(&case);
                expected = expected.start() + least..=expected.end() + most;
                let (case, address) = (case.clone(), self.address);
                playing.spawn(async move {
                    let outcome = play(address, &case, manner).await;
                    let wrong = judge::client_side(&case, &outcome);
                    (case, manner, wrong)
                });
            }
        }
        while let Some(played) = playing.join_next().await {
            report.collect(Some(played));
        }
        let seen = self.recorder.forget();
        if report.failed.len() == failed && !expected.contains(&seen) {
            let what = format!("{expected:?} requests should pass, and the upstream saw {seen}\n");
            report.failed.insert(0, what);
        }
    }

    /// How many requests the gateway says that it has refused.
    async fn refusals(&self) -> usize {
        let text = self.gateway.admin.get("/metrics").await.text();
        let series = text
            .lines()
            .filter(|line| line.starts_with("tidegate_gateway_refused_total{"));
        let values = series.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
        values.sum()
    }
}

/// What `tidegate check` has against a configuration.
fn check_configuration(text: &str) -> Result<(), Wrong> {
    let folder = tempfile::tempdir().expect("temporary folders can be made");
    let file = folder.path().join("gateway.toml");
    std::fs::write(file, text).expect("files can be written in a new folder");
    let output = binary::run(folder.path(), &["check", "gateway.toml"]);
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// The least and the most requests of a case that the upstream sees.
fn requests(case: &Case) -> (usize, usize) {
    let most = case.seen.len() + usize::from(case.end == End::Open);
    let cut = case.seen.iter().filter(|sight| sight.cut).count();
    (most - cut, most)
}

/// The ways to play a case again.
fn manners(case: &Case) -> Vec<Manner> {
    let one_turn = case.steps.iter().filter(|step| !step.is_empty()).count() == 1;
    let mut manners = Vec::new();
    if case.bytes() <= LONGEST {
        manners.push(Manner::Dripped);
        let first = case.steps.first().map_or(0, case::Step::len);
        let splits = (1..first).filter(|_| !case.is_refused());
        manners.extend(splits.map(Manner::Split));
    }
    if case.is_refused() && one_turn && !case.finishes() {
        manners.push(Manner::WithMoreBehind);
    }
    manners
}

type Played = (Arc<Case>, Manner, Vec<String>);

impl Report {
    fn collect(&mut self, played: Option<Result<Played, tokio::task::JoinError>>) {
        if let Some(Ok((case, manner, wrong))) = played {
            self.conversations += 1;
            if !wrong.is_empty() {
                self.add(&case, &format!(", {manner:?}"), &wrong);
            }
        }
    }

    /// Notes what went wrong; of the ways to play a case the first is enough.
    fn add(&mut self, case: &Case, manner: &str, wrong: &[String]) {
        let entry = self.failed.entry(case.line);
        entry.or_insert_with(|| {
            let mut text = format!("{}{manner}\n", case.name);
            for what in wrong {
                let _ = writeln!(text, "    {what}");
            }
            text
        });
    }

    fn tell(&self, theme: &str, carrier: &str) {
        let Self {
            cases,
            conversations,
            failed,
        } = self;
        println!("{theme} by {carrier}: {cases} cases, {conversations} conversations");
        let texts: Vec<String> = failed
            .iter()
            .map(|(line, text)| format!("{theme}.txt:{line} {text}"))
            .collect();
        assert!(
            failed.is_empty(),
            "{} of {cases} cases of {theme} went wrong by {carrier}\n{}",
            failed.len(),
            texts.concat()
        );
    }
}
