//! From packet to packet: the path of every query.

use std::net::IpAddr;

use super::bytes::Answer;
use super::choose::{Choice, Client};
use super::signed::OfAsked;
use super::{Found, Snapshot, edns};
use crate::dnssec::online::{Online, Refused};
use crate::wire::{
    Edns, Flags, HEADER, Header, IN, PLAIN_UDP, Parsed, Query, QueryName, TO_QUESTION, parse,
    rcode, rtype,
};

/// How long an answer may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest over UDP, in octets, also for a client that takes more.
    pub largest_udp: u16,
    /// Whether the client has asked over TCP: then its message may have 65,535 octets.
    pub tcp: bool,
}

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Responded {
    /// Octets of the answer; 0 for none.
    pub len: usize,
    /// The response code, also its upper bits.
    pub code: u16,
    /// The type that was asked for; 0 when it could not be read.
    pub qtype: u16,
    /// Whether the answer was cut, so that the client asks again over TCP.
    pub truncated: bool,
}

/// An answer with signatures.
struct Signed<'a> {
    answer: &'a Answer,
    /// What is signed for the name that is asked, and with what.
    of_asked: Option<(&'a OfAsked, &'a Online)>,
    /// The DNAME record's owner, when the answer needs a CNAME record made for this name.
    dname: Option<&'a [u8]>,
}

/// What an answer is written with.
struct Reply<'a> {
    header: Header,
    question: &'a [u8],
    edns: Option<Edns>,
    limits: Limits,
}

impl Snapshot {
    /// Answers a packet of a client into `out`, which has room for the longest answer that the limits
    /// allow, and for 600 octets at least.
    pub fn respond(
        &self,
        packet: &[u8],
        client: IpAddr,
        limits: Limits,
        name: &mut QueryName,
        out: &mut [u8],
    ) -> Responded {
        match parse(packet, name) {
            Parsed::Silence => Responded {
                len: 0,
                code: rcode::FORMERR,
                qtype: 0,
                truncated: false,
            },
            Parsed::Refused(refused) => {
                let reply = Reply {
                    header: refused.header,
                    question: &packet[HEADER..HEADER + refused.question],
                    edns: refused.edns,
                    limits,
                };
                reply.error(refused.code, refused.qtype, out)
            }
            Parsed::Query(query) => {
                let reply = Reply {
                    header: query.header,
                    question: &packet[HEADER..HEADER + query.question],
                    edns: query.edns,
                    limits,
                };
                self.answer(&query, &reply, client, name, out)
            }
        }
    }

    fn answer(
        &self,
        query: &Query,
        reply: &Reply<'_>,
        client: IpAddr,
        name: &QueryName,
        out: &mut [u8],
    ) -> Responded {
        let qtype = query.qtype;
        if matches!(qtype, rtype::AXFR | rtype::IXFR) {
            return reply.error(rcode::REFUSED, qtype, out);
        }
        let found = self.find(name, qtype);
        if found.zone.is_none() {
            return reply.error(rcode::REFUSED, qtype, out);
        }
        if matches!(qtype, rtype::RRSIG | rtype::NSEC)
            && found.zone.is_some_and(|zone| self.is_signed(zone))
        {
            // They belong to other records; alone they say nothing that can be relied on.
            return reply.error(rcode::REFUSED, qtype, out);
        }
        let (number, scope) = match found.given.split() {
            Ok(number) => (Some(number), 0),
            Err(dynamic) => self.choose(dynamic, client, query.edns.as_ref()),
        };
        if let Some(number) = number
            && query.edns.is_some_and(|edns| edns.wants_dnssec)
            && let Some(signed) = self.with_signatures(number, &found)
        {
            return reply.send_signed(&signed, scope, name, qtype, out);
        }
        let answer = number.and_then(|number| self.answers.get(number as usize));
        let Some(answer) = answer else {
            return reply.error(rcode::SERVFAIL, qtype, out);
        };
        match found {
            Found { dname: None, .. } => reply.send(answer, scope, qtype, out),
            Found {
                dname: Some(owner), ..
            } => reply.send_dname(answer, owner, name, qtype, out),
        }
    }

    /// The answer for clients that want signatures; none where there are none.
    fn with_signatures<'a>(&'a self, number: u32, found: &Found<'a>) -> Option<Signed<'a>> {
        let (answer, of_asked) = self.signed(number)?;
        Some(Signed {
            answer,
            dname: found.dname,
            of_asked: match of_asked {
                Some(of_asked) => Some((of_asked, self.online(found.zone?)?)),
                None => None,
            },
        })
    }

    fn choose(&self, dynamic: u32, client: IpAddr, edns: Option<&Edns>) -> (Option<u32>, u8) {
        let Some(dynamic) = self.dynamics.get(dynamic as usize) else {
            return (None, 0);
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
        let Choice { variant, scope } = self.chooser.choose(dynamic.policy, dynamic.rtype, client);
        let variant = variant.filter(|variant| *variant < dynamic.count);
        // A scope is about the network that was told, and no other (RFC 7871, 7.2.1).
        let scope = if client.told { scope } else { 0 };
        (variant.map(|variant| dynamic.first + variant), scope)
    }
}

impl Reply<'_> {
    /// Octets that the whole answer may have.
    fn room(&self) -> usize {
        let Limits { largest_udp, tcp } = self.limits;
        let takes = |edns: Edns| usize::from(edns.udp_size.min(largest_udp)).max(PLAIN_UDP);
        match tcp {
            true => usize::from(u16::MAX),
            false => self.edns.map_or(PLAIN_UDP, takes),
        }
    }

