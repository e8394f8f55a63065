//! Waiting for what is to come about.

use std::time::{Duration, Instant};

/// Asks again and again until there is an answer.
///
/// # Panics
/// When there is none in time.
pub async fn eventually<T>(
    what: &str,
    within: Duration,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(5);

/// How long something may take that takes milliseconds on an idle machine.
pub const SOON: Duration = Duration::from_secs(10);
