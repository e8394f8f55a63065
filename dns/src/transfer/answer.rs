//! The slow path of packets: signed ones, NOTIFY, and requests for transfers.
//!
//! It may allocate, and it must not block: over UDP it runs on the thread of the socket.

use std::net::IpAddr;
use std::time::Duration;

use domain::base::Message;

use super::journal::Since;
use super::out::{Outgoing, TooLong};
use super::request::{NOTIFY, now};
use super::slots::Slot;
use super::told::Outcome;
use super::tsig::{Chain, Rejected, error_answer, question, verify_request};
use crate::answer::{Limits, Responded};
use crate::serve::Shared;
use crate::state::State;
use crate::wire::rtype::{AXFR, IXFR, SOA};
use crate::wire::{
    Edns, Flags, HEADER, Header, PLAIN_UDP, Parsed, Query, QueryName, WANTS_DNSSEC, opt_record,
    parse, rcode,
};
use crate::zone::shown;

/// A packet, and who has sent it.
pub(crate) struct Asked<'a> {
    pub(crate) packet: &'a [u8],
    pub(crate) client: IpAddr,
    pub(crate) limits: Limits<'a>,
    /// Whether a transfer can be sent where it comes from.
    pub(crate) takes_transfers: bool,
}

/// What a packet gets.
pub(crate) enum Reply {
    /// One answer, which is written.
    Answer(Responded),
    /// A sequence of messages.
    Transfer(Box<Transfer>),
}

/// A transfer that was let in.
pub(crate) struct Transfer {
    messages: Outgoing,
    rate: Option<u64>,
    zone: String,
    sends: Outcome,
    _slot: Slot,
}

impl Transfer {
    /// The next message; none after the last.
    ///
    /// # Errors
    /// A record that fits into no message.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, TooLong> {
        self.messages.next(now())
    }

    /// How long to wait after so many octets.
    pub(crate) fn pause(&self, octets: usize) -> Duration {
        let seconds = |rate: u64| octets as f64 / rate as f64;
        let pause = self.rate.map(seconds).map(Duration::from_secs_f64);
        pause.unwrap_or_default()
    }

    /// What it is when all was sent.
    pub(crate) fn sends(&self) -> Outcome {
        self.sends
    }

    /// The zone.
    pub(crate) fn zone(&self) -> &str {
        &self.zone
    }
}

/// One packet on its way to its reply.
struct Slow<'a> {
    shared: &'a Shared,
    state: &'a State,
    client: IpAddr,
    limits: Limits<'a>,
    takes_transfers: bool,
    /// Of a signed packet.
    chain: Option<Chain>,
}

/// Answers a packet; `name` and `out` as in [`crate::answer::Snapshot::respond`].
pub(crate) fn reply(
    shared: &Shared,
    state: &State,
    asked: &Asked<'_>,
    name: &mut QueryName,
    out: &mut [u8],
) -> Reply {
    let keys = &state.transfers.keys;
    let (chain, stripped) = match verify_request(
        keys,
        asked.packet,
        asked.limits.largest_udp,
        now(),
    ) {
        Ok(None) => (None, None),
        Ok(Some((chain, stripped))) => (Some(chain), Some(stripped)),
        Err(rejected) => {
            let code = match &rejected {
                Rejected::Malformed => rcode::FORMERR,
                Rejected::Wrong(_, why) => {
                    tracing::debug!(client = %asked.client, %why, "a signed packet is not accepted");
                    rcode::NOTAUTH
                }
            };
            return Reply::Answer(put(
                &rejected.answer(asked.packet, asked.limits.largest_udp),
                code,
                out,
            ));
        }
    };
    let slow = Slow {
        shared,
        state,
        client: asked.client,
        limits: Limits {
            appended: chain
                .as_ref()
                .map_or(0, |chain| chain.key().record_length()),
            ..asked.limits
        },
        takes_transfers: asked.takes_transfers,
        chain,
    };
    let packet = stripped.as_deref().unwrap_or(asked.packet);
    let verified = slow.chain.is_some();
    match slow.reply(packet, name, out) {
        Reply::Answer(outcome) => Reply::Answer(Responded {
            verified,
            ..outcome
        }),
        transfer => transfer,
    }
}

