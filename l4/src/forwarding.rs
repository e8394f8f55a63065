//! Tells the kernel what it is to forward, and goes on to tell it what has changed.
//!
//! A health change, a reload or a new share is a new list of services; the kernel has the list of whichever process
//! was the last to tell it, also when that has died.

use std::slice;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chassis::config::Diagnostic;
use chassis::telemetry::{counter, family};
use prometheus::proto::{MetricFamily, MetricType};
use tokio::sync::Notify;

use crate::config::Mode;
use crate::forward::Service;
use crate::nat::{self, Loads, Nat};
use crate::serve::Shared;
use crate::state::State;

/// What the kernel was told.
#[derive(Debug, Default)]
pub(crate) struct Forwarding {
    told: Mutex<Told>,
    /// Told when there may be something new.
    pub(crate) changed: Notify,
}

#[derive(Debug, Default)]
struct Told {
    nat: Option<Nat>,
    loads: Loads,
    tended: Option<Instant>,
    /// Somebody else tells the kernel now.
    left: bool,
}

/// Between two looks at whether the rules are still there.
const TEND: Duration = Duration::from_secs(2);

/// After a failure.
const AGAIN: Duration = Duration::from_secs(1);

impl Forwarding {
    /// Whether this machine can do it, without a change to it.
    ///
    /// # Errors
    /// The reason, at the first listener that the kernel is to serve.
    pub(crate) async fn check(state: &State) -> Result<(), Diagnostic> {
        let services = state.services(Mode::Nat);
        if services.is_empty() {
            return Ok(());
        }
        let config = state.nat.clone();
        let judge = move || {
            let whole = nat::check(&config, &services);
            whole.map_err(|error| {
                let fails = |one: &&Service| nat::check(&config, slice::from_ref(*one)).is_err();
                let culprit = services.iter().find(fails).unwrap_or(&services[0]);
                (culprit.name.clone(), error)
            })
        };
        blocking(judge).await.map_err(|(name, error)| {
            let mut listeners = state.listeners.iter();
            let place = listeners.find(|one| one.name == name).map(|one| one.place);
            let wrong = Diagnostic::new(place.unwrap_or_default(), error.to_string());
            match error.help() {
                Some(help) => wrong.help(help),
                None => wrong,
            }
        })
    }

    /// Tells the kernel what the state says that serves, if it does not know it yet.
    ///
    /// # Errors
    /// When it refuses; what it was told before is in force then.
    pub(crate) async fn tell(shared: &Arc<Shared>) -> Result<(), nat::Error> {
        let shared = shared.clone();
        let tell = move || {
            let mut told = shared.forwarding.lock();
            // Looked up when it is this one's turn: an earlier state would undo what a later one has told.
            told.tell(&shared.state.load())
        };
        blocking(tell).await
    }

    /// Tells the kernel nothing more: a successor does.
    pub(crate) async fn leave(self: &Arc<Self>) {
        let this = self.clone();
        blocking(move || this.lock().left = true).await;
    }

    /// Ends what the kernel does, unless it is to go on.
    pub(crate) async fn stop(self: &Arc<Self>) {
        let this = self.clone();
        let stop = move || {
            let mut told = this.lock();
            let nat = told.nat.take().filter(|_| !told.left);
            told.left = true;
            nat.map_or(Ok(()), Nat::stop)
        };
        if let Err(error) = blocking(stop).await {
            tracing::error!(%error, "the kernel forwards on");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Told> {
        // Whatever panicked with it: rules are changed at one stroke, and looked at again.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    fn tell(&mut self, state: &State) -> Result<(), nat::Error> {
        let services = state.services(Mode::Nat);
        if self.left {
            return Ok(());
        }
        if services.is_empty() {
            if let Some(nat) = &mut self.nat {
                nat.remove()?;
            }
            self.nat = None;
            return Ok(());
        }
        let nat = match &mut self.nat {
            Some(nat) => nat,
            none => none.insert(Nat::new(state.nat.clone())?),
        };
        if *nat.config() != state.nat {
            nat.reconfigure(state.nat.clone())?;
        }
        let outcome = if !nat.forwards(&services) {
            nat.apply(&services)
        } else if self.tended.is_none_or(|tended| tended.elapsed() >= TEND) {
            self.tended = Some(Instant::now());
            nat.tend().map(|missing| {
                if missing {
                    tracing::warn!(
                        "somebody else has removed the kernel's rules: they are there again"
                    );
                }
            })
        } else {
            Ok(())
        };
        self.loads = nat.loads();
        outcome
    }
}

/// Tells the kernel whatever changes from now on.
pub(crate) async fn follow(shared: Arc<Shared>) {
    loop {
        shared.forwarding.changed.notified().await;
        if let Err(error) = Forwarding::tell(&shared).await {
            tracing::error!(%error, "the kernel does not follow");
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// What the kernel has forwarded, for Prometheus.
pub(crate) fn families(shared: &Shared) -> Vec<MetricFamily> {
    let state = shared.state.load();
    let services = state.services(Mode::Nat);
    if services.is_empty() {
        return Vec::new();
    }
    let traffic = nat::traffic(&state.nat, &services).unwrap_or_default();
    let (mut flows, mut packets, mut octets) = (Vec::new(), Vec::new(), Vec::new());
    for one in &traffic {
        let endpoint = one.endpoint.to_string();
        let labels = [("listener", &*one.service), ("endpoint", &endpoint)];
        flows.push(counter(&labels, one.flows));
        for (direction, count) in [("up", one.received), ("down", one.sent)] {
            let labels = [labels[0], labels[1], ("direction", direction)];
            packets.push(counter(&labels, count.0));
            octets.push(counter(&labels, count.1));
        }
    }
    let loads = shared.forwarding.lock().loads;
    let loads = [("whole", loads.whole), ("changes", loads.changes)];
    let loads = loads.map(|(what, count)| counter(&[("what", what)], count));
    let count = |name: &str, help: &str, values| family(name, help, MetricType::COUNTER, values);
    vec![
        count(
            "tidegate_l4_forwarded_flows_total",
            "Flows that the kernel has given to endpoints",
            flows,
        ),
        count(
            "tidegate_l4_forwarded_packets_total",
            "Packets that the kernel has forwarded from clients (up) and to clients (down)",
            packets,
        ),
        count(
            "tidegate_l4_forwarded_octets_total",
            "Octets, with the headers of IP, that the kernel has forwarded from clients (up) and to clients (down)",
            octets,
        ),
        count(
            "tidegate_l4_rule_loads_total",
            "Times that this process has given the kernel all rules (whole) or those that differ (changes)",
            loads.into(),
        ),
    ]
}

/// Off the threads that others wait on.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
