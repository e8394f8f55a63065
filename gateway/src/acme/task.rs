//! What an issuer does in the background: waits until its certificate is due, and orders another.

use std::sync::Weak;
use std::time::{Duration, SystemTime};

use super::certificate::Issued;
use super::error::OrderError;
use super::issuer::Issuer;
use super::renewal::{self, Validity};
use super::{metrics, order};

/// Keeps an issuer's certificate from expiring, until the issuer is gone.
pub(super) async fn keep_fresh(issuer: Weak<Issuer>) {
    let mut progress = Progress::default();
    loop {
        let Some(issuer) = issuer.upgrade() else {
            return;
        };
        let pause = progress.step(&issuer).await;
        drop(issuer);
        tokio::time::sleep(pause).await;
    }
}

/// What is remembered from one attempt to the next.
#[derive(Default)]
struct Progress {
    /// In a row.
    failures: u32,
    suggested: Option<Suggested>,
    /// When this process got its last certificate.
    renewed_at: Option<SystemTime>,
}

/// When an authority wants a certificate to be replaced (RFC 9773).
struct Suggested {
    /// None when the authority does not say.
    renew_at: Option<SystemTime>,
    ask_again_at: SystemTime,
    /// The certificate that this is about.
    about: Validity,
}

impl Progress {
    /// Renews if that is due; how long to wait then.
    async fn step(&mut self, issuer: &Issuer) -> Duration {
        let now = SystemTime::now();
        let due = self.due(issuer, now).await;
        if let Some(left) = due.and_then(|due| due.duration_since(now).ok()) {
            return left.clamp(A_MOMENT, LOOK_AGAIN);
        }
        match renew(issuer, self.says_what_it_replaces()).await {
            Ok(()) => {
                self.failures = 0;
                self.renewed_at = Some(now);
                A_MOMENT
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                failed(issuer, &error, self.failures)
            }
        }
    }

    /// When the certificate is to be replaced, which the authority may want sooner than we; none
    /// when there is none.
    async fn due(&mut self, issuer: &Issuer, now: SystemTime) -> Option<SystemTime> {
        let current = issuer.current()?;
        let due = renewal::due(current.validity, issuer.authority.settings.renew_before);
        if due <= now {
            return Some(due);
        }
        let known = self.suggested.take();
        let known =
            known.filter(|known| known.about == current.validity && known.ask_again_at > now);
        let known = match known {
            Some(known) => known,
            None => Suggested::ask(issuer, &current, now).await,
        };
        let suggested = self.suggested.insert(known).renew_at;
        Some(renewal::sooner(due, suggested, self.renewed_at))
    }

    /// Whether an order says which certificate it replaces, for which authorities relax their
    /// limits. Not after a failure: they refuse to replace what they have replaced.
    fn says_what_it_replaces(&self) -> bool {
        let suggested = self.suggested.as_ref();
        self.failures == 0 && suggested.is_some_and(|known| known.renew_at.is_some())
    }
}

impl Suggested {
    async fn ask(issuer: &Issuer, current: &Issued, now: SystemTime) -> Self {
        let answer = async {
            let identifier = current.identifier.as_ref()?;
            let account = issuer.authority.account().await.ok()?;
            account.renewal_info(identifier).await.ok()
        };
        let answer = tokio::time::timeout(SUGGESTION_TIMEOUT, answer).await;
        let Some((info, again)) = answer.ok().flatten() else {
            return Self {
                renew_at: None,
                ask_again_at: now + ASK_AGAIN.1,
                about: current.validity,
            };
        };
        let window = Validity {
            not_before: info.suggested_window.start.into(),
            not_after: info.suggested_window.end.into(),
        };
        Self {
            renew_at: Some(renewal::within(window, rand::random())),
            ask_again_at: now + again.clamp(ASK_AGAIN.0, ASK_AGAIN.1),
            about: current.validity,
        }
    }
}

/// Gets a newer certificate, from storage if another process was faster.
async fn renew(issuer: &Issuer, says_what_it_replaces: bool) -> Result<(), OrderError> {
    let Issuer {
        authority, names, ..
    } = issuer;
    let _turn = authority.orders.acquire().await;
    let _lock = authority.lock(&issuer.file).await?;
    if let Some(newer) = issuer.newer_in_storage(SystemTime::now())? {
        tracing::info!(issuer = authority.name, %names, "another process has renewed");
        issuer.serve(newer);
        return Ok(());
    }
    let replaced = issuer.current().filter(|_| says_what_it_replaces);
    let replaced = replaced.and_then(|replaced| replaced.identifier.clone());
    let pem = match order::obtain(authority, names, replaced).await {
        // It was made anew, or has forgotten: so do we.
        Err(error) if error.is_unknown_account() => {
            authority.forget_account().await;
            order::obtain(authority, names, None).await?
        }
        outcome => outcome?,
    };
    let issued = Issued::from_pem(pem.as_bytes())?;
    if renewal::due(issued.validity, authority.settings.renew_before) <= SystemTime::now() {
        // To order the next at once would not help.
        let why = "it is old already: are the clocks right?";
        return Err(OrderError::Unusable(why.into()));
    }
    let stored = issuer.store(pem).await;
    issuer.serve(issued);
    metrics::count(&authority.name, "issued");
    tracing::info!(issuer = authority.name, %names, "a new certificate is served");
    if let Err(error) = stored {
        // It counts all the same: to order another would not make room on the disk.
        metrics::count(&authority.name, error.outcome());
        let issuer = &authority.name;
        tracing::error!(issuer, %names, %error, "it is not stored: the next start orders another");
    }
    Ok(())
}

/// Tells of a failure; how long to wait after it.
fn failed(issuer: &Issuer, error: &OrderError, failures: u32) -> Duration {
    let authority = &issuer.authority;
    metrics::count(&authority.name, error.outcome());
    let now = SystemTime::now();
    let asked_for = error.may_be_a_limit().then(|| authority.told.left(now));
    let limited = error.is_rate_limit().then_some(RATE_LIMITED);
    let asked_for = asked_for.flatten().or(limited);
    let pause = renewal::pause(failures, asked_for, rand::random());
    let left = |served: Validity| served.not_after.duration_since(now).unwrap_or_default();
    tracing::warn!(
        issuer = authority.name,
        names = %issuer.names,
        %error,
        next_attempt_s = pause.as_secs(),
        served_expires_in_s = issuer.validity().map(|served| left(served).as_secs()),
        "no new certificate"
    );
    pause
}

/// A clock that jumps, or a machine that slept, is noticed after this.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);
const A_MOMENT: Duration = Duration::from_secs(1);
/// When an authority limits us and does not say for how long.
const RATE_LIMITED: Duration = Duration::from_secs(3600);
const SUGGESTION_TIMEOUT: Duration = Duration::from_secs(30);
/// The least and the most between two questions for a suggestion (RFC 9773, section 4.3.2).
const ASK_AGAIN: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(24 * 3600));
