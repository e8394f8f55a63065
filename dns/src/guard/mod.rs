//! What keeps the server from being used against others: cookies, and a limit to the answers that one network gets.
//!
//! ```text
//! query -> cookie: none | new | ours | not ours -> answer -> limiter, unless the cookie is ours -> send | cut | drop
//! ```

mod compile;
mod config;
mod cookie;
mod limiter;

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use crate::answer::{Limits, Options, Responded};
use crate::wire::rcode;

pub(crate) use self::compile::{LONGEST_IDENTITY, compile};
pub use self::config::{CookiesConfig, RateLimitConfig};
pub(crate) use self::cookie::OwnSecret;
pub use self::cookie::{Baked, CookieSecret, CookieState, Cookies};
pub use self::limiter::{Kind, Limiter, Table, Verdict};

/// How one configuration guards.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    pub(crate) cookies: Option<Cookies>,
    pub(crate) limiter: Option<Limiter>,
    /// What the server calls itself.
    pub(crate) identity: Box<[u8]>,
}

/// What a process keeps over reloads.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The secret of cookies, where none is configured.
    pub(crate) secret: OwnSecret,
    /// What every network has got; made when it is limited first.
    pub(crate) table: OnceLock<Arc<Table>>,
}

impl Kept {
    /// Takes a predecessor's secret, unless there is one already. What is no secret is passed over.
    pub(crate) fn inherit(&self, secret: &str) {
        if let Some(secret) = CookieSecret::from_hex(secret) {
            let _ = self.secret.set(secret);
        }
    }

    /// The secret, for a successor.
    pub(crate) fn bequeath(&self) -> String {
        self.secret.get_or_init(CookieSecret::random).to_hex()
    }
}

/// The limiter's part of a thread.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// How many answers the thread has held back.
    count: u32,
    /// The time of the batch, as the limiter knows it.
    now: u64,
}

impl Guard {
    /// What may be answered over UDP, and what stands in its OPT record.
    pub(crate) fn limits(&self, largest_udp: u16) -> Limits<'_> {
        let cookies = self.cookies.as_ref();
        let since = cookies.map(|_| SystemTime::now().duration_since(SystemTime::UNIX_EPOCH));
        let seconds = since.map_or(0, |since| since.map_or(0, |since| since.as_secs()));
        Limits {
            options: Options {
                cookies,
                // Cookies know times modulo 2^32 (RFC 9018, 4.3).
                now: seconds as u32,
                identity: &self.identity,
            },
            ..Limits::udp(largest_udp)
        }
    }

    /// Says what time it is, for the answers of a batch.
    pub(crate) fn begin(&self, held: &mut Held, now: Instant) {
        if let Some(limiter) = &self.limiter {
            held.now = limiter.table().time(now);
        }
    }

    /// Judges an answer over UDP, and cuts it in `out` where the verdict is so.
    pub(crate) fn judge(
        &self,
        answer: &mut Responded,
        client: IpAddr,
        held: &mut Held,
        out: &mut [u8],
    ) -> Verdict {
        let Some(limiter) = &self.limiter else {
            return Verdict::Send;
        };
        if answer.cookie == CookieState::Valid || answer.verified || answer.len == 0 {
            return Verdict::Send;
        }
        let kind = match answer.code {
            rcode::NOERROR if answer.answers > 0 => Kind::Answer,
            rcode::NOERROR | rcode::NXDOMAIN => Kind::Nothing,
            _ => Kind::Error,
        };
        let verdict = limiter.judge(client, kind, held.now, &mut held.count);
        match verdict {
            // It has another shape, and nobody is told to ask again.
            Verdict::Slip if answer.odd => return Verdict::Drop,
            Verdict::Slip => answer.cut(out),
            Verdict::Send | Verdict::Drop => {}
        }
        verdict
    }
}

#[cfg(test)]
mod tests;
