//! The deadlines of a connection: one timer, which is moved only when it must.
//!
//! Most waits end long before their time. So the timer is not set anew for each: as long as it goes
//! off before the wait's own time, it stays, and when it does go off too early it is set again.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use tokio::task::unconstrained;
use tokio::time::{Sleep, sleep_until};

/// The timer of a connection.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    timer: Option<Pin<Box<Sleep>>>,
    /// Who is woken when it goes off.
    waker: Option<Waker>,
}

/// Why nothing could be read or written.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The deadline passed.
    Late,
    /// The connection failed.
    Failed(io::Error),
}

impl Deadline {
    /// Waits for an outcome, at most so long. The clock is read only when there is something to wait for.
    pub(crate) async fn within<T>(
        &mut self,
        patience: Duration,
        outcome: impl Future<Output = io::Result<T>>,
    ) -> Result<T, Broken> {
        self.wait(|| Instant::now() + patience, outcome).await
    }

    /// The same until a moment.
    pub(crate) async fn until<T>(
        &mut self,
        due: Instant,
        outcome: impl Future<Output = io::Result<T>>,
    ) -> Result<T, Broken> {
        self.wait(|| due, outcome).await
    }

    async fn wait<T>(
        &mut self,
        until: impl Fn() -> Instant,
        outcome: impl Future<Output = io::Result<T>>,
    ) -> Result<T, Broken> {
        let mut outcome = pin!(outcome);
        let mut due = None;
        poll_fn(|cx| {
            if let Poll::Ready(outcome) = outcome.as_mut().poll(cx) {
                return Poll::Ready(outcome.map_err(Broken::Failed));
            }
            let due = *due.get_or_insert_with(&until);
            self.poll(cx, due).map(|()| Err(Broken::Late))
        })
        .await
    }

    fn poll(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        let Self { timer, waker } = self;
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(due.into())));
        let known = waker.as_ref().is_some_and(|one| one.will_wake(cx.waker()));
        let early = timer.deadline().into_std() <= due;
        if known && early && !timer.is_elapsed() {
            return Poll::Pending;
        }
        if !early {
            timer.as_mut().reset(due.into());
        }
        if !known {
            *waker = Some(cx.waker().clone());
        }
        loop {
            // Whatever is left of the task's turn: a timer that was not asked wakes nobody.
            ready!(pin!(unconstrained(timer.as_mut())).poll(cx));
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn never() -> std::future::Pending<io::Result<()>> {
        std::future::pending()
    }

    #[tokio::test]
    async fn each_wait_has_its_own_time() {
        let mut deadline = Deadline::default();
        let begin = Instant::now();
        for (patience, most) in [(40, 400), (5, 200), (60, 400)] {
            let patience = Duration::from_millis(patience);
            let waited = Instant::now();
            let outcome = deadline.within(patience, never()).await;
            assert!(matches!(outcome, Err(Broken::Late)));
            let waited = waited.elapsed();
            assert!(
                waited >= patience && waited.as_millis() < most,
                "{waited:?}"
            );
        }
        let soon = begin + Duration::from_secs(3600);
        let outcome = deadline.until(soon, async { Ok(7) }).await;
        assert!(matches!(outcome, Ok(7)));
    }

    #[tokio::test]
    async fn a_timer_of_an_earlier_wait_does_not_end_a_later_one() {
        let mut deadline = Deadline::default();
        let short = Duration::from_millis(20);
        let ready = async {
            tokio::time::sleep(Duration::from_millis(2)).await;
            Ok(())
        };
        assert!(deadline.within(short, ready).await.is_ok());
        let begin = Instant::now();
        let long = Duration::from_millis(80);
        assert!(deadline.within(long, never()).await.is_err());
        assert!(begin.elapsed() >= long);
    }

    #[tokio::test]
    async fn a_task_that_has_used_up_its_turn_is_woken_all_the_same() {
        let mut deadline = Deadline::default();
        let mut wait = pin!(deadline.within(Duration::from_millis(20), never()));
        let mut fresh = true;
        let late = poll_fn(|cx| {
            if std::mem::take(&mut fresh) {
                while pin!(tokio::task::coop::consume_budget())
                    .poll(cx)
                    .is_ready()
                {}
            }
            wait.as_mut().poll(cx)
        });
        let late = tokio::time::timeout(Duration::from_secs(2), late).await;
        assert!(late.expect("it is woken").is_err());
    }

    #[tokio::test]
    async fn another_task_is_woken_too() {
        let mut deadline = Deadline::default();
        let short = Duration::from_millis(10);
        let _ = deadline.within(short * 2, async { Ok(()) }).await;
        let late = tokio::spawn(async move { deadline.within(short, never()).await.is_err() });
        assert!(late.await.unwrap());
    }
}
