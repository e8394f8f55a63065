//! The OPT record of an answer (RFC 6891, 6.1.1).

use crate::guard::{Baked, LONGEST_IDENTITY};
use crate::wire::{Edns, WANTS_DNSSEC, opt_record, option, rcode, rtype};

/// What stands in the OPT record of an answer.
#[derive(Clone, Copy)]
pub(super) struct Opt<'a> {
    pub(super) query: Edns,
    pub(super) cookie: Option<Baked>,
    /// Which server answers; empty when that is nobody's business, or nobody has asked.
    pub(super) identity: &'a [u8],
    /// How long the connection is kept, in tenths of a second; none where nobody has asked.
    pub(super) keepalive: Option<u16>,
    /// Octets that follow the record, where the message is padded; none where it is not.
    pub(super) padded: Option<usize>,
}

/// What an error is about (RFC 8914).
#[derive(Clone, Copy)]
pub(super) struct Reason {
    code: u16,
    text: &'static str,
}

/// Octets of an OPT record without options.
const PLAIN: usize = 11;
/// Octets of an option's code and length.
const HEAD: usize = 4;
/// Padded answers have a multiple of so many octets (RFC 8467, 4.1).
const BLOCK: usize = 468;

impl Reason {
    /// The records of the zone have not come, or are too old.
    pub(super) const NOT_READY: Self = Self { code: 14, text: "" };
    /// Not supported.
    pub(super) const NOT_SUPPORTED: Self = Self { code: 21, text: "" };
    /// A policy has nothing to choose.
    pub(super) const NO_ENDPOINT: Self = Self::other("no endpoint is up");
    /// Nobody knows the addresses of the target, or there are none because it leads in a circle.
    pub(super) const ALIAS: Self = Self::other("alias not known");
    /// Signatures for the names that are asked are limited.
    pub(super) const BUSY: Self = Self::other("too many queries");

    /// Another error. The text is of 17 octets at most: what is sent beyond a limit is not to be much longer than
    /// queries.
    const fn other(text: &'static str) -> Self {
        Self { code: 0, text }
    }

    /// Why a query of this type gets a code, where the code alone says it.
    pub(super) fn of(code: u16, qtype: u16) -> Option<Self> {
        let code = match (code, qtype) {
            // Prohibited.
            (rcode::REFUSED, rtype::AXFR | rtype::IXFR) => 18,
            // Not authoritative.
            (rcode::REFUSED, _) => 20,
            (rcode::NOTIMP, _) => return Some(Self::NOT_SUPPORTED),
            _ => return None,
        };
        Some(Self { code, text: "" })
    }

    fn len(self) -> usize {
        HEAD + 2 + self.text.len()
    }

    fn write(self, out: &mut Writer<'_>) {
        let [high, low] = self.code.to_be_bytes();
        out.head(option::ERROR, self.len() - HEAD);
        out.put(&[high, low]);
        out.put(self.text.as_bytes());
    }
}

impl Opt<'_> {
    /// The most that it takes beside records: with the network of a client, an identity of 64 octets, and all else.
    pub(super) const LONGEST: usize = PLAIN
        + (HEAD + 4 + 16)
        + (HEAD + size_of::<Baked>())
        + (HEAD + LONGEST_IDENTITY)
        + (HEAD + 2);

    /// How many octets [`Self::write`] takes without a reason and padding.
    pub(super) fn len(&self) -> usize {
        let identity = match self.identity.len() {
            0 => 0,
            length => HEAD + length,
        };
        PLAIN
            + self.query.subnet.map_or(0, |subnet| subnet.len())
            + self.cookie.map_or(0, |cookie| HEAD + cookie.len())
            + identity
            + self.keepalive.map_or(0, |_| HEAD + 2)
    }

    /// Writes the record after so many octets of the message; how many octets it took. `size` is what we take over
    /// UDP, `code` the whole response code. Without room for a block there is no padding.
    pub(super) fn write(
        &self,
        before: usize,
        size: u16,
        code: u16,
        scope: u8,
        reason: Option<Reason>,
        out: &mut [u8],
    ) -> usize {
        let mut options = Writer {
            out: &mut out[PLAIN..],
            at: 0,
        };
        if let Some(subnet) = self.query.subnet {
            options.at += subnet.write(scope, options.out);
        }
        if let Some(cookie) = &self.cookie {
            options.head(option::COOKIE, cookie.len());
            options.put(cookie);
        }
        if !self.identity.is_empty() {
            options.head(option::IDENTITY, self.identity.len());
            options.put(self.identity);
        }
        if let Some(keepalive) = self.keepalive {
            options.head(option::KEEPALIVE, 2);
            options.put(&keepalive.to_be_bytes());
        }
        if let Some(reason) = reason {
            reason.write(&mut options);
        }
        if let Some(after) = self.padded {
            options.pad(before + PLAIN, after);
        }
        let options = options.at;
        // DO is copied (RFC 3225, 3), and CO too (RFC 9824, 5.1).
        let dnssec = if self.query.wants_dnssec {
            WANTS_DNSSEC
        } else {
            0
        };
        let compact = if self.query.takes_compact { 0x40 } else { 0 };
        let record = opt_record(size, code, dnssec | compact, options as u16);
        out[..PLAIN].copy_from_slice(&record);
        PLAIN + options
    }
}

/// Writes options one after the other.
struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn head(&mut self, code: u16, length: usize) {
        self.put(&code.to_be_bytes());
        self.put(&(length as u16).to_be_bytes());
    }

    /// Fills the message, which has so many octets before the options and after them, up to a whole block.
    fn pad(&mut self, before: usize, after: usize) {
        let (start, around) = (self.at + HEAD, before + after);
        let end = (around + start).next_multiple_of(BLOCK) - around;
        if end + after <= self.out.len() {
            self.head(option::PADDING, end - start);
            self.out[start..end].fill(0);
            self.at = end;
        }
    }

    fn put(&mut self, octets: &[u8]) {
        self.out[self.at..self.at + octets.len()].copy_from_slice(octets);
        self.at += octets.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: usize = HEAD + 2;

    fn padding(padded: Option<usize>, before: usize, room: usize) -> usize {
        let opt = Opt {
            query: Edns {
                udp_size: 1232,
                version: 0,
                wants_dnssec: false,
                takes_compact: false,
                subnet: None,
                cookie: None,
                wants_identity: false,
                keepalive: true,
                padding: true,
            },
            cookie: None,
            identity: &[],
            keepalive: Some(100),
            padded,
        };
        let mut out = vec![0xAA; room];
        let written = opt.write(before, 1232, 0, 0, None, &mut out);
        assert!(out[written..].iter().all(|octet| *octet == 0xAA));
        let options = usize::from(u16::from_be_bytes([out[9], out[10]]));
        assert_eq!(options, written - PLAIN);
        written - opt.len()
    }

    #[test]
    fn answers_are_padded_to_blocks_where_there_is_room() {
        for (before, after) in (30..=1000).flat_map(|before| [(before, 0), (before, 85)]) {
            let padding = padding(Some(after), before, 1000);
            assert_eq!((before + PLAIN + KEPT + padding + after) % BLOCK, 0);
            assert!((HEAD..BLOCK + HEAD).contains(&padding), "{padding}");
        }
        assert_eq!(padding(Some(0), 30, 437), 0, "a block has no room");
        assert_eq!(padding(Some(85), 30, 438), 336, "also for what follows");
        assert_eq!(padding(Some(85), 30, 437), 0, "a block has no room");
        assert_eq!(padding(None, 30, 1000), 0);
    }
}
