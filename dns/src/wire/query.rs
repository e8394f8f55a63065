//! From a packet to a query.

use super::{Edns, HEADER, Header, IN, QueryName, rcode, rtype, u16_at};

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A query to answer; its name is in the [`QueryName`].
    Query(Query),
    /// An error to answer, or nothing but a cookie: NOERROR without a question.
    Refused(Refused),
    /// Nothing that may be answered: a response, or too short to tell whom it is from.
    Silence,
}

/// A query of the usual kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Its header.
    pub header: Header,
    /// Octets of the question, which stands after the header.
    pub question: usize,
    /// The type that is asked for.
    pub qtype: u16,
    /// What the client says about itself.
    pub edns: Option<Edns>,
    /// Whether it is one for [`crate::transfer`]: signed, or for a transfer.
    pub odd: bool,
}

/// A packet that gets an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its header.
    pub header: Header,
    /// The response code.
    pub code: u16,
    /// Octets of the question that is echoed; 0 when it cannot be read.
    pub question: usize,
    /// The type that is asked for, where the question can be read.
    pub qtype: u16,
    /// What the client says about itself, as far as it can be read.
    pub edns: Option<Edns>,
    /// Whether it is one for [`crate::transfer`]: signed, or NOTIFY.
    pub odd: bool,
}

/// The usual kind of query; any other is an error here.
const QUERY: u8 = 0;

/// Word of a new version of a zone (RFC 1996).
const NOTIFY: u8 = 4;
/// A signature (RFC 8945).
const TSIG: u16 = 250;

/// Reads a packet. `name` is overwritten.
pub fn parse(packet: &[u8], name: &mut QueryName) -> Parsed {
    let Some(header) = Header::read(packet) else {
        return Parsed::Silence;
    };
    // An answer to a response would be answered again.
    if header.flags.is_response() {
        return Parsed::Silence;
    }
    let mut refused = Refused {
        header,
        code: rcode::FORMERR,
        question: 0,
        qtype: 0,
        edns: None,
        odd: false,
    };
    if header.flags.opcode() != QUERY {
        refused.code = rcode::NOTIMP;
        refused.odd = header.flags.opcode() == NOTIFY;
        return Parsed::Refused(refused);
    }
    // Exactly one question (RFC 9619), and no answers in it.
    let [1, 0, authorities, additionals] = header.counts else {
        if let [0, 0, 0, additionals] = header.counts
            && let Some(records) = read_records(packet, HEADER, 0, additionals)
            && let Some(edns) = records.edns.filter(|edns| edns.cookie.is_some())
        {
            // Whoever has a cookie may ask for the server's part alone (RFC 7873, 5.4).
            refused.code = rcode::NOERROR;
            refused.edns = Some(edns);
        }
        return Parsed::Refused(refused);
    };
    let Some(question) = read_question(packet, name) else {
        return Parsed::Refused(refused);
    };
    let end = HEADER + question.length;
    // Only who asks for changes says which version it has (RFC 1995, 3).
    if authorities > u16::from(question.qtype == rtype::IXFR) {
        return Parsed::Refused(refused);
    }
    let Some(Records { edns, signed }) = read_records(packet, end, authorities, additionals) else {
        return Parsed::Refused(refused);
    };
    refused.question = question.length;
    refused.qtype = question.qtype;
    refused.edns = edns;
    refused.odd = signed;
    if edns.is_some_and(|edns| edns.version != 0) {
        refused.code = rcode::BADVERS;
        return Parsed::Refused(refused);
    }
    match judge(&question) {
        Some(code) => Parsed::Refused(Refused { code, ..refused }),
        None => Parsed::Query(Query {
            header,
            question: question.length,
            qtype: question.qtype,
            edns,
            odd: signed || matches!(question.qtype, rtype::AXFR | rtype::IXFR),
        }),
    }
}

struct Question {
    length: usize,
    qtype: u16,
    class: u16,
}

/// Whether it is a question that nobody can answer; the response code.
fn judge(question: &Question) -> Option<u16> {
    match question.qtype {
        // OPT and TSIG are no questions, 0 is no type, and nobody asks for NXNAME (RFC 9824, 3.5).
        0 | rtype::OPT | rtype::NXNAME | 250 => return Some(rcode::FORMERR),
        // Mail agents have been gone since 1986 (RFC 1035, 3.2.3), and TKEY is not served.
        249 | 253 | 254 => return Some(rcode::NOTIMP),
        _ => {}
    }
    (question.class != IN).then_some(rcode::REFUSED)
}

fn read_question(packet: &[u8], name: &mut QueryName) -> Option<Question> {
    let bytes = packet.get(HEADER..)?;
    let end = name.read(bytes)?;
    Some(Question {
        length: end + 4,
        qtype: u16_at(bytes, end)?,
        class: u16_at(bytes, end + 2)?,
    })
}

/// What the records after the question say.
struct Records {
    edns: Option<Edns>,
    signed: bool,
}

/// Reads the records after the question for the OPT record. None when they are broken: a record
/// that is cut, a second OPT, octets after the last record.
fn read_records(
    packet: &[u8],
    start: usize,
    authorities: u16,
    additionals: u16,
) -> Option<Records> {
    let mut at = start;
    let mut edns = None;
    let mut signed = false;
    for number in 0..u32::from(authorities) + u32::from(additionals) {
        let owner = at;
        at = skip_name(packet, at)?;
        let fixed = packet.get(at..at + 10)?;
        let [t0, t1, c0, c1, ttl @ .., l0, l1] = fixed else {
            return None;
        };
        let length = usize::from(u16::from_be_bytes([*l0, *l1]));
        let data = packet.get(at + 10..at + 10 + length)?;
        at += 10 + length;
        signed |= u16::from_be_bytes([*t0, *t1]) == TSIG;
        if u16::from_be_bytes([*t0, *t1]) == rtype::OPT {
            // Once, among the additional records, and of the root (RFC 6891, 6.1.1 and 6.1.2).
            if edns.is_some() || packet[owner] != 0 || number < u32::from(authorities) {
                return None;
            }
            let size = u16::from_be_bytes([*c0, *c1]);
            edns = Some(Edns::read(size, ttl.try_into().ok()?, data)?);
        }
    }
    (at == packet.len()).then_some(Records { edns, signed })
}

/// Where the name at `at` ends. Pointers are not followed: what they point to is of no interest here.
pub(crate) fn skip_name(packet: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match packet.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(*length),
            0xC0.. => return packet.get(at + 1).map(|_| at + 2),
            _ => return None,
        }
    }
}
