//! Messages for a server that sends them: a POST of JSON each, signed as Standard Webhooks 1.0 asks for.
//!
//! ```text
//!   place (of `queue`, else dropped) -> attempt (AT_ONCE of them) -> 2xx: sent
//!                                          ^        \-> no answer, 408, 429, 5xx: wait, doubling
//!                                          \-----------------/           anything else: failed
//! ```

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use ring::hmac;
use store::Time;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use super::Message;
use crate::Error;
use crate::config::WebhookConfig;

/// A server that takes messages.
pub(super) struct Webhook {
    client: reqwest::Client,
    url: reqwest::Url,
    key: hmac::Key,
    attempts: u32,
    /// Of the messages that wait.
    places: Arc<Semaphore>,
    /// Of the requests on their way.
    lines: Semaphore,
    /// Nothing is tried again from now on.
    closing: watch::Sender<bool>,
}

/// Why an attempt failed: without the URL, the message and the secret.
#[derive(Debug)]
struct Failure {
    why: String,
    /// The next attempt may do better.
    passing: bool,
}

impl Webhook {
    pub(super) fn open(config: &WebhookConfig) -> Result<Self, Error> {
        // The gateway installs the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(*config.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent("tidegate")
            .build()
            .map_err(|error| Error::Internal(format!("the webhook: {error}")))?;
        let queue = config.queue.try_into().unwrap_or(usize::MAX);
        Ok(Self {
            client,
            url: config.url()?,
            key: hmac::Key::new(hmac::HMAC_SHA256, &config.key()?),
            attempts: config.attempts,
            places: Arc::new(Semaphore::new(queue)),
            lines: Semaphore::new(AT_ONCE),
            closing: watch::channel(false).0,
        })
    }

    /// A place among the messages that wait, if there is one left.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    /// Sends a message, with as many attempts as are wanted; else why not.
    pub(super) async fn deliver(&self, message: &Message) -> Result<(), String> {
        let body = serde_json::to_string(message).map_err(|error| error.to_string())?;
        // The same at each attempt: by it the receiver knows what came twice.
        let id = format!("msg_{}", uuid::Uuid::now_v7().simple());
        let mut closing = self.closing.subscribe();
        let mut attempt = 1;
        loop {
            let Err(failure) = self.attempt(&id, &body).await else {
                return Ok(());
            };
            if !failure.passing || attempt >= self.attempts || *closing.borrow() {
                return Err(format!(
                    "the webhook, {id}, attempt {attempt}: {}",
                    failure.why
                ));
            }
            tracing::warn!(
                id,
                attempt,
                error = failure.why,
                "the webhook is tried again"
            );
            // Ends early when nothing is to be tried again: this is the last attempt then.
            let _ = timeout(pause(attempt), closing.wait_for(|closing| *closing)).await;
            attempt += 1;
        }
    }

    /// From now on there is one attempt more for each message, and no pause before it.
    pub(super) fn close(&self) {
        self.closing.send_replace(true);
    }

    async fn attempt(&self, id: &str, body: &str) -> Result<(), Failure> {
        let _line = self.lines.acquire().await;
        let now = Time::now().as_secs();
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", now)
            .header("webhook-signature", sign(&self.key, id, now, body))
            .body(body.to_owned());
        let status = match request.send().await {
            Ok(response) => response.status(),
            Err(error) => return Err(Failure::no_answer(error)),
        };
        match status.is_success() {
            true => Ok(()),
            false => Err(Failure::answer(status)),
        }
    }
}

impl Failure {
    fn no_answer(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let mut why = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(one) = cause {
            why = format!("{why}: {one}");
            cause = one.source();
        }
        Self { why, passing: true }
    }

    fn answer(status: StatusCode) -> Self {
        let busy = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
        Self {
            why: format!("the answer is {status}"),
            passing: status.is_server_error() || busy.contains(&status),
        }
    }
}

/// The signature of a message (Standard Webhooks 1.0, "Signature scheme").
fn sign(key: &hmac::Key, id: &str, timestamp: i64, body: &str) -> String {
    let tag = hmac::sign(key, format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag))
}

/// How long to wait after an attempt: twice as long each time, less up to a half, so that many that failed together do not
/// come again together.
fn pause(attempt: u32) -> Duration {
    let most = FIRST_PAUSE * (1 << (attempt - 1).min(DOUBLINGS));
    most.mul_f64(rand::random_range(0.5..=1.0))
}

/// So many requests are on their way at once.
const AT_ONCE: usize = 16;
/// The longest pause after the first attempt.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How often it doubles.
const DOUBLINGS: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_others() {
        // What the reference library for Python makes of the same.
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let body = "{\"test\": 2432232314}";
        assert_eq!(
            sign(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn pauses_double_up_to_a_limit() {
        for (attempt, most) in [(1, 1.0), (2, 2.0), (3, 4.0), (6, 32.0), (9, 32.0)] {
            let pause = pause(attempt).as_secs_f64();
            assert!((most / 2.0..=most).contains(&pause), "{attempt}: {pause}");
        }
    }
}
