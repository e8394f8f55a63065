//! Taking another process's place, and giving one's own to another.

use std::time::Duration;

use chassis::life::{Life, RoleArgs, SUPERVISOR, prepare_ready_file};
use chassis::net::Inherited;
use chassis::net::handover::{Candidate, HandoverError, TakeOver};

use crate::role::{Running, StartError};
use crate::state::HandoverState;

/// Asks the running process for its sockets.
pub(crate) async fn begin(
    args: &RoleArgs,
    handover: Option<&HandoverState>,
    within: Duration,
) -> Result<(TakeOver, Inherited), StartError> {
    // Not to end with the shell that it was started from.
    let _ = rustix::process::setsid();
    let Some(handover) = handover else {
        let why = format!(
            "{} has no `handover` key: add `handover = {{ socket = \"/run/tidegate-dns.sock\" }}`, reload, and try again",
            args.config.display()
        );
        return Err(HandoverError::Failed(why).into());
    };
    if let Some(path) = &args.ready_file {
        prepare_ready_file(path)?;
    }
    let begun = TakeOver::begin(&handover.door, within).await;
    begun.map_err(|error| match error {
        HandoverError::Nobody { .. } => {
            let why = format!("{error}: start one with `tidegate dns`");
            HandoverError::Failed(why).into()
        }
        other => other.into(),
    })
}

/// Tells the predecessor how the preparations ended, and waits until it takes no more.
pub(crate) async fn settle<T>(
    take_over: Option<TakeOver>,
    prepared: Result<T, StartError>,
    life: &Life,
) -> Result<T, StartError> {
    let Some(take_over) = take_over else {
        return prepared;
    };
    match prepared {
        Ok(prepared) => {
            let predecessor = take_over.predecessor();
            take_over.ready().await?;
            life.succeed(predecessor);
            Ok(prepared)
        }
        Err(error) => {
            take_over.fail(&in_a_line(&error)).await;
            Err(error)
        }
    }
}

fn in_a_line(error: &StartError) -> String {
    match error {
        StartError::Config(report) => report.lines().collect::<Vec<_>>().join("; "),
        other => other.to_string(),
    }
}

/// Gives everything to a successor; this process serves on if that fails.
pub(crate) async fn hand_over(running: &mut Running<'_>, candidate: Candidate, life: &Life) {
    if let Some(supervisor) = std::env::var_os(SUPERVISOR) {
        let supervisor = supervisor.to_string_lossy();
        let why = format!(
            "it belongs to `tidegate up` (process {supervisor}), which would start another in its place: stop that, or change the configuration and reload"
        );
        return candidate.refuse(&why).await;
    }
    let mut offered = running.listeners.offered();
    offered.extend(running.admin.iter().flat_map(|admin| admin.offered()));
    let outcome = match candidate.offer(&offered).await {
        Ok(ready) => {
            let successor = ready.pid;
            ready.confirm().await.map(|()| successor)
        }
        Err(error) => Err(error),
    };
    match outcome {
        Ok(successor) => {
            running.listeners.close();
            if let Some(admin) = &running.admin {
                admin.close();
            }
            running.door.leave();
            life.replaced_by(successor);
        }
        Err(error) => tracing::error!("a hand-over failed, this process serves on: {error}"),
    }
}
