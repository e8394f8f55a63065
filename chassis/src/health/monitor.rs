//! Runs checks, each for everybody who looks after the same address in the same way.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::check::Check;
use super::probe::Failed;
use super::{Judgement, keep_checking};

/// What is checked: an address, and by the check of which name. Whoever needs both shares the outcomes.
pub type Target = (SocketAddr, String);

/// The checks that run. They end with it.
pub struct Monitor {
    running: Mutex<Findings>,
    /// How many checks have no outcome yet.
    waiting: watch::Sender<usize>,
    changed: Box<dyn Fn(&Target) + Send + Sync>,
    began: Instant,
}

/// The checks that run, and what they have found.
#[derive(Debug, Default)]
pub struct Findings {
    running: BTreeMap<Target, Running>,
    /// How many checks were ever begun.
    begun: u64,
}

/// A check that runs.
#[derive(Debug)]
struct Running {
    check: Check,
    /// No other check had it.
    number: u64,
    judgement: Judgement,
    heard: bool,
    finding: Finding,
    task: AbortHandle,
}

/// What a check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// Whether it is well; none while that is not known.
    pub verdict: Option<bool>,
    /// Why the last outcome was bad, if it was.
    pub why: Option<Arc<str>>,
    /// When it last went down after it was up, in milliseconds since the monitor began.
    pub down_at: Option<u64>,
    /// Outcomes that were good.
    pub passed: u64,
    /// Outcomes that were bad.
    pub failed: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Findings {
    /// What was found; none of what is not checked.
    pub fn of(&self, target: &Target) -> Option<&Finding> {
        Some(&self.running.get(target)?.finding)
    }
}

impl Monitor {
    /// Begins with nothing to check. `changed` is told each new verdict, before [`Self::settled`] counts it.
    pub fn new(changed: impl Fn(&Target) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            running: Mutex::default(),
            waiting: watch::Sender::new(0),
            changed: Box::new(changed),
            began: Instant::now(),
        })
    }

    /// Checks these from now on, within the runtime of the caller. What was checked in the same way before goes on with what
    /// is known, other checks end or begin.
    pub fn apply(self: &Arc<Self>, targets: &BTreeMap<Target, Check>) {
        let mut findings = self.lock();
        findings
            .running
            .retain(|target, running| targets.get(target) == Some(&running.check));
        for (target, check) in targets {
            if !findings.running.contains_key(target) {
                findings.begun += 1;
                let running = self.begin(target, check, findings.begun);
                findings.running.insert(target.clone(), running);
            }
        }
        self.count_waiting(&findings);
    }

    /// Waits until each check has had an outcome, at most so long. Whether all had.
    pub async fn settled(&self, limit: Duration) -> bool {
        let mut waiting = self.waiting.subscribe();
        let all = waiting.wait_for(|waiting| *waiting == 0);
        tokio::time::timeout(limit, all).await.is_ok()
    }

    /// Looks at what was found. Outcomes wait meanwhile.
    pub fn look<R>(&self, look: impl FnOnce(&Findings) -> R) -> R {
        look(&self.lock())
    }

    fn begin(self: &Arc<Self>, target: &Target, check: &Check, number: u64) -> Running {
        let monitor = Arc::downgrade(self);
        let (of, checking) = (target.clone(), check.clone());
        let task = tokio::spawn(async move {
            let Check {
                probe,
                interval,
                timeout,
                ..
            } = &checking;
            let hear = |outcome, now| {
                if let Some(monitor) = monitor.upgrade() {
                    monitor.hear(&of, number, outcome, now);
                }
            };
            keep_checking(probe, of.0, *interval, *timeout, hear).await;
        });
        let judgement = check.judgement();
        Running {
            finding: Finding {
                verdict: judgement.verdict(),
                ..Finding::default()
            },
            judgement,
            check: check.clone(),
            number,
            heard: false,
            task: task.abort_handle(),
        }
    }

    fn hear(&self, target: &Target, number: u64, outcome: Result<(), Failed>, now: Instant) {
        let mut findings = self.lock();
        // One that was replaced or removed meanwhile is not heard any more.
        let running = findings
            .running
            .get_mut(target)
            .filter(|running| running.number == number);
        let Some(running) = running else {
            return;
        };
        let changed = running.hear(outcome, now, self.began);
        if let Some(up) = changed {
            tell(target, up, running.finding.why.as_deref());
        }
        let first = !running.heard;
        drop(findings);
        if changed.is_some() {
            (self.changed)(target);
        }
        if first {
            // Not before: another check that is heard meanwhile counts this one too.
            let mut findings = self.lock();
            let running = findings.running.get_mut(target);
            if let Some(running) = running.filter(|running| running.number == number) {
                running.heard = true;
            }
            self.count_waiting(&findings);
        }
    }

    fn count_waiting(&self, findings: &Findings) {
        let waiting = findings.running.values().filter(|running| !running.heard);
        self.waiting.send_replace(waiting.count());
    }

    fn lock(&self) -> MutexGuard<'_, Findings> {
        // Whatever panicked with it has changed single values only.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// Takes an outcome; some when the verdict is new.
    fn hear(&mut self, outcome: Result<(), Failed>, now: Instant, began: Instant) -> Option<bool> {
        let good = outcome.is_ok();
        let finding = &mut self.finding;
        match good {
            true => finding.passed += 1,
            false => finding.failed += 1,
        }
        finding.why = outcome.err().map(|failed| failed.why.into());
        let changed = self.judgement.hear(good, now, &self.check.thresholds);
        if changed == Some(false) && finding.verdict == Some(true) {
            let since = now.saturating_duration_since(began).as_millis();
            finding.down_at = Some(u64::try_from(since).unwrap_or(u64::MAX));
        }
        finding.verdict = self.judgement.verdict();
        changed
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor")
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

fn tell((address, check): &Target, up: bool, why: Option<&str>) {
    match up {
        true => tracing::info!(%address, check, up, "health"),
        false => tracing::warn!(%address, check, up, why = why.unwrap_or_default(), "health"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::health::Thresholds;
    use crate::health::check::{Check, Start};
    use crate::health::probe::Probe;

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn a_check_has_its_outcome_once_everybody_knows_it() {
        let check = Check {
            probe: Probe::Tcp,
            port: None,
            usual: None,
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(5),
            thresholds: Thresholds {
                rise: 1,
                fall: 1,
                damping: None,
            },
            start: Start::Unknown,
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let target = |name: &str| (address, name.to_owned());
        let (told, hears) = mpsc::channel();
        let (release, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let monitor = Monitor::new(move |target: &Target| {
            told.send(target.1.clone()).unwrap();
            if target.1 == "slow" {
                wait.lock().unwrap().recv().unwrap();
            }
        });
        let mut targets = BTreeMap::from([(target("slow"), check.clone())]);
        monitor.apply(&targets);
        let heard = tokio::task::spawn_blocking(move || (hears.recv().unwrap(), hears));
        let (first, hears) = heard.await.unwrap();
        targets.insert(target("fast"), check);
        monitor.apply(&targets);
        let second = tokio::task::spawn_blocking(move || hears.recv().unwrap());
        assert_eq!((&*first, &*second.await.unwrap()), ("slow", "fast"));
        assert!(!monitor.settled(Duration::from_millis(200)).await);
        release.send(()).unwrap();
        assert!(monitor.settled(Duration::from_secs(5)).await);
    }
}