impl Slow<'_> {
    fn reply(mut self, packet: &[u8], name: &mut QueryName, out: &mut [u8]) -> Reply {
        let header = Header::read(packet);
        if header.is_some_and(|header| header.flags.opcode() == NOTIFY) {
            let (answer, code) = self.notified(packet, name);
            return Reply::Answer(self.send(answer, code, out));
        }
        if let Parsed::Query(query) = parse(packet, name)
            && (query.qtype == IXFR || query.qtype == AXFR && self.limits.tcp)
        {
            return self.transfer(packet, &query, name, out);
        }
        let outcome = self.respond(packet, name, out);
        Reply::Answer(outcome)
    }

    /// An answer of the usual kind, signed.
    fn respond(&mut self, packet: &[u8], name: &mut QueryName, out: &mut [u8]) -> Responded {
        let snapshot = &self.state.snapshot;
        let outcome = snapshot.respond(packet, self.client, self.limits, name, out);
        let Some(chain) = &mut self.chain else {
            return outcome;
        };
        if outcome.len == 0 {
            return outcome;
        }
        let mut answer = out[..outcome.len].to_vec();
        let room = match (self.limits.tcp, parse(packet, name)) {
            (true, _) => usize::from(u16::MAX),
            (
                false,
                Parsed::Query(Query {
                    edns: Some(edns), ..
                }),
            ) => usize::from(edns.udp_size.min(self.limits.largest_udp)).max(PLAIN_UDP),
            (false, _) => PLAIN_UDP,
        };
        let mut truncated = outcome.truncated;
        if answer.len() + chain.key().record_length() > room.min(out.len()) {
            answer = error_answer(packet, outcome.code, self.limits.largest_udp);
            answer[2] |= (Flags::TC >> 8) as u8;
            truncated = true;
        }
        chain.sign(&mut answer, now());
        let put = put(&answer, outcome.code, out);
        Responded {
            len: put.len,
            truncated,
            odd: true,
            ..outcome
        }
    }

    /// Signs and writes an answer.
    fn send(&mut self, mut answer: Vec<u8>, code: u16, out: &mut [u8]) -> Responded {
        if let Some(chain) = &mut self.chain {
            chain.sign(&mut answer, now());
        }
        put(&answer, code, out)
    }

    /// Word of a new version (RFC 1996, 3.11).
    fn notified(&self, packet: &[u8], name: &mut QueryName) -> (Vec<u8>, u16) {
        let error = |code| (self.error(packet, code), code);
        let asked = question(packet).filter(|asked| asked.ends_with(&[0, SOA as u8, 0, 1]));
        let Some(asked) = asked else {
            return error(rcode::FORMERR);
        };
        name.set(&asked[..asked.len() - 4]);
        let secondary = self.shared.learned.secondaries.get(name.wire());
        let rules = self.state.transfers.zones.get(name.wire());
        let (Some(secondary), Some(rules)) = (secondary, rules) else {
            return error(rcode::NOTAUTH);
        };
        let key = self.chain.as_ref().map(|chain| &chain.key().name);
        if !rules.may_notify(self.client, key) {
            tracing::debug!(client = %self.client, zone = %shown(name.wire()), "NOTIFY from somebody who is no primary");
            return error(rcode::REFUSED);
        }
        secondary.hear_of(serial_in(packet, Section::Answer));
        let (mut answer, code) = error(rcode::NOERROR);
        answer[2] |= (Flags::AA >> 8) as u8;
        (answer, code)
    }

    /// A zone, or what has changed in it.
    fn transfer(
        mut self,
        packet: &[u8],
        query: &Query,
        name: &mut QueryName,
        out: &mut [u8],
    ) -> Reply {
        let told = &self.shared.learned.told;
        let apex = name.wire().to_vec();
        let rules = self.state.transfers.zones.get(&apex[..]);
        let key = self.chain.as_ref().map(|chain| &chain.key().name);
        let may_copy = rules.is_some_and(|rules| rules.may_copy(self.client, key));
        if !may_copy || !self.takes_transfers {
            told.count(Outcome::Refused);
            // As for any name that is nobody's business.
            return Reply::Answer(self.respond(packet, name, out));
        }
        let serial = match query.qtype {
            IXFR => match serial_in(packet, Section::Authority) {
                Some(serial) => Some(serial),
                None => return self.refuse(packet, rcode::FORMERR, out),
            },
            _ => None,
        };
        // It has expired, or never came.
        let Some((version, since)) = told.since(&apex, serial) else {
            return self.refuse(packet, rcode::SERVFAIL, out);
        };
        let question = &packet[HEADER..HEADER + query.question];
        let zone = version.soa.owner.to_string();
        let size = self.limits.largest_udp;
        let outgoing = |since, chain| {
            let opt = query.edns.map(|edns| {
                let flags = if edns.wants_dnssec { WANTS_DNSSEC } else { 0 };
                opt_record(size, rcode::NOERROR, flags, 0)
            });
            Outgoing::new(query.header, question, opt, &version, since, chain)
        };
        if !self.limits.tcp {
            // With its SOA record alone whoever has an earlier version comes over TCP (RFC 1995, 2).
            let mut answer = outgoing(Since::UpToDate, self.chain.take());
            return match answer.next(now()) {
                Ok(Some(answer)) if answer.len() <= PLAIN_UDP.max(udp_room(query.edns)) => {
                    Reply::Answer(put(&answer, rcode::NOERROR, out))
                }
                _ => self.refuse(packet, rcode::SERVFAIL, out),
            };
        }
        let limits = self.state.transfers.outgoing;
        let Some(slot) = told.slots.begin(self.client, &limits) else {
            tracing::warn!(zone, client = %self.client, "too many transfers at a time");
            return self.refuse(packet, rcode::SERVFAIL, out);
        };
        tracing::info!(zone, client = %self.client, serial = version.serial(), since = serial, "a transfer begins");
        let sends = match since {
            Since::Whole => Outcome::Whole,
            Since::UpToDate | Since::Steps(_) => Outcome::Changes,
        };
        Reply::Transfer(Box::new(Transfer {
            sends,
            messages: outgoing(since, self.chain.take()),
            rate: limits.rate,
            zone,
            _slot: slot,
        }))
    }

    /// No transfer.
    fn refuse(mut self, packet: &[u8], code: u16, out: &mut [u8]) -> Reply {
        self.shared.learned.told.count(Outcome::Refused);
        let answer = self.error(packet, code);
        Reply::Answer(self.send(answer, code, out))
    }

    /// An answer without records.
    fn error(&self, packet: &[u8], code: u16) -> Vec<u8> {
        error_answer(packet, code, self.limits.largest_udp)
    }
}

