//! What was answered, counted in each thread and summed when somebody asks.

mod aliases;
mod dnssec;
mod guard;
mod policies;
mod secure;
mod transfers;

use std::sync::Arc;

use chassis::telemetry::{Cells, counter, family, gauge};
use http::StatusCode;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType};

use crate::answer::Responded;
use crate::guard::{CookieState, Verdict};
use crate::serve::{Refusal, Shared};
use crate::wire::{rcode, rtype};

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
    /// DNS over TLS.
    Tls,
    /// DNS over HTTP, with TLS here or at a proxy in front.
    Https,
}

impl Transport {
    /// Its name, in metrics and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Https => "https",
        }
    }
}

/// The types that are counted by name; the last stands for all others.
const TYPES: [(u16, &str); 15] = [
    (rtype::A, "A"),
    (rtype::AAAA, "AAAA"),
    (rtype::HTTPS, "HTTPS"),
    (rtype::SVCB, "SVCB"),
    (rtype::NS, "NS"),
    (rtype::SOA, "SOA"),
    (rtype::CNAME, "CNAME"),
    (rtype::MX, "MX"),
    (rtype::TXT, "TXT"),
    (rtype::SRV, "SRV"),
    (rtype::PTR, "PTR"),
    (257, "CAA"),
    (rtype::DS, "DS"),
    (rtype::ANY, "ANY"),
    (0, "other"),
];

/// The response codes that are counted by name; the last stands for all others.
const CODES: [u16; 10] = [
    rcode::NOERROR,
    rcode::NXDOMAIN,
    rcode::REFUSED,
    rcode::FORMERR,
    rcode::NOTIMP,
    rcode::SERVFAIL,
    rcode::NOTAUTH,
    rcode::BADVERS,
    rcode::BADCOOKIE,
    u16::MAX,
];

const CODES_AT: usize = TYPES.len();
const TRUNCATED: usize = CODES_AT + CODES.len();
const SILENCE: usize = TRUNCATED + 1;
const UNSENT: usize = SILENCE + 1;
/// As [`CookieState`] has them, without the first.
const COOKIES: [&str; 3] = ["new", "valid", "invalid"];
const COOKIES_AT: usize = UNSENT + 1;
const LIMITED: [&str; 2] = ["slipped", "dropped"];
const LIMITED_AT: usize = COOKIES_AT + COOKIES.len();
/// For one transport.
const COUNTERS: usize = LIMITED_AT + LIMITED.len();
/// By their numbers.
pub(crate) const TRANSPORTS: [Transport; 4] = [
    Transport::Udp,
    Transport::Tcp,
    Transport::Tls,
    Transport::Https,
];
const REFUSALS: usize = COUNTERS * TRANSPORTS.len();
/// Why connections are refused.
const LIMITS: [(Refusal, &str); 4] = [
    (Refusal::Connections, "connections"),
    (Refusal::Client, "client"),
    (Refusal::ProxyHeader, "proxy_header"),
    (Refusal::Handshake, "handshake"),
];
const STATUSES_AT: usize = REFUSALS + LIMITS.len();
const PANICS: usize = STATUSES_AT + secure::STATUSES.len();

/// What was answered, since the start.
#[derive(Debug)]
pub(crate) struct Counts(Cells);

/// What one thread has answered and not counted yet.
#[derive(Debug)]
pub(crate) struct Tally([u32; COUNTERS]);

impl Default for Tally {
    fn default() -> Self {
        Self([0; COUNTERS])
    }
}

impl Tally {
    /// Counts an answer, and what the limiter has said of it.
    pub(crate) fn count(&mut self, outcome: &Responded, verdict: Verdict) {
        if outcome.len == 0 {
            self.0[SILENCE] += 1;
            return;
        }
        let kind = TYPES.iter().position(|(kind, _)| *kind == outcome.qtype);
        let code = CODES.iter().position(|code| *code == outcome.code);
        self.0[kind.unwrap_or(TYPES.len() - 1)] += 1;
        if outcome.cookie != CookieState::Absent {
            self.0[COOKIES_AT + outcome.cookie as usize - 1] += 1;
        }
        match verdict {
            Verdict::Send => {}
            Verdict::Slip => self.0[LIMITED_AT] += 1,
            Verdict::Drop => {
                self.0[LIMITED_AT + 1] += 1;
                return;
            }
        }
        self.0[CODES_AT + code.unwrap_or(CODES.len() - 1)] += 1;
        self.0[TRUNCATED] += u32::from(outcome.truncated);
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self(Cells::new(PANICS + 1))
    }
}