    /// An answer without records.
    fn error(&self, code: u16, qtype: u16, out: &mut [u8]) -> Responded {
        self.finish(0, [0; 3], code, Flags::default(), 0, qtype, out)
    }

    /// An answer, or as much of it as there is room for.
    fn send(&self, answer: &Answer, scope: u8, qtype: u16, out: &mut [u8]) -> Responded {
        let start = HEADER + self.question.len();
        let room = self.room().min(out.len()) - start - edns::length(self.edns.as_ref());
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

    /// An answer with signatures, of which some may be made for the name that is asked.
    fn send_signed(
        &self,
        signed: &Signed<'_>,
        scope: u8,
        name: &QueryName,
        qtype: u16,
        out: &mut [u8],
    ) -> Responded {
        let answer = signed.answer;
        if let Some(owner) = signed.dname {
            return self.send_dname(answer, owner, name, qtype, out);
        }
        let start = HEADER + self.question.len();
        let room = self.room().min(out.len()) - start - edns::length(self.edns.as_ref());
        let flags = Flags(if answer.authoritative { Flags::AA } else { 0 });
        let compact = self.edns.is_some_and(|edns| edns.takes_compact);
        // To others the name is there, without types: the record that denies is of the name (RFC 9824, 3.1 and 5.1).
        let code = match answer.code.into() {
            rcode::NXDOMAIN if !compact => rcode::NOERROR,
            code => code,
        };
        let cut = Flags(flags.0 | Flags::TC);
        let Some((octets, additional)) = answer.fit(room) else {
            return self.finish(0, [0; 3], code, cut, scope, qtype, out);
        };
        let records = &mut out[start..start + room];
        answer.copy(octets, self.question.len() - 4, records);
        let [answers, mut authorities, _] = answer.counts;
        let mut length = octets.len();
        if let Some((of_asked, online)) = signed.of_asked {
            match of_asked.write(online, name.wire(), length, records) {
                Ok(0) => {}
                Ok(added) => {
                    length += added;
                    authorities += 2;
                }
                // Who asks again over TCP is there; an error there is for whoever asks too much.
                Err(Refused::Busy) if self.limits.tcp => {
                    return self.error(rcode::SERVFAIL, qtype, out);
                }
                Err(_) => return self.finish(0, [0; 3], code, cut, scope, qtype, out),
            }
        }
        let counts = [answers, authorities, additional];
        self.finish(length, counts, code, flags, scope, qtype, out)
    }

    /// The DNAME record, and the CNAME record that follows from it (RFC 6672, 3.1).
    fn send_dname(
        &self,
        answer: &Answer,
        owner: &[u8],
        name: &QueryName,
        qtype: u16,
        out: &mut [u8],
    ) -> Responded {
        const FIXED: usize = 12;
        let start = HEADER + self.question.len();
        let space = self.room().min(out.len()) - start - edns::length(self.edns.as_ref());
        let flags = Flags(Flags::AA);
        // The record's data is the target, which is not compressed; its signature may follow.
        let target = match answer.bytes().get(10..) {
            Some([high, low, rest @ ..]) => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                rest.get(..length).unwrap_or_default()
            }
            _ => &[],
        };
        let prefix = name.wire().len() - owner.len();
        let length = prefix + target.len();
        if length > crate::wire::LONGEST_NAME {
            // YXDOMAIN: the name is there, and too long.
            let code = 6;
            let Some((octets, _)) = answer.fit(space) else {
                return self.finish(0, [0; 3], code, Flags(flags.0 | Flags::TC), 0, qtype, out);
            };
            answer.copy(octets, self.question.len() - 4, &mut out[start..]);
            let counts = [answer.counts[0], 0, 0];
            return self.finish(octets.len(), counts, code, flags, 0, qtype, out);
        }
        let whole = answer.bytes().len() + FIXED + length;
        if whole > space {
            let flags = Flags(flags.0 | Flags::TC);
            return self.finish(0, [0; 3], rcode::NOERROR, flags, 0, qtype, out);
        }
        answer.copy(answer.bytes(), self.question.len() - 4, &mut out[start..]);
        let record = &mut out[start + answer.bytes().len()..start + whole];
        record[..2].copy_from_slice(&TO_QUESTION.to_be_bytes());
        record[2..4].copy_from_slice(&rtype::CNAME.to_be_bytes());
        record[4..6].copy_from_slice(&IN.to_be_bytes());
        // It may be kept as long as the DNAME record.
        record[6..10].copy_from_slice(&answer.bytes()[6..10]);
        record[10..12].copy_from_slice(&(length as u16).to_be_bytes());
        // As the client has written it.
        record[FIXED..FIXED + prefix].copy_from_slice(&self.question[..prefix]);
        record[FIXED + prefix..].copy_from_slice(target);
        let counts = [answer.counts[0] + 1, 0, 0];
        self.finish(whole, counts, rcode::NOERROR, flags, 0, qtype, out)
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
        if let Some(edns) = &self.edns {
            edns::write(edns, self.limits.largest_udp, code, scope, &mut out[len..]);
            len += edns::length(self.edns.as_ref());
        }
        let questions = u16::from(!self.question.is_empty());
        let header = Header {
            id: self.header.id,
            flags: Flags(self.header.flags.echoed().0 | flags.0 | code & 0x0F),
            counts: [
                questions,
                answers,
                authorities,
                additionals + u16::from(self.edns.is_some()),
            ],
        };
        header.write(out);
        Responded {
            len,
            code,
            qtype,
            truncated: flags.0 & Flags::TC != 0,
        }
    }
}
