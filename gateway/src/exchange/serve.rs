//! One request from its head to its end.

use std::time::Instant;

use pingora_core::{Error, Result};
use plugins::{Reply, RequestHead};

use super::{Answer, Downstream, Ending, Shared, Started, challenge, for_error};
use crate::relay;

/// Serves a request whose head was read at `now`; one that is for Pingora's proxy comes back, with the plugins' way in behind it.
pub(crate) async fn serve<D: Downstream>(
    shared: &Shared,
    client: &mut D,
    head: RequestHead,
    now: Instant,
) -> Option<Box<Started>> {
    let Some((mut started, refusal)) = Started::begin(shared, client.connected(), head, now) else {
        client.close_after();
        return None;
    };
    if started.refused {
        client.close_after();
    }
    let outcome = match local(&mut started, client, refusal).await {
        Some(reply) => Box::pin(send(client, &mut started, reply)).await,
        None if !relay::speaks(&started, client) => return Some(started),
        None => relay::forward(client, &mut started).await,
    };
    end(shared, client, &mut started, outcome).await;
    None
}

/// Ends a request: an error is told to the client, when it can still be told.
pub(crate) async fn end<D: Downstream>(
    shared: &Shared,
    client: &mut D,
    started: &mut Started,
    outcome: Result<()>,
) {
    if let Err(error) = &outcome {
        Box::pin(fail(client, started, error)).await;
    }
    started.finish(
        shared,
        &Ending {
            status: client.status(),
            received: client.received(),
            sent: client.sent(),
            error: outcome.as_ref().err().map(|error| &**error),
        },
    );
}

/// The answer that is given here, if there is one.
async fn local<D: Downstream>(
    started: &mut Started,
    client: &D,
    refusal: Option<Reply>,
) -> Option<Reply> {
    // Before plugins: an authority has no token, and must not be told to come back later.
    if let Some(answer) = challenge::answer(client.connected(), started).await {
        return Some(answer);
    }
    match started.way_in().await {
        Some(reply) => Some(*reply),
        None => refusal,
    }
}

/// Sends a reply of our own.
async fn send<D: Downstream>(client: &mut D, started: &mut Started, reply: Reply) -> Result<()> {
    let Answer { head, body } = Answer::compose(started, &reply);
    let ends = body.is_empty();
    client.answer(head, ends).await?;
    if !ends {
        client.write(&body, true).await?;
    }
    client.finish().await
}

/// Answers with what an error means.
async fn fail<D: Downstream>(client: &mut D, started: &mut Started, error: &Error) {
    if client.status() != 0 {
        return;
    }
    if let Some(reply) = for_error(error) {
        // The client may be gone; then there is nobody left to tell.
        let _ = send(client, started, reply).await;
    }
}
