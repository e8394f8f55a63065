//! From packet to packet: the path of every query.

mod moved;
mod signed;

use std::net::IpAddr;

use super::Snapshot;
use super::bytes::Answer;
use super::choose::{Choice, Client};
use super::edns::{Opt, Reason};
use super::snapshot::Given;
use crate::guard::{CookieState, Cookies};
use crate::wire::{
    Edns, Flags, HEADER, Header, PLAIN_UDP, Parsed, Query, QueryName, parse, rcode, rtype,
};

/// How long an answer may be, and what stands in its OPT record.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'a> {
    /// The longest over UDP, in octets, also for a client that takes more.
    pub largest_udp: u16,
    /// Whether the client has asked over TCP: then its message may have 65,535 octets.
    pub tcp: bool,
    /// Whether answers are padded for clients that pad: where nobody else can read them.
    pub padded: bool,
    /// Octets that are appended to the answer: padding reckons with them.
    pub appended: usize,
    /// How long the connection is kept, in tenths of a second, for clients that want to know.
    pub keepalive: Option<u16>,
    /// What the server says of itself to whoever asks.
    pub options: Options<'a>,
}

impl Limits<'_> {
    /// Over UDP, from a server that says nothing of itself.
    pub const fn udp(largest_udp: u16) -> Self {
        Self {
            largest_udp,
            tcp: false,
            padded: false,
            appended: 0,
            keepalive: None,
            options: Options {
                cookies: None,
                now: 0,
                identity: &[],
            },
        }
    }
}

/// What a server says of itself in OPT records.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// Judges and bakes cookies.
    pub cookies: Option<&'a Cookies>,
    /// The time for cookies, in seconds since 1970.
    pub now: u32,
    /// Its name (RFC 5001), of at most 64 octets; empty when it tells none.
    pub identity: &'a [u8],
}

/// What was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Responded {
    /// Octets of the answer; 0 for none.
    pub len: usize,
    /// The response code, also its upper bits.
    pub code: u16,
    /// The type that was asked for; 0 when it could not be read.
    pub qtype: u16,
    /// Whether the answer was cut, so that the client asks again over TCP.
    pub truncated: bool,
    /// Whether it is one for [`crate::transfer`], which may have another answer.
    pub odd: bool,
    /// Whether a key has shown who asks.
    pub verified: bool,
    /// Records in the answer section.
    pub answers: u16,
    /// What is thought of the client's cookie.
    pub cookie: CookieState,
    /// The number of the site that a policy chose.
    pub site: Option<u16>,
    /// Octets of the question and of the OPT record, between which the records stand.
    pub(crate) question: u16,
    pub(crate) opt: u16,
}

/// A packet that was read.
pub(super) struct Asked<'a> {
    pub(super) packet: &'a [u8],
    pub(super) parsed: &'a Parsed,
    /// The name of a query.
    pub(super) name: &'a QueryName,
    /// The number of that name, where there is such a name.
    pub(super) exact: Option<u32>,
}

/// What an answer is written with.
#[derive(Clone, Copy)]
struct Reply<'a> {
    header: Header,
    question: &'a [u8],
    opt: Option<Opt<'a>>,
    cookie: CookieState,
    limits: Limits<'a>,
    /// What it is about, where its code does not say it.
    reason: Option<Reason>,
}

impl Snapshot {
    /// Answers a packet of a client into `out`, which has room for the longest answer that the limits
    /// allow, and for 600 octets at least.
    pub fn respond(
        &self,
        packet: &[u8],
        client: IpAddr,
        limits: Limits<'_>,
        name: &mut QueryName,
        out: &mut [u8],
    ) -> Responded {
        let parsed = parse(packet, name);
        let exact = match parsed {
            Parsed::Query(_) => self.names.get(name.wire()),
            Parsed::Refused(_) | Parsed::Silence => None,
        };
        let asked = Asked {
            packet,
            parsed: &parsed,
            name,
            exact,
        };
        self.respond_to(&asked, client, limits, out)
    }

    /// Answers a packet that was read, and its name looked up.
    pub(super) fn respond_to(
        &self,
        asked: &Asked<'_>,
        client: IpAddr,
        limits: Limits<'_>,
        out: &mut [u8],
    ) -> Responded {
        let packet = asked.packet;
        match asked.parsed {
            Parsed::Silence => Responded {
                code: rcode::FORMERR,
                ..Responded::default()
            },
            Parsed::Refused(refused) => {
                let question = &packet[HEADER..HEADER + refused.question];
                let reply = Reply::new(refused.header, question, refused.edns, client, limits);
                Responded {
                    odd: refused.odd,
                    ..reply.error(refused.code, refused.qtype, out)
                }
            }
            Parsed::Query(query) => {
                let question = &packet[HEADER..HEADER + query.question];
                let reply = Reply::new(query.header, question, query.edns, client, limits);
                let responded = match reply.lacks_cookie() {
                    true => reply.error(rcode::BADCOOKIE, query.qtype, out),
                    false => self.answer(query, &reply, client, asked, out),
                };
                Responded {
                    odd: query.odd,
                    ..responded
                }
            }
        }
    }

