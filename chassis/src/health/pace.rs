//! When probes are sent.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::probe::{Failed, Probe};

/// Probes `target` until it is dropped: at once, and then every `interval`, spread by a tenth. Each outcome is heard
/// with the time when it was known. One that failed for want of something in this process says nothing, and is not heard.
pub async fn keep_checking(
    probe: &Probe,
    target: SocketAddr,
    interval: Duration,
    timeout: Duration,
    mut hear: impl FnMut(Result<(), Failed>, Instant),
) {
    let mut pause = pauses(interval);
    loop {
        let next = tokio::time::Instant::now() + pause();
        let outcome = probe.ask(target, timeout).await;
        if !outcome.as_ref().is_err_and(|failed| failed.ours) {
            hear(outcome, Instant::now());
        }
        tokio::time::sleep_until(next).await;
    }
}

/// Pauses around `interval`, spread by a tenth, so that checks do not march in step.
pub fn pauses(interval: Duration) -> impl FnMut() -> Duration + Send {
    use std::hash::{BuildHasher, RandomState};
    let hasher = RandomState::new();
    let mut turn = 0u64;
    move || {
        turn += 1;
        let percent = 95 + u32::try_from(hasher.hash_one(turn) % 11).unwrap_or(5);
        interval * percent / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_near_the_interval() {
        let mut pause = pauses(Duration::from_secs(1));
        for _ in 0..100 {
            let pause = pause().as_millis();
            assert!((950..=1050).contains(&pause), "{pause}");
        }
    }
}
