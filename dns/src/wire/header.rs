//! The header of a message (RFC 1035, 4.1.1).

use super::{HEADER, u16_at};

/// The fields of a header that a server reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Says which answer is to which query.
    pub id: u16,
    /// The flags.
    pub flags: Flags,
    /// How many questions, answers, authorities and additional records follow.
    pub counts: [u16; 4],
}

/// The second pair of octets of a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u16);

impl Flags {
    /// It is a response.
    pub const QR: u16 = 0x8000;
    /// The answer is from an authority.
    pub const AA: u16 = 0x0400;
    /// It was cut.
    pub const TC: u16 = 0x0200;
    /// Recursion is desired: copied into the response.
    pub const RD: u16 = 0x0100;
    /// Checking is disabled: copied too (RFC 4035, 3.1.6).
    pub const CD: u16 = 0x0010;

    /// What kind of query it is; 0 is the usual one.
    pub fn opcode(self) -> u8 {
        (self.0 >> 11) as u8 & 0x0F
    }

    /// Whether it is a response.
    pub fn is_response(self) -> bool {
        self.0 & Self::QR != 0
    }

    /// The flags of a response to this: opcode, RD and CD as they were.
    #[must_use]
    pub fn echoed(self) -> Self {
        Self(Self::QR | self.0 & (0x7800 | Self::RD | Self::CD))
    }
}

impl Header {
    /// Reads a header; none when the packet is too short for one.
    pub fn read(packet: &[u8]) -> Option<Self> {
        let mut counts = [0; 4];
        for (at, count) in counts.iter_mut().enumerate() {
            *count = u16_at(packet, 4 + at * 2)?;
        }
        Some(Self {
            id: u16_at(packet, 0)?,
            flags: Flags(u16_at(packet, 2)?),
            counts,
        })
    }

    /// Writes it; `out` has room for it.
    pub fn write(&self, out: &mut [u8]) {
        let [question, answer, authority, additional] = self.counts;
        let fields = [
            self.id,
            self.flags.0,
            question,
            answer,
            authority,
            additional,
        ];
        for (pair, field) in out[..HEADER].chunks_exact_mut(2).zip(fields) {
            pair.copy_from_slice(&field.to_be_bytes());
        }
    }
}
