//! Answers of signed zones, for clients that want signatures.

use super::{Reply, Responded};
use crate::answer::bytes::Answer;
use crate::answer::edns::Reason;
use crate::answer::signed::OfAsked;
use crate::answer::{Found, Snapshot};
use crate::dnssec::online::{Online, Refused};
use crate::wire::{Flags, HEADER, QueryName, rcode};

/// An answer with signatures.
pub(super) struct Signed<'a> {
    pub(super) answer: &'a Answer,
    /// What is signed for the name that is asked, and with what.
    of_asked: Option<(&'a OfAsked, &'a Online)>,
}

impl Snapshot {
    /// The answer for clients that want signatures; none where there are none.
    pub(super) fn with_signatures<'a>(
        &'a self,
        number: u32,
        found: &Found<'a>,
    ) -> Option<Signed<'a>> {
        let (answer, of_asked) = self.signed(number)?;
        Some(Signed {
            answer,
            of_asked: match of_asked {
                Some(of_asked) => Some((of_asked, self.online(found.zone?)?)),
                None => None,
            },
        })
    }
}

impl Reply<'_> {
    /// An answer with signatures, of which some may be made for the name that is asked.
    pub(super) fn send_signed(
        &self,
        signed: &Signed<'_>,
        scope: u8,
        name: &QueryName,
        qtype: u16,
        out: &mut [u8],
    ) -> Responded {
        let answer = signed.answer;
        let start = HEADER + self.question.len();
        let room = self.space(out);
        let flags = Flags(if answer.authoritative { Flags::AA } else { 0 });
        let compact = self.opt.is_some_and(|opt| opt.query.takes_compact);
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
                    return self.fail(rcode::SERVFAIL, Reason::BUSY, qtype, out);
                }
                Err(_) => return self.finish(0, [0; 3], code, cut, scope, qtype, out),
            }
        }
        let counts = [answers, authorities, additional];
        self.finish(length, counts, code, flags, scope, qtype, out)
    }
}