    fn answer(
        &self,
        query: &Query,
        reply: &Reply<'_>,
        client: IpAddr,
        asked: &Asked<'_>,
        out: &mut [u8],
    ) -> Responded {
        let qtype = query.qtype;
        if matches!(qtype, rtype::AXFR | rtype::IXFR) {
            return reply.error(rcode::REFUSED, qtype, out);
        }
        let found = self.find_from(asked.exact, asked.name, qtype);
        if found.zone.is_none() {
            return reply.error(rcode::REFUSED, qtype, out);
        }
        if matches!(qtype, rtype::RRSIG | rtype::NSEC)
            && found.zone.is_some_and(|zone| self.is_signed(zone))
        {
            // They belong to other records; alone they say nothing that can be relied on.
            return reply.fail(rcode::REFUSED, Reason::NOT_SUPPORTED, qtype, out);
        }
        let (number, scope, site) = match found.given.split() {
            Ok(number) => (Some(number), 0, None),
            Err(dynamic) => self.choose(dynamic, client, query.edns.as_ref()),
        };
        let signed = number
            .filter(|_| query.edns.is_some_and(|edns| edns.wants_dnssec))
            .and_then(|number| self.with_signatures(number, &found));
        let plain = number.and_then(|number| self.answers.get(number as usize));
        let Some(answer) = signed.as_ref().map(|signed| signed.answer).or(plain) else {
            return reply.fail(rcode::SERVFAIL, found.given.lacks(), qtype, out);
        };
        let responded = match (found.dname, &signed) {
            (None, None) => reply.send(answer, scope, qtype, out),
            (None, Some(signed)) => reply.send_signed(signed, scope, asked.name, qtype, out),
            // What it leads to is a resolver's to ask for, where all of it is to be signed.
            (Some(owner), _) => {
                let moved = (&found, owner, signed.is_none());
                self.send_moved((reply, query), moved, answer, asked.name, client, out)
            }
        };
        Responded {
            site: site.or(responded.site),
            ..responded
        }
    }

    fn choose(
        &self,
        dynamic: u32,
        client: IpAddr,
        edns: Option<&Edns>,
    ) -> (Option<u32>, u8, Option<u16>) {
        let Some(dynamic) = self.dynamics.get(dynamic as usize) else {
            return (None, 0, None);
        };
        let told = edns
            .and_then(|edns| edns.subnet)
            .filter(|subnet| !subnet.is_empty());
        let client = match told {
            Some(subnet) => Client {
                address: subnet.ip(),
                prefix: subnet.source,
                told: true,
            },
            None => Client {
                address: client,
                prefix: if client.is_ipv4() { 32 } else { 128 },
                told: false,
            },
        };
        let choice = self.chooser.choose(dynamic.policy, dynamic.rtype, client);
        let Choice {
            variant,
            scope,
            site,
        } = choice;
        let variant = variant.filter(|variant| *variant < dynamic.count);
        // A scope is about the network that was told, and no other (RFC 7871, 7.2.1).
        let scope = if client.told { scope } else { 0 };
        (variant.map(|variant| dynamic.first + variant), scope, site)
    }
}

impl<'a> Reply<'a> {
    fn new(
        header: Header,
        question: &'a [u8],
        edns: Option<Edns>,
        client: IpAddr,
        limits: Limits<'a>,
    ) -> Self {
        let Options {
            cookies,
            now,
            identity,
        } = limits.options;
        let told = edns.and_then(|edns| edns.cookie).zip(cookies);
        let judged = told.map(|(cookie, cookies)| cookies.judge(&cookie, client, now));
        let opt = edns.map(|query| Opt {
            query,
            cookie: judged.map(|(_, baked)| baked),
            identity: if query.wants_identity { identity } else { &[] },
            keepalive: limits.keepalive.filter(|_| query.keepalive),
            padded: (query.padding && limits.padded).then_some(limits.appended),
        });
        Self {
            header,
            question,
            opt,
            cookie: judged.map_or(CookieState::Absent, |(state, _)| state),
            limits,
            reason: None,
        }
    }

    /// Whether the client has to get a cookie first. Over TCP it is known to be there.
    fn lacks_cookie(&self) -> bool {
        let required = self.limits.options.cookies;
        let lacks = matches!(self.cookie, CookieState::New | CookieState::Invalid);
        lacks && !self.limits.tcp && required.is_some_and(|cookies| cookies.require)
    }

    /// Octets that the whole answer may have.
    fn room(&self) -> usize {
        let Limits {
            largest_udp, tcp, ..
        } = self.limits;
        let takes = |opt: &Opt<'_>| usize::from(opt.query.udp_size.min(largest_udp)).max(PLAIN_UDP);
        match tcp {
            true => usize::from(u16::MAX),
            false => self.opt.as_ref().map_or(PLAIN_UDP, takes),
        }
    }

