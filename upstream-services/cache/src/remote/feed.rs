//! What other processes have deleted.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::mpsc;

use super::server::Server;
use super::{Listener, Listeners};
use crate::Mark;

/// Between two attempts to follow a server.
const AGAIN: Duration = Duration::from_millis(200);
/// Messages that wait, at most; more of them wait in the server.
const QUEUE: usize = 1024;

/// What is told of a deletion: who, of which source, which key, and how new a fill has to be.
pub(super) fn message(sender: u64, name: &str, key: &str, mark: Option<&Mark>) -> String {
    let mark = mark.map_or("", |mark| &mark.0);
    format!("{sender:016x} {name} {key} {mark}")
}

/// Follows all servers for ever.
pub(super) async fn follow(
    servers: Vec<Arc<Server>>,
    channel: String,
    sender: u64,
    listeners: Listeners,
) {
    let feed = Feed {
        own: format!("{sender:016x}"),
        unheard: AtomicUsize::new(servers.len()),
        listeners,
    };
    join_all(servers.iter().map(|server| feed.follow(server, &channel))).await;
}

struct Feed {
    own: String,
    /// How many servers are not heard.
    unheard: AtomicUsize,
    listeners: Listeners,
}

impl Feed {
    async fn follow(&self, server: &Server, channel: &str) {
        loop {
            let (heard, messages) = mpsc::channel(QUEUE);
            let Some(following) = server.follow(channel, heard) else {
                return; // it has no channels
            };
            let (ended, ()) = futures::join!(following, self.tell(messages));
            if let Err(error) = ended {
                tracing::debug!(server = server.name(), %error, "deletions are not heard");
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn tell(&self, mut messages: mpsc::Receiver<String>) {
        let mut hears = false;
        while let Some(message) = messages.recv().await {
            if !hears {
                hears = true;
                if self.unheard.fetch_sub(1, SeqCst) == 1 {
                    self.each(|listener| listener.heard(true));
                }
            }
            self.pass_on(&message).await;
        }
        if hears && self.unheard.fetch_add(1, SeqCst) == 0 {
            self.each(|listener| listener.heard(false));
        }
    }

    async fn pass_on(&self, message: &str) {
        let mut words = message.splitn(4, ' ');
        let (Some(sender), Some(name), Some(key)) = (words.next(), words.next(), words.next())
        else {
            return;
        };
        if sender == self.own {
            return;
        }
        let mark = words.next().filter(|mark| !mark.is_empty());
        let listener = {
            let listeners = self
                .listeners
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            listeners.get(name).and_then(std::sync::Weak::upgrade)
        };
        if let Some(listener) = listener {
            listener
                .forget(key, mark.map(|mark| Mark(mark.to_owned())))
                .await;
        }
    }

    fn each(&self, tell: impl Fn(&dyn Listener)) {
        let listeners = self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for listener in listeners.values().filter_map(std::sync::Weak::upgrade) {
            tell(&*listener);
        }
    }
}
