//! `jwt`: lets only requests with a valid access token through (RFC 7519, RFC 6750, RFC 8725).

mod config;
mod keys;
mod remote;
mod token;
mod verified;

use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use chassis::problem::Problem;
use http::{HeaderName, HeaderValue, header};
use prometheus::{IntCounterVec, Opts, core::Collector};

use self::config::{Config, build};
use self::keys::Keys;
use self::remote::Remote;
use self::token::{Checks, Refusal};
use self::verified::{Verified, VerifiedTokens};
use crate::plugin::{Flow, Later, Plugin, Reply, Request};
use crate::registry::Registration;

pub(crate) const REGISTRATION: Registration =
    Registration::new::<Config>("jwt", build).metrics(metrics);

struct Jwt {
    source: Source,
    checks: Checks,
    verified: VerifiedTokens,
    forward: Vec<(String, HeaderName)>,
    optional: bool,
    name: String,
}

/// Where the keys come from.
enum Source {
    Inline(Arc<Keys>),
    Remote(Arc<Remote>),
}

static REFUSED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = Opts::new(
        "tidegate_jwt_refused_total",
        "Requests without a valid access token",
    );
    IntCounterVec::new(opts, &["plugin", "reason"]).expect("name and labels are valid")
});

fn metrics() -> Vec<Box<dyn Collector>> {
    let mut all: Vec<Box<dyn Collector>> = vec![Box::new(REFUSED.clone())];
    all.extend(remote::metrics());
    all
}

impl Plugin for Jwt {
    fn request(&self, request: &mut Request<'_>) -> Flow {
        match self.admit(request) {
            Ok(()) => Flow::Continue,
            Err(Refusal::Missing) if self.optional => {
                for (_, name) in &self.forward {
                    request.head.remove_header(name); // a client must not speak for us
                }
                Flow::Continue
            }
            Err(Refusal::UnknownKey | Refusal::NoKeys) if self.source.may_know_more() => {
                Flow::Later
            }
            Err(refusal) => self.refuse(refusal),
        }
    }

    fn request_later<'a>(&'a self, request: &'a mut Request<'_>) -> Later<'a> {
        Box::pin(async move {
            if let Source::Remote(remote) = &self.source {
                remote.fetch_now().await;
            }
            match self.admit(request) {
                Ok(()) => Flow::Continue,
                Err(refusal) => self.refuse(refusal),
            }
        })
    }
}

impl Jwt {
    /// Finds out who sends the request, and notes it for the upstream and the plugins that follow.
    fn admit(&self, request: &mut Request<'_>) -> Result<(), Refusal> {
        let verified = match &self.source {
            Source::Inline(keys) => self.verify(request, Some(keys))?,
            Source::Remote(remote) => self.verify(request, remote.current().as_deref())?,
        };
        for (name, value) in &verified.forward {
            match value {
                Some(value) => request.head.set_header(name, value.clone()),
                None => request.head.remove_header(name), // a client must not speak for us
            }
        }
        request.exchange.identity = Some(verified.identity.clone());
        Ok(())
    }

    fn verify(&self, request: &Request<'_>, keys: Option<&Keys>) -> Result<Arc<Verified>, Refusal> {
        let token = token::bearer(request.head)?;
        let keys = keys.ok_or(Refusal::NoKeys)?;
        let now = unix_seconds(request.exchange.started_at);
        if let Some(verified) = self.verified.find(token, keys.generation(), now) {
            return Ok(verified);
        }
        let claims = self.checks.verify(token, keys)?;
        let valid_until = claims.expires.saturating_add(self.checks.leeway_seconds());
        let forward = self.forwarded(&claims.identity);
        let verified = Arc::new(Verified {
            identity: Arc::new(claims.identity),
            forward,
            valid_until,
            generation: keys.generation(),
        });
        self.verified.insert(token, verified.clone());
        Ok(verified)
    }

    /// Headers that tell the upstream who it is. Those to remove stand first: two claims may have
    /// the same header.
    fn forwarded(&self, identity: &crate::Identity) -> Vec<(HeaderName, Option<HeaderValue>)> {
        let value = |claim: &str| {
            let text = match (claim, identity.claims.get(claim)?) {
                ("sub", _) => identity.subject.clone(),
                (_, serde_json::Value::String(text)) => text.clone(),
                (_, other) => other.to_string(),
            };
            HeaderValue::from_str(&text).ok()
        };
        let all = self.forward.iter();
        let mut all: Vec<_> = all
            .map(|(claim, name)| (name.clone(), value(claim)))
            .collect();
        all.sort_by_key(|(_, value)| value.is_some());
        all
    }

    fn refuse(&self, refusal: Refusal) -> Flow {
        REFUSED
            .with_label_values(&[&self.name, refusal.reason()])
            .inc();
        if refusal == Refusal::NoKeys {
            let problem = Problem::new(503, "keys-unavailable", "Tokens cannot be checked now");
            return Reply::problem(problem)
                .header(header::RETRY_AFTER, 1.into())
                .into();
        }
        let challenge = match refusal {
            Refusal::Missing => HeaderValue::from_static("Bearer"),
            _ => HeaderValue::from_static("Bearer error=\"invalid_token\""),
        };
        let problem =
            Problem::new(401, "unauthorized", "Unauthorized").detail(refusal.told_to_clients());
        Reply::problem(problem)
            .header(header::WWW_AUTHENTICATE, challenge)
            .into()
    }
}

impl Source {
    /// Whether a key that is not there may be there in a moment.
    fn may_know_more(&self) -> bool {
        matches!(self, Self::Remote(_))
    }
}

fn unix_seconds(now: SystemTime) -> u64 {
    now.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
