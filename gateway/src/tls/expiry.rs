//! When certificates expire: warned of in time, every day.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;

use super::resolver::Source;
use crate::state::State;

/// What of a listener grows old.
#[derive(Debug)]
pub(crate) struct Dates {
    /// Its certificates, each with its file.
    pub(crate) certificates: Vec<(PathBuf, Source)>,
    /// Revocation lists, and until when each holds.
    pub(crate) lists: Vec<(PathBuf, SystemTime)>,
    pub(crate) warn_before: Duration,
}

/// Something that will not hold any longer.
#[derive(Debug, PartialEq, Eq)]
enum Age {
    Fresh,
    /// Expires so soon that somebody has to look.
    Old(Duration),
    Expired,
    NotYetValid,
}

/// Warns of everything of a state that is too old, or soon will be.
pub(crate) fn warn(state: &State, now: SystemTime) {
    for listener in &state.listeners {
        if let Some(tls) = &listener.tls {
            warn_of(&listener.name, &tls.dates, now);
        }
    }
}

/// Warns every day from tomorrow on.
pub(crate) async fn warn_daily(state: Arc<ArcSwapOption<State>>) {
    loop {
        tokio::time::sleep(DAY).await;
        if let Some(state) = state.load_full() {
            warn(&state, SystemTime::now());
        }
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn warn_of(listener: &str, dates: &Dates, now: SystemTime) {
    for (file, source) in &dates.certificates {
        let Some(certificate) = source.certificate() else {
            continue;
        };
        let (name, file) = (&*certificate.title, file.display());
        let limit = dates.warn_before.min(certificate.lifetime() / 3);
        match age(certificate.not_before, certificate.not_after, limit, now) {
            Age::Fresh => {}
            Age::Old(left) => {
                let hours = left.as_secs() / 3600;
                tracing::warn!(listener, name, %file, hours, "a certificate expires soon");
            }
            Age::Expired => tracing::warn!(listener, name, %file, "a certificate has expired"),
            Age::NotYetValid => {
                tracing::warn!(listener, name, %file, "a certificate is not valid yet");
            }
        }
        if certificate.ocsp_until.is_some_and(|until| until <= now) {
            tracing::warn!(listener, name, "an OCSP response is out of date");
        }
    }
    for (file, until) in &dates.lists {
        if *until <= now {
            let file = file.display();
            tracing::warn!(
                listener, %file,
                "a revocation list is out of date: certificates of its authority are refused"
            );
        }
    }
}

fn age(from: SystemTime, until: SystemTime, limit: Duration, now: SystemTime) -> Age {
    match until.duration_since(now) {
        _ if now < from => Age::NotYetValid,
        Ok(left) if left.is_zero() => Age::Expired,
        Ok(left) if left < limit => Age::Old(left),
        Ok(_) => Age::Fresh,
        Err(_) => Age::Expired,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        let day = |day: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(day * 86_400);
        let limit = Duration::from_secs(14 * 86_400);
        let at = |now| age(day(10), day(100), limit, day(now));
        assert_eq!(at(9), Age::NotYetValid);
        assert_eq!(at(10), Age::Fresh);
        assert_eq!(at(86), Age::Fresh);
        assert_eq!(at(87), Age::Old(Duration::from_secs(13 * 86_400)));
        assert_eq!(at(100), Age::Expired);
        assert_eq!(at(101), Age::Expired);
    }
}
