//! Asks for every target again and again, and keeps what is known over reloads.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;

use super::ask::Asker;
use super::compile::Resolving;
use super::place::{Known, Question};
use super::target::{Answer, Heard, Target};
use crate::learned::Learned;
use crate::wire::rtype::{A, AAAA};
use crate::zone::Name;

/// Questions at a time.
const AT_ONCE: usize = 64;

/// The targets of aliases that others know.
#[derive(Debug, Default)]
pub(crate) struct Aliases {
    targets: Mutex<BTreeMap<Question, Watched>>,
    /// How many targets have had no outcome yet.
    waiting: watch::Sender<usize>,
}

#[derive(Debug)]
struct Watched {
    target: Target,
    heard: bool,
    resolving: Arc<Resolving>,
    /// None for what was told by another process.
    task: Option<AbortHandle>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// What is known of a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TargetReport {
    /// Its name.
    pub(crate) name: String,
    /// `A` or `AAAA`.
    pub(crate) r#type: String,
    /// What is answered; none when nobody knows.
    pub(crate) addresses: Option<Vec<IpAddr>>,
    /// How long ago it was answered, in seconds.
    pub(crate) age: Option<u64>,
    /// How often it was not, since the start.
    pub(crate) failures: u64,
    /// Why it was not the last time.
    pub(crate) why: Option<String>,
}

impl Aliases {
    /// What is known now.
    pub(crate) fn known(&self) -> Known {
        let targets = self.lock();
        let known = targets.iter().filter_map(|(question, watched)| {
            let addresses = watched.target.addresses()?;
            Some((question.clone(), addresses.to_vec()))
        });
        known.collect()
    }

    /// Every target, for people and metrics.
    pub(crate) fn report(&self) -> Vec<TargetReport> {
        let now = Instant::now();
        let targets = self.lock();
        let reports = targets.iter().map(|((name, rtype), watched)| TargetReport {
            name: name.to_string(),
            r#type: crate::wire::rtype::name(*rtype),
            addresses: watched.target.addresses().map(<[IpAddr]>::to_vec),
            age: watched.target.age(now).map(|age| age.as_secs()),
            failures: watched.target.failures,
            why: watched.target.why.as_deref().map(str::to_owned),
        });
        reports.collect()
    }

    /// Takes over what another process knows, without asking for it.
    pub(crate) fn adopt(&self, reports: &[TargetReport], resolving: &Arc<Resolving>) {
        let mut targets = self.lock();
        for report in reports {
            let rtype = crate::wire::rtype::parse(&report.r#type);
            let (Some(name), Some(rtype)) = (Name::from_text(&report.name), rtype) else {
                continue;
            };
            let mut target = Target::default();
            if let Some(addresses) = &report.addresses {
                let (addresses, ttl) = (addresses.clone(), Duration::ZERO);
                target.hear(Ok(Answer { addresses, ttl }), Instant::now(), resolving);
            }
            let watched = Watched::new(target, resolving, None);
            targets.insert((name, rtype), watched);
        }
    }

    /// Waits until each target has had an outcome, at most so long. Whether all had.
    pub(crate) async fn settled(&self, limit: Duration) -> bool {
        let mut waiting = self.waiting.subscribe();
        let all = waiting.wait_for(|waiting| *waiting == 0);
        tokio::time::timeout(limit, all).await.is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Question, Watched>> {
        // Whatever panicked with it has changed single values only.
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an outcome; what follows from it, when the target is still wanted.
    fn hear(&self, question: &Question, outcome: Result<Answer, String>) -> Option<Heard> {
        let mut targets = self.lock();
        let watched = targets.get_mut(question)?;
        let resolving = watched.resolving.clone();
        let (was_well, why) = (
            watched.target.why.is_none(),
            outcome.as_ref().err().cloned(),
        );
        let heard = watched.target.hear(outcome, Instant::now(), &resolving);
        let (name, rtype) = (&question.0, crate::wire::rtype::name(question.1));
        match why {
            Some(why) if was_well => {
                tracing::warn!(%name, rtype, why, "the target of an alias is not known")
            }
            None if !was_well => {
                tracing::info!(%name, rtype, "the target of an alias is known again")
            }
            _ => {}
        }
        watched.heard = true;
        self.count(&targets);
        Some(heard)
    }

    fn count(&self, targets: &BTreeMap<Question, Watched>) {
        let waiting = targets.values().filter(|watched| !watched.heard);
        self.waiting.send_replace(waiting.count());
    }
}

impl Watched {
    fn new(target: Target, resolving: &Arc<Resolving>, task: Option<AbortHandle>) -> Self {
        Self {
            target,
            heard: false,
            resolving: resolving.clone(),
            task,
        }
    }
}

/// Asks for these names from now on, and for no others. What is known of them stays.
pub(crate) fn want(learned: &Arc<Learned>, names: &BTreeSet<Name>, resolving: &Arc<Resolving>) {
    let mut targets = learned.aliases.lock();
    let questions = names
        .iter()
        .flat_map(|name| [A, AAAA].map(|rtype| (name.clone(), rtype)));
    let questions: BTreeSet<Question> = questions.collect();
    targets.retain(|question, _| questions.contains(question));
    let asks = |watched: &Watched| *watched.resolving == **resolving && watched.task.is_some();
    let new: Vec<&Question> = questions
        .iter()
        .filter(|question| !targets.get(*question).is_some_and(asks))
        .collect();
    if !new.is_empty() {
        let asker = Asker::new(resolving).map_err(|error| error.to_string());
        let asker = Arc::new((asker, Semaphore::new(AT_ONCE)));
        for question in new {
            let task = tokio::spawn(keep_asking(
                Arc::downgrade(learned),
                question.clone(),
                asker.clone(),
            ));
            let task = Some(task.abort_handle());
            // What is known of it stays, also when it is asked for in another way.
            let before = targets.get_mut(question);
            let (heard, target) = before.map_or_else(Default::default, |watched| {
                (watched.heard, std::mem::take(&mut watched.target))
            });
            let mut watched = Watched::new(target, resolving, task);
            watched.heard = heard;
            targets.insert(question.clone(), watched);
        }
    }
    learned.aliases.count(&targets);
}

/// Who asks, or why nobody can; and how many may at a time.
type Asking = (Result<Asker, String>, Semaphore);

async fn keep_asking(learned: std::sync::Weak<Learned>, question: Question, asking: Arc<Asking>) {
    loop {
        let outcome = {
            let _turn = asking.1.acquire().await;
            match &asking.0 {
                Ok(asker) => asker.ask(&question.0, question.1).await,
                Err(why) => Err(why.clone()),
            }
        };
        let Some(learned) = learned.upgrade() else {
            return;
        };
        let Some(heard) = learned.aliases.hear(&question, outcome) else {
            return;
        };
        if heard.changed {
            learned.tell();
        }
        drop(learned);
        tokio::time::sleep(heard.again).await;
    }
}