impl Counts {
    /// Adds what a thread has counted, and empties it.
    pub(crate) fn add(&self, transport: Transport, tally: &mut Tally, unsent: u64) {
        let start = transport as usize * COUNTERS;
        for (at, count) in tally
            .0
            .iter_mut()
            .enumerate()
            .filter(|(_, count)| **count > 0)
        {
            self.0.add(start + at, u64::from(*count));
            *count = 0;
        }
        if unsent > 0 {
            self.0.add(start + UNSENT, unsent);
        }
    }

    /// Counts a connection that was not let in.
    pub(crate) fn refuse(&self, refusal: Refusal) {
        let at = LIMITS.iter().position(|(limit, _)| *limit == refusal);
        self.0.add(REFUSALS + at.unwrap_or_default(), 1);
    }

    /// Counts a panic of a thread.
    pub(crate) fn panicked(&self) {
        self.0.add(PANICS, 1);
    }

    /// Counts a response over HTTP.
    pub(crate) fn http(&self, status: StatusCode) {
        self.0.add(STATUSES_AT + secure::place(status), 1);
    }
}

/// Tells Prometheus.
pub(crate) struct DnsCollector(pub(crate) Arc<Shared>);

impl Collector for DnsCollector {
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let counts = &self.0.counts;
        let types = TYPES.iter().enumerate();
        let types: Vec<_> = types.map(|(at, (_, kind))| (at, *kind)).collect();
        let codes = CODES.iter().enumerate();
        let codes = codes.map(|(at, code)| (CODES_AT + at, rcode::name(*code)));
        let codes: Vec<_> = codes.collect();
        let refused = LIMITS.iter().enumerate();
        let refused = refused
            .map(|(at, (_, limit))| counter(&[("limit", limit)], counts.0.sum(REFUSALS + at)));
        let state = self.0.state.load();
        let (zones, names) = (state.snapshot.zones(), state.snapshot.names());
        let mut families = vec![
            counts.by(
                "tidegate_dns_queries_total",
                "Queries by type",
                "type",
                &types,
            ),
            counts.by(
                "tidegate_dns_responses_total",
                "Answers by response code",
                "rcode",
                &codes,
            ),
            counts.of(
                "tidegate_dns_truncated_total",
                "Answers that were cut, to be asked again over TCP",
                TRUNCATED,
            ),
            counts.of(
                "tidegate_dns_silent_total",
                "Packets that got no answer: responses and fragments",
                SILENCE,
            ),
            counts.of(
                "tidegate_dns_unsent_total",
                "Answers that the kernel did not take",
                UNSENT,
            ),
            family(
                "tidegate_dns_refused_connections_total",
                "Connections beyond a limit, or without the PROXY header that they must have",
                MetricType::COUNTER,
                refused.collect(),
            ),
            one("tidegate_dns_zones", "Zones that are served", zones as f64),
            one("tidegate_dns_names", "Names that are known", names as f64),
        ];
        families.extend(policies::families(&self.0));
        families.extend(secure::families(&self.0, &state));
        families.extend(guard::families(&self.0));
        families.extend(aliases::families(&self.0));
        families.extend(transfers::families(&self.0));
        families.extend(dnssec::families(&state.signed));
        families
    }
}

impl Counts {
    /// Counters by transport and another label; each with its place and the label's value.
    fn by(&self, name: &str, help: &str, label: &str, of: &[(usize, &str)]) -> MetricFamily {
        let mut metrics = Vec::new();
        for transport in TRANSPORTS {
            for (at, value) in of {
                let count = self.0.sum(transport as usize * COUNTERS + at);
                metrics.push(counter(
                    &[("transport", transport.name()), (label, value)],
                    count,
                ));
            }
        }
        family(name, help, MetricType::COUNTER, metrics)
    }

    /// A counter by transport.
    fn of(&self, name: &str, help: &str, at: usize) -> MetricFamily {
        let of = |transport: Transport| {
            let count = self.0.sum(transport as usize * COUNTERS + at);
            counter(&[("transport", transport.name())], count)
        };
        let metrics = TRANSPORTS.map(of).to_vec();
        family(name, help, MetricType::COUNTER, metrics)
    }
}

/// A gauge without labels.
fn one(name: &str, help: &str, value: f64) -> MetricFamily {
    family(name, help, MetricType::GAUGE, vec![gauge(&[], value)])
}
