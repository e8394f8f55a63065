//! Numbers of record types, and where names stand in their data.

use domain::base::iana::Rtype;

/// An IPv4 address.
pub const A: u16 = 1;
/// The servers of a zone.
pub const NS: u16 = 2;
/// Another name for this one.
pub const CNAME: u16 = 5;
/// The start of a zone.
pub const SOA: u16 = 6;
/// A pointer to another name.
pub const PTR: u16 = 12;
/// A server for mail.
pub const MX: u16 = 15;
/// Text.
pub const TXT: u16 = 16;
/// An IPv6 address.
pub const AAAA: u16 = 28;
/// A server for a service.
pub const SRV: u16 = 33;
/// Another tree for this one (RFC 6672).
pub const DNAME: u16 = 39;
/// EDNS (RFC 6891).
pub const OPT: u16 = 41;
/// The keys of a delegated zone; the parent's (RFC 4035, 3.1.4.1).
pub const DS: u16 = 43;
/// A signature.
pub const RRSIG: u16 = 46;
/// The next name.
pub const NSEC: u16 = 47;
/// The keys of a zone (RFC 4034, 2).
pub const DNSKEY: u16 = 48;
/// The next hash of a name (RFC 5155).
pub const NSEC3: u16 = 50;
/// How names are hashed (RFC 5155).
pub const NSEC3PARAM: u16 = 51;
/// What the parent's DS records should be (RFC 7344).
pub const CDS: u16 = 59;
/// The same, as keys (RFC 7344).
pub const CDNSKEY: u16 = 60;
/// In the list of an NSEC record: there is no such name (RFC 9824, 3.1). No record is of this type.
pub const NXNAME: u16 = 128;
/// How to reach a service (RFC 9460).
pub const SVCB: u16 = 64;
/// The same for HTTP.
pub const HTTPS: u16 = 65;
/// The addresses of another name, as records of this one. Nobody sees it: the number is the one that PowerDNS uses.
pub const ALIAS: u16 = 65401;
/// A change of a zone (RFC 1995).
pub const IXFR: u16 = 251;
/// A whole zone (RFC 5936).
pub const AXFR: u16 = 252;
/// Every type.
pub const ANY: u16 = 255;

/// The number of a type's name, such as `"A"` or `"TYPE65280"`.
pub fn parse(name: &str) -> Option<u16> {
    match name.eq_ignore_ascii_case("ALIAS") {
        true => Some(ALIAS),
        false => name.parse::<Rtype>().ok().map(Rtype::to_int),
    }
}

/// The name of a type.
pub fn name(number: u16) -> String {
    match number {
        ALIAS => "ALIAS".to_owned(),
        other => Rtype::from_int(other).to_string(),
    }
}

/// Whether no record can be of this type: it only means something in a query or a message.
pub fn is_meta(number: u16) -> bool {
    number == 0 || number == OPT || (128..=255).contains(&number)
}

/// Where names stand in a type's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// Octets before the first.
    pub offset: usize,
    /// How many stand there, one after the other.
    pub count: usize,
    /// Whether they may be compressed: in the types of RFC 1035 alone (RFC 3597, 4).
    pub compressible: bool,
}

/// Where names stand in a type's data; no name in those of a type that is not known.
pub fn names(number: u16) -> Names {
    let (offset, count, compressible) = match number {
        NS | CNAME | PTR | 3 | 4 | 7 | 8 | 9 => (0, 1, true),
        SOA | 14 => (0, 2, true),
        MX => (2, 1, true),
        DNAME | ALIAS => (0, 1, false),
        17 => (0, 2, false),
        18 | 21 | 36 | 107 | SVCB | HTTPS => (2, 1, false),
        SRV => (6, 1, false),
        _ => (0, 0, false),
    };
    Names {
        offset,
        count,
        compressible,
    }
}
