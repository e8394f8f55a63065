//! Taking another process's place, and giving one's own to another: what every role that can be replaced does.

use std::time::Duration;

use super::{Life, RoleArgs, SUPERVISOR, StartError, prepare_ready_file};
use crate::net::Inherited;
use crate::net::handover::{Candidate, Handover, HandoverError, Kept, Offered, TakeOver};

/// Asks the running process for its sockets. `start` says how there would be one.
///
/// # Errors
/// When the configuration names no door, nobody is behind it, or it refuses.
pub async fn begin(
    args: &RoleArgs,
    handover: Option<&Handover>,
    within: Duration,
    start: &str,
) -> Result<(TakeOver, Inherited), StartError> {
    // Not to end with the shell that it was started from.
    let _ = rustix::process::setsid();
    let Some(handover) = handover else {
        let why = format!(
            "{} has no `handover` key: add `handover = {{ socket = \"/run/tidegate.sock\" }}`, reload, and try again",
            args.config.display()
        );
        return Err(HandoverError::Failed(why).into());
    };
    if let Some(path) = &args.ready_file {
        prepare_ready_file(path)?;
    }
    let begun = TakeOver::begin(&handover.door, within).await;
    begun.map_err(|error| match error {
        HandoverError::Nobody { .. } => HandoverError::Failed(format!("{error}: {start}")).into(),
        other => other.into(),
    })
}

/// Prepares, within the time that was asked for, tells the predecessor how that ended, and waits until it takes no more.
///
/// # Errors
/// What the preparations failed for, and when the predecessor is gone.
pub async fn settle<T>(
    take_over: Option<TakeOver>,
    preparing: impl Future<Output = Result<T, StartError>>,
    within: Option<Duration>,
    life: &Life,
) -> Result<T, StartError> {
    let (Some(take_over), Some(within)) = (take_over, within) else {
        return preparing.await;
    };
    let prepared = match tokio::time::timeout(within, preparing).await {
        Ok(prepared) => prepared,
        Err(_) => Err(HandoverError::TooLate(within).into()),
    };
    match prepared {
        Ok(prepared) => {
            let predecessor = take_over.predecessor();
            take_over.ready().await?;
            life.succeed(predecessor);
            Ok(prepared)
        }
        Err(error) => {
            take_over.fail(&error.in_a_line()).await;
            Err(error)
        }
    }
}

/// Offers the sockets to a successor; its process id once it takes over, and none when this process serves on.
pub async fn offer(candidate: Candidate, sockets: &[Offered<'_>]) -> Option<u32> {
    offer_with(candidate, sockets, Kept::new()).await
}

/// The same, with what this process has made up itself and its successor goes on with.
pub async fn offer_with(candidate: Candidate, sockets: &[Offered<'_>], kept: Kept) -> Option<u32> {
    if let Some(supervisor) = std::env::var_os(SUPERVISOR) {
        let supervisor = supervisor.to_string_lossy();
        let why = format!(
            "it belongs to `tidegate up` (process {supervisor}), which would start another in its place: stop that, or change the configuration and reload"
        );
        candidate.refuse(&why).await;
        return None;
    }
    let confirmed = async {
        let ready = candidate.offer(sockets, kept).await?;
        let successor = ready.pid;
        ready.confirm().await.map(|()| successor)
    };
    let confirmed: Result<_, HandoverError> = confirmed.await;
    confirmed
        .inspect_err(|error| {
            tracing::error!("a hand-over failed, this process serves on: {error}");
        })
        .ok()
}
