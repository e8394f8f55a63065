//! An answer that is ready to be sent.

/// What stands after the question, but for the OPT record: one line of the cache, when it is as short as an address.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(super) struct Answer {
    pub(super) octets: Octets,
    /// Where pointers stand that move with the length of the question.
    pub(super) moving: Box<[u16]>,
    /// The length of the name in the question that it was built for.
    pub(super) base: u8,
    /// The response code.
    pub(super) code: u8,
    /// Whether we are the authority for it: not for a referral.
    pub(super) authoritative: bool,
    /// Records by section.
    pub(super) counts: [u16; 3],
    /// Octets that must be sent, and how many additional records are in them.
    pub(super) required: u16,
    pub(super) required_additional: u16,
}

/// The octets of an answer.
#[derive(Clone, Debug)]
pub(super) enum Octets {
    Few(u8, [u8; FEW]),
    Many(Box<[u8]>),
}

/// Room for an IPv6 address, or an IPv4 address.
const FEW: usize = 28;

impl From<Vec<u8>> for Octets {
    fn from(octets: Vec<u8>) -> Self {
        let mut few = [0; FEW];
        match few.get_mut(..octets.len()) {
            Some(room) => {
                room.copy_from_slice(&octets);
                Self::Few(octets.len() as u8, few)
            }
            None => Self::Many(octets.into()),
        }
    }
}

impl Answer {
    /// All octets.
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.octets {
            Octets::Few(len, few) => &few[..usize::from(*len)],
            Octets::Many(many) => many,
        }
    }

    /// The octets and additional records that fit into so much; none when what must be sent does not fit.
    pub(super) fn fit(&self, room: usize) -> Option<(&[u8], u16)> {
        let bytes = self.bytes();
        if bytes.len() <= room {
            return Some((bytes, self.counts[2]));
        }
        let required = usize::from(self.required);
        (required <= room).then(|| (&bytes[..required], self.required_additional))
    }

    /// Copies octets of this answer behind a question with a name of `name` octets.
    pub(super) fn copy(&self, octets: &[u8], name: usize, out: &mut [u8]) {
        out[..octets.len()].copy_from_slice(octets);
        let base = usize::from(self.base);
        if name == base {
            return;
        }
        // A name is at or below the one that the answer was built for, or as long as a wildcard at least.
        let by = name.wrapping_sub(base) as u16;
        for at in &*self.moving {
            let at = usize::from(*at);
            let Some(pair) = out[..octets.len()].get_mut(at..at + 2) else {
                break;
            };
            let pointer = u16::from_be_bytes([pair[0], pair[1]]).wrapping_add(by);
            pair.copy_from_slice(&pointer.to_be_bytes());
        }
    }
}
