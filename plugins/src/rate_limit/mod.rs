//! `rate_limit`: so many requests in a time for each client, in this process.

mod gcra;

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use chassis::config::{Diagnostic, Located};
use chassis::problem::Problem;
use chassis::units::Period;
use http::{HeaderName, header};
use prometheus::{IntCounter, IntCounterVec, Opts, core::Collector};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::gcra::{Rate, Table, Verdict};
use crate::plugin::{Flow, Plugin, Reply, Request};
use crate::registry::{Registration, Setting};

pub(crate) const REGISTRATION: Registration =
    Registration::new::<Config>("rate_limit", build).metrics(metrics);

/// Limits the rate of requests for each key by GCRA (the leaky bucket of ITU-T I.371):
/// beyond it the answer is 429 with `Retry-After`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Requests in each `per`.
    requests: Located<u32>,
    /// The time that `requests` counts for.
    #[serde(default = "second")]
    per: Located<Period>,
    /// How many may come at once after a silence; the same as `requests` when it is not set.
    #[serde(default)]
    burst: Option<Located<u32>>,
    /// What is limited.
    #[serde(default)]
    key: Key,
    /// How many keys are remembered at once, about 16 bytes each. When more
    /// are active, the one that is nearest to its full allowance is forgotten.
    #[serde(default = "default_keys")]
    keys: Located<u32>,
}

/// What a limit counts.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Key {
    /// The client's address; for IPv6 its /64 network.
    #[default]
    Client,
    /// The subject of the `jwt` plugin, which must stand before this one; without one the client's address.
    Identity,
    /// The value of a header; without it the client's address.
    Header(String),
    /// All requests together.
    All,
}

fn second() -> Located<Period> {
    Located::nowhere(Period::from_secs(1))
}

fn default_keys() -> Located<u32> {
    Located::nowhere(65_536)
}

struct RateLimit {
    rate: Rate,
    key: CompiledKey,
    state: Arc<State>,
    limited: IntCounter,
    evicted: IntCounter,
}

/// What survives a reload.
struct State {
    table: Table,
    hasher: RandomState,
    origin: Instant,
}

enum CompiledKey {
    Client,
    Identity,
    Header(HeaderName),
    All,
}

static LIMITED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = Opts::new(
        "tidegate_rate_limited_total",
        "Requests refused by a rate limit",
    );
    IntCounterVec::new(opts, &["plugin"]).expect("name and label are valid")
});

static EVICTED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = Opts::new(
        "tidegate_rate_limit_evicted_total",
        "Active keys that were forgotten because the table was full",
    );
    IntCounterVec::new(opts, &["plugin"]).expect("name and label are valid")
});

fn metrics() -> Vec<Box<dyn Collector>> {
    vec![Box::new(LIMITED.clone()), Box::new(EVICTED.clone())]
}

fn build(setting: &Setting<'_>) -> Result<Arc<dyn Plugin>, Diagnostic> {
    let config: Config = setting.config()?;
    let burst = config.burst.unwrap_or(config.requests);
    if *config.requests == 0 || *burst == 0 {
        let zero = if *burst == 0 { burst } else { config.requests };
        return Err(zero
            .wrong("a limit of 0 lets nothing through")
            .help("remove the route instead"));
    }
    let interval = config.per.checked_div(*config.requests).unwrap_or_default();
    if interval.is_zero() {
        return Err(config
            .per
            .wrong("the time is too short for so many requests"));
    }
    if !(64..=16_777_216).contains(&*config.keys) {
        return Err(config.keys.wrong("must be from 64 to 16777216"));
    }
    let key = match &config.key {
        Key::Client => CompiledKey::Client,
        Key::Identity => CompiledKey::Identity,
        Key::All => CompiledKey::All,
        Key::Header(name) => CompiledKey::Header(
            HeaderName::try_from(name)
                .map_err(|_| Diagnostic::new(setting.table.place(), "not a name of a header"))?,
        ),
    };
    let slots = *config.keys as usize;
    let carried = setting.previous::<RateLimit>().map(|old| old.state.clone());
    let state = carried
        .filter(|state| state.table.holds(slots))
        .unwrap_or_else(|| {
            Arc::new(State {
                table: Table::new(slots),
                hasher: RandomState::new(),
                origin: Instant::now(),
            })
        });
    Ok(Arc::new(RateLimit {
        rate: Rate::new(interval, *burst),
        key,
        state,
        limited: LIMITED.with_label_values(&[setting.name]),
        evicted: EVICTED.with_label_values(&[setting.name]),
    }))
}

