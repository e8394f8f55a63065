//! A line of the log. Names come from strangers: whatever they hold, a line stays one line of JSON.

use std::fmt;
use std::net::IpAddr;
use std::time::SystemTime;

use domain::base::iana::Rtype;
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::answer::Responded;
use crate::chooser::Chooser;
use crate::guard::{CookieState, Verdict};
use crate::metrics::Transport;
use crate::wire::{Edns, Parsed, Query, QueryName, Refused, parse, rcode};
use crate::zone::shown;

/// A query and what became of it.
pub(crate) struct Event<'a> {
    pub(crate) client: IpAddr,
    pub(crate) transport: Transport,
    pub(crate) packet: &'a [u8],
    pub(crate) outcome: &'a Responded,
    /// What the limiter said.
    pub(crate) verdict: Verdict,
    pub(crate) chooser: Option<&'a Chooser>,
}

/// As it is written; what is not known is left out.
#[derive(Serialize)]
struct Line<'a> {
    time: Text<&'a dyn fmt::Display>,
    client: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    subnet: Option<Text<Subnet>>,
    transport: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Text<&'a dyn fmt::Display>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<Text<Rtype>>,
    /// None when nothing was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    rcode: Option<&'static str>,
    octets: usize,
    #[serde(skip_serializing_if = "is_false")]
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cookie: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limited: Option<&'static str>,
}

/// Written as text.
struct Text<T>(T);

/// The network that a resolver has told.
struct Subnet {
    address: IpAddr,
    bits: u8,
}

impl Event<'_> {
    /// Appends the line, without its end.
    pub(crate) fn write(&self, now: SystemTime, out: &mut Vec<u8>) {
        let mut name = QueryName::default();
        let (question, edns) = match parse(self.packet, &mut name) {
            Parsed::Query(Query { question, edns, .. })
            | Parsed::Refused(Refused { question, edns, .. }) => (question, edns),
            Parsed::Silence => (0, None),
        };
        let outcome = self.outcome;
        let time = Timestamp::try_from(now).unwrap_or_default();
        let asked = shown(name.wire());
        let answered = outcome.len > 0 && self.verdict != Verdict::Drop;
        let line = Line {
            time: Text(&format_args!("{time:.3}")),
            client: self.client,
            subnet: edns.as_ref().and_then(told),
            transport: self.transport.name(),
            name: (question > 0).then_some(Text(&asked)),
            r#type: (question > 0).then(|| Text(Rtype::from_int(outcome.qtype))),
            rcode: answered.then(|| rcode::name(outcome.code)),
            octets: if answered { outcome.len } else { 0 },
            truncated: outcome.truncated,
            site: self.site(),
            cookie: match outcome.cookie {
                CookieState::Absent => None,
                CookieState::New => Some("new"),
                CookieState::Valid => Some("valid"),
                CookieState::Invalid => Some("invalid"),
            },
            limited: match self.verdict {
                Verdict::Send => None,
                Verdict::Slip => Some("slipped"),
                Verdict::Drop => Some("dropped"),
            },
        };
        // Into a buffer, and without a map: it cannot fail.
        let _ = serde_json::to_writer(out, &line);
    }

    fn site(&self) -> Option<&str> {
        let mut sites = self.chooser?.sites().iter();
        let site = sites.nth(self.outcome.site?.into())?;
        Some(&site.1.name)
    }
}

fn told(edns: &Edns) -> Option<Text<Subnet>> {
    edns.subnet.map(|subnet| {
        Text(Subnet {
            address: subnet.ip(),
            bits: subnet.source,
        })
    })
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !value
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl<T: fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
