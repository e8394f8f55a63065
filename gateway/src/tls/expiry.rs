//! When certificates expire: warned of in time, every day.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;

use super::source::Source;
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

/// Something that somebody has to look at.
#[derive(Debug)]
pub(crate) struct Warning {
    listener: Arc<str>,
    /// Whose certificate; empty when it is none.
    name: Box<str>,
    file: PathBuf,
    what: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, what) = (self.file.display(), &self.what);
        write!(f, "listener `{}`: {file}: {what}", self.listener)
    }
}

/// Everything of a state that is too old, or soon will be.
pub(crate) fn warnings(state: &State, now: SystemTime) -> Vec<Warning> {
    let listeners = state.listeners.iter();
    let with_tls = listeners.filter_map(|one| Some((&one.name, &one.tls.as_ref()?.dates)));
    let warnings = with_tls.flat_map(|(listener, dates)| warnings_of(listener, dates, now));
    warnings.collect()
}

/// Tells the log.
pub(crate) fn warn(state: &State) {
    for warning in warnings(state, SystemTime::now()) {
        let Warning {
            listener,
            name,
            file,
            what,
        } = warning;
        tracing::warn!(listener = &*listener, name = &*name, file = %file.display(), "{what}");
    }
}

/// Warns every day from tomorrow on.
pub(crate) async fn warn_daily(state: Arc<ArcSwapOption<State>>) {
    loop {
        tokio::time::sleep(DAY).await;
        if let Some(state) = state.load_full() {
            warn(&state);
        }
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn warnings_of(listener: &Arc<str>, dates: &Dates, now: SystemTime) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |name: &str, file: &Path, what: String| {
        warnings.push(Warning {
            listener: listener.clone(),
            name: name.into(),
            file: file.into(),
            what,
        });
    };
    for (file, source) in &dates.certificates {
        let Some(certificate) = source.certificate() else {
            continue;
        };
        let name = &*certificate.title;
        let limit = dates.warn_before.min(certificate.lifetime() / 3);
        match age(certificate.not_before, certificate.not_after, limit, now) {
            Age::Fresh => {}
            Age::Old(left) => {
                let hours = left.as_secs() / 3600;
                warn(
                    name,
                    file,
                    format!("the certificate expires in {hours} hours"),
                );
            }
            Age::Expired => warn(name, file, "the certificate has expired".into()),
            Age::NotYetValid => warn(name, file, "the certificate is not valid yet".into()),
        }
        if certificate.ocsp_until.is_some_and(|until| until <= now) {
            warn(name, file, "its OCSP response is out of date".into());
        }
    }
    for (file, until) in &dates.lists {
        if *until <= now {
            let refused = "the revocation list is out of date: who it is about is refused";
            warn("", file, refused.into());
        }
    }
    warnings
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