impl Plugin for RateLimit {
    fn request(&self, request: &mut Request<'_>) -> Flow {
        let now = request
            .exchange
            .started
            .saturating_duration_since(self.state.origin);
        match self.state.table.check(self.hash(request), self.rate, now) {
            Verdict::Within => Flow::Continue,
            Verdict::WithinAfterEviction => {
                self.evicted.inc();
                Flow::Continue
            }
            Verdict::Beyond { wait } => {
                self.limited.inc();
                too_many(wait).into()
            }
        }
    }
}

impl RateLimit {
    fn hash(&self, request: &Request<'_>) -> u64 {
        let hasher = &self.state.hasher;
        let client = || {
            let address = request
                .exchange
                .client
                .address
                .map(|address| network(address.ip()));
            hasher.hash_one(address.unwrap_or(NOWHERE))
        };
        match &self.key {
            CompiledKey::Client => client(),
            CompiledKey::All => hasher.hash_one(()),
            CompiledKey::Identity => match &request.exchange.identity {
                Some(identity) => hasher.hash_one(&identity.subject),
                None => client(),
            },
            CompiledKey::Header(name) => match request.head.header(name) {
                Some(value) => hasher.hash_one(value.as_bytes()),
                None => client(),
            },
        }
    }
}

/// In place of the network of a client on a Unix socket; different from every [`network`].
const NOWHERE: u128 = 2;

/// The part of an address that one client holds: a /64 in IPv6.
fn network(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 64 | 1,
        IpAddr::V6(v6) => v6.to_bits() >> 64 << 64,
    }
}

fn too_many(wait: Duration) -> Reply {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let problem = Problem::new(429, "rate-limited", "Too many requests")
        .detail(format!("try again in {seconds} s"));
    Reply::problem(problem).header(header::RETRY_AFTER, seconds.into())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, build, mistake};

    #[test]
    fn beyond_the_burst_the_answer_is_429_with_the_time_to_wait() {
        let mut bench = Bench::new("rate_limit", "requests = 2\nper = \"10s\"");
        assert!(bench.send("GET", "/", &[]).is_ok());
        assert!(bench.send("GET", "/", &[]).is_ok());
        let reply = bench.send("GET", "/", &[]).unwrap_err();
        assert_eq!(reply.status, 429);
        assert_eq!(reply.header("retry-after").unwrap(), "5");
        assert!(reply.body.contains("rate-limited"), "{}", reply.body);
        bench.from_address("192.0.2.2:5000");
        assert!(bench.send("GET", "/", &[]).is_ok());
    }

    #[test]
    fn one_ipv6_network_is_one_client() {
        let mut bench = Bench::new("rate_limit", "requests = 1\nper = \"1h\"");
        bench.from_address("[2001:db8::1]:1");
        assert!(bench.send("GET", "/", &[]).is_ok());
        bench.from_address("[2001:db8::ffff:2]:1");
        assert!(bench.send("GET", "/", &[]).is_err());
        bench.from_address("[2001:db8:0:1::1]:1");
        assert!(bench.send("GET", "/", &[]).is_ok());
    }

    #[test]
    fn a_header_can_be_the_key() {
        let mut bench = Bench::new(
            "rate_limit",
            "requests = 1\nper = \"1h\"\nkey = { header = \"x-key\" }",
        );
        assert!(bench.send("GET", "/", &[("x-key", "a")]).is_ok());
        assert!(bench.send("GET", "/", &[("x-key", "a")]).is_err());
        assert!(bench.send("GET", "/", &[("x-key", "b")]).is_ok());
    }

    #[test]
    fn a_reload_does_not_refill_the_bucket() {
        let table = "requests = 1\nper = \"1h\"";
        let first = build(&super::REGISTRATION, table, None).unwrap();
        assert!(Bench::of(first.clone()).send("GET", "/", &[]).is_ok());
        let second = build(&super::REGISTRATION, table, Some(&first)).unwrap();
        assert!(Bench::of(second).send("GET", "/", &[]).is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(mistake("rate_limit", "requests = 0").contains("lets nothing through"));
        assert!(mistake("rate_limit", "requests = 5\nper = \"0s\"").contains("too short"));
        assert!(mistake("rate_limit", "requests = 5\nkeys = 1").contains("64"));
    }
}
