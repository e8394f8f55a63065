//! What other processes have deleted.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::entry::{need_of, text_of};
use super::server::Server;
use super::{Audience, Listeners};
use crate::Need;

/// Between two attempts to follow a server.
const AGAIN: Duration = Duration::from_millis(200);
/// Between two messages of our own.
const BEAT: Duration = Duration::from_secs(2);
/// Without a message for so long, a subscription is taken for dead.
const SILENCE: Duration = Duration::from_secs(7);
/// Messages that wait, at most; more of them wait in the server.
const QUEUE: usize = 1024;

/// What is told of a deletion: who, of which source, which key, and how new a fill has to be.
pub(super) fn message(sender: u64, name: &str, key: &str, need: &Need) -> String {
    format!("{sender:016x} {name} {key} {}", text_of(need))
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
            let hears = AtomicBool::new(false);
            tokio::select! {
                ended = following => if let Err(error) = ended {
                    tracing::debug!(server = server.name(), %error, "deletions are not heard");
                },
                () = self.pass_on(messages, &hears) => {
                    tracing::debug!(server = server.name(), "it has fallen silent");
                }
                () = self.beat(server, channel) => {}
            }
            if hears.into_inner() && self.unheard.fetch_add(1, SeqCst) == 0 {
                self.say(false);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Says something now and then, which comes back while all is well: a connection may be gone without a word.
    async fn beat(&self, server: &Server, channel: &str) {
        loop {
            tokio::time::sleep(BEAT).await;
            server.publish(channel, &self.own).await;
        }
    }

    /// Passes messages on until nothing comes any more, not even our own.
    async fn pass_on(&self, mut messages: mpsc::Receiver<String>, hears: &AtomicBool) {
        while let Ok(Some(message)) = timeout(SILENCE, messages.recv()).await {
            if !hears.swap(true, SeqCst) && self.unheard.fetch_sub(1, SeqCst) == 1 {
                self.say(true);
            }
            self.hear(&message).await;
        }
    }

    async fn hear(&self, message: &str) {
        let mut words = message.splitn(4, ' ');
        let (Some(sender), Some(name), Some(key)) = (words.next(), words.next(), words.next())
        else {
            return;
        };
        if sender == self.own {
            return;
        }
        let need = need_of(words.next().unwrap_or_default());
        let listener = self.audience().listeners.get(name).and_then(Weak::upgrade);
        if let Some(listener) = listener {
            listener.forget(key, need).await;
        }
    }

    /// Says whether deletions are heard from now on.
    fn say(&self, heard: bool) {
        let mut audience = self.audience();
        audience.heard = heard;
        for listener in audience.listeners.values().filter_map(Weak::upgrade) {
            listener.heard(heard);
        }
    }

    fn audience(&self) -> MutexGuard<'_, Audience> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