    /// Octets that the records may have.
    fn space(&self, out: &[u8]) -> usize {
        let start = HEADER + self.question.len();
        let opt = self.opt.as_ref().map_or(0, Opt::len);
        self.room().min(out.len()) - start - opt
    }

    /// An answer without records.
    fn error(&self, code: u16, qtype: u16, out: &mut [u8]) -> Responded {
        self.finish(0, [0; 3], code, Flags::default(), 0, qtype, out)
    }

    /// An answer without records, and why.
    fn fail(&self, code: u16, reason: Reason, qtype: u16, out: &mut [u8]) -> Responded {
        let reason = Some(reason);
        Reply { reason, ..*self }.error(code, qtype, out)
    }

    /// An answer, or as much of it as there is room for.
    fn send(&self, answer: &Answer, scope: u8, qtype: u16, out: &mut [u8]) -> Responded {
        let start = HEADER + self.question.len();
        let room = self.space(out);
        let flags = Flags(if answer.authoritative { Flags::AA } else { 0 });
        let code = answer.code.into();
        let Some((octets, additional)) = answer.fit(room) else {
            let flags = Flags(flags.0 | Flags::TC);
            return self.finish(0, [0; 3], code, flags, scope, qtype, out);
        };
        answer.copy(octets, self.question.len() - 4, &mut out[start..]);
        let [answers, authorities, _] = answer.counts;
        let counts = [answers, authorities, additional];
        self.finish(octets.len(), counts, code, flags, scope, qtype, out)
    }

    /// Writes what stands around the records, which are in `out` already.
    #[allow(
        clippy::too_many_arguments,
        reason = "each is a part of the message, and a struct would be made for this one call"
    )]
    fn finish(
        &self,
        records: usize,
        [answers, authorities, additionals]: [u16; 3],
        code: u16,
        flags: Flags,
        scope: u8,
        qtype: u16,
        out: &mut [u8],
    ) -> Responded {
        let start = HEADER + self.question.len();
        out[HEADER..start].copy_from_slice(self.question);
        let mut len = start + records;
        let mut octets = 0;
        if let Some(opt) = &self.opt {
            let reason = self.reason.or_else(|| Reason::of(code, qtype));
            let size = self.limits.largest_udp;
            let room = out.len().min(usize::from(u16::MAX));
            octets = opt.write(len, size, code, scope, reason, &mut out[len..room]);
            len += octets;
        }
        let questions = u16::from(!self.question.is_empty());
        let header = Header {
            id: self.header.id,
            flags: Flags(self.header.flags.echoed().0 | flags.0 | code & 0x0F),
            counts: [
                questions,
                answers,
                authorities,
                additionals + u16::from(self.opt.is_some()),
            ],
        };
        header.write(out);
        Responded {
            len,
            code,
            qtype,
            truncated: flags.0 & Flags::TC != 0,
            odd: false,
            verified: false,
            answers,
            cookie: self.cookie,
            site: None,
            question: self.question.len() as u16,
            opt: octets as u16,
        }
    }
}

impl Given {
    /// Why there is no answer where this leads to none.
    fn lacks(self) -> Reason {
        match self {
            Self::NOTHING => Reason::NOT_READY,
            Self::UNKNOWN => Reason::ALIAS,
            _ => Reason::NO_ENDPOINT,
        }
    }
}

impl Responded {
    /// Takes the records out of the answer in `out`. Whoever has sent a cookie gets one, and BADCOOKIE, to ask again with
    /// it (RFC 7873, 5.2.3); all others are told to ask again over TCP.
    pub(crate) fn cut(&mut self, out: &mut [u8]) {
        let start = HEADER + usize::from(self.question);
        let opt = usize::from(self.opt);
        out.copy_within(self.len - opt..self.len, start);
        self.len = start + opt;
        for (counted, count) in [(6, 0), (8, 0), (10, u8::from(opt > 0))] {
            out[counted..counted + 2].copy_from_slice(&[0, count]);
        }
        self.answers = 0;
        if self.cookie == CookieState::Absent {
            self.truncated = true;
            out[2] |= (Flags::TC >> 8) as u8;
            return;
        }
        self.code = rcode::BADCOOKIE;
        // It is not ours to say with authority, and the upper bits of the code stand in the OPT record.
        out[2] &= !((Flags::AA | Flags::TC) >> 8) as u8;
        self.truncated = false;
        out[3] = out[3] & 0xF0 | (rcode::BADCOOKIE & 0x0F) as u8;
        out[start + UPPER_CODE] = (rcode::BADCOOKIE >> 4) as u8;
    }
}

/// Where the upper bits of the code stand in an OPT record: after its name, type and size.
const UPPER_CODE: usize = 5;