/// How long an answer over UDP may be.
fn udp_room(edns: Option<Edns>) -> usize {
    edns.map_or(PLAIN_UDP, |edns| usize::from(edns.udp_size))
}

#[derive(Clone, Copy)]
enum Section {
    Answer,
    Authority,
}

/// The serial in the SOA record of a section.
fn serial_in(packet: &[u8], section: Section) -> Option<u32> {
    let message = Message::from_octets(packet).ok()?;
    let mut records = match section {
        Section::Answer => message.answer().ok()?,
        Section::Authority => message.authority().ok()?,
    };
    let soa = records.next()?.ok()?;
    let soa = soa.to_record::<domain::rdata::Soa<_>>().ok()??;
    Some(soa.data().serial().into_int())
}

/// Writes an answer.
fn put(answer: &[u8], code: u16, out: &mut [u8]) -> Responded {
    let len = answer.len().min(out.len());
    out[..len].copy_from_slice(&answer[..len]);
    let asked = question(answer)
        .and_then(|question| question.len().checked_sub(4).map(|at| &question[at..]));
    let qtype = asked.map_or(0, |kind| u16::from_be_bytes([kind[0], kind[1]]));
    Responded {
        len,
        code,
        qtype,
        odd: true,
        ..Responded::default()
    }
}
