//! A map of the whole address space as ranges, while tables are made.
//!
//! Each source of the map (networks, a database, the default) is a layer, and one is laid over the next.
//! Neighbours of the same site are one range, so that memory follows from how often the site changes
//! along the address space and not from how many networks a source lists.

use std::fmt::Debug;

/// An IPv4 or IPv6 address as a number.
pub(super) trait Address: Copy + Ord + Debug + Default {
    const LAST: Self;
    /// An index with more bits gains nothing measurable.
    const MOST_INDEX_BITS: u8;
    /// The next address; none after the last.
    fn next(self) -> Option<Self>;
    /// The address before; none before the first.
    fn before(self) -> Option<Self>;
    /// How many bits are the same from the first one on.
    fn shared_bits(self, other: Self) -> u8;
    /// The last address of the network of so many bits that this address begins.
    fn last_of(self, bits: u8) -> Self;
    /// The index of one of 2^`bits` parts of the space that unicast addresses come from, in the order of addresses.
    fn part(self, bits: u8) -> usize;
}

impl Address for u32 {
    const LAST: Self = Self::MAX;
    const MOST_INDEX_BITS: u8 = 18;
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
    fn before(self) -> Option<Self> {
        self.checked_sub(1)
    }
    fn shared_bits(self, other: Self) -> u8 {
        small((self ^ other).leading_zeros())
    }
    fn last_of(self, bits: u8) -> Self {
        self | Self::MAX.checked_shr(bits.into()).unwrap_or(0)
    }
    fn part(self, bits: u8) -> usize {
        (self >> (32 - bits)) as usize
    }
}

impl Address for u128 {
    const LAST: Self = Self::MAX;
    const MOST_INDEX_BITS: u8 = 20;
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
    fn before(self) -> Option<Self> {
        self.checked_sub(1)
    }
    fn shared_bits(self, other: Self) -> u8 {
        small((self ^ other).leading_zeros())
    }
    fn last_of(self, bits: u8) -> Self {
        self | Self::MAX.checked_shr(bits.into()).unwrap_or(0)
    }
    /// Global unicast addresses are 2000::/3 (RFC 4291, section 2.4); others fall into the outermost parts.
    fn part(self, bits: u8) -> usize {
        const FIRST: u128 = 0x2000 << 112;
        const LAST: u128 = FIRST | (u128::MAX >> 3);
        ((self.clamp(FIRST, LAST) - FIRST) >> (125 - bits)) as usize
    }
}

fn small(bits: u32) -> u8 {
    u8::try_from(bits).unwrap_or(u8::MAX)
}

/// A site by number, or nothing known.
pub(super) type Value = Option<super::SiteId>;

/// Ranges that cover every address: each begins where the one before ends.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layer<A> {
    /// Where a range begins, and its value. The first begins with address 0; neighbours differ.
    pub(super) ranges: Vec<(A, Value)>,
}

/// A network: its first address and its length in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Network<A> {
    pub(super) first: A,
    pub(super) bits: u8,
}

impl<A: Address> Layer<A> {
    /// The same for all addresses.
    pub(super) fn uniform(value: Value) -> Self {
        Self {
            ranges: vec![(A::default(), value)],
        }
    }

    /// Networks with their sites, where the longest prefix wins. No network may be there twice.
    pub(super) fn of_networks(mut networks: Vec<(Network<A>, super::SiteId)>) -> Self {
        networks.sort_unstable();
        let mut builder = Builder::new();
        // Networks around the address where the builder stands, the widest first.
        let mut around: Vec<(A, super::SiteId)> = Vec::new();
        for (network, site) in networks {
            while let Some(&(last, of)) = around.last().filter(|(last, _)| *last < network.first) {
                builder.up_to(last, Some(of));
                around.pop();
            }
            if let Some(before) = network.first.before() {
                builder.up_to(before, around.last().map(|(_, of)| *of));
            }
            around.push((network.first.last_of(network.bits), site));
        }
        while let Some((last, of)) = around.pop() {
            builder.up_to(last, Some(of));
        }
        builder.finish()
    }

    /// This layer where it knows a site, and the other elsewhere.
    pub(super) fn over(&self, below: &Self) -> Self {
        let mut builder = Builder::new();
        let mut rest = below.ranges.iter().peekable();
        let mut under = None;
        let mut ranges = self.ranges.iter().peekable();
        while let Some(&(_, value)) = ranges.next() {
            let end = ranges.peek().and_then(|(next, _)| next.before());
            let end = end.unwrap_or(A::LAST);
            while let Some(&&(start, of)) = rest.peek().filter(|(start, _)| *start <= end) {
                if let Some(before) = start.before() {
                    builder.up_to(before, value.or(under));
                }
                under = of;
                rest.next();
            }
            builder.up_to(end, value.or(under));
        }
        builder.finish()
    }
}

/// Makes a layer from ranges in ascending order.
#[derive(Debug)]
pub(super) struct Builder<A> {
    ranges: Vec<(A, Value)>,
    /// Where the next range begins; none when all addresses are covered.
    next: Option<A>,
}

impl<A: Address> Builder<A> {
    pub(super) fn new() -> Self {
        Self {
            ranges: Vec::new(),
            next: Some(A::default()),
        }
    }

    /// Gives the addresses from where it stands up to `last`, inclusive, a value. Nothing, when it is past `last`.
    pub(super) fn up_to(&mut self, last: A, value: Value) {
        let Some(next) = self.next.filter(|next| *next <= last) else {
            return;
        };
        if self
            .ranges
            .last()
            .is_none_or(|(_, before)| *before != value)
        {
            self.ranges.push((next, value));
        }
        self.next = last.next();
    }

    /// Gives a network a value, and what was left out before it none.
    pub(super) fn network(&mut self, network: Network<A>, value: Value) {
        if let Some(before) = network.first.before() {
            self.up_to(before, None);
        }
        self.up_to(network.first.last_of(network.bits), value);
    }

    /// How many ranges there are so far.
    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }

    pub(super) fn finish(mut self) -> Layer<A> {
        self.up_to(A::LAST, None);
        Layer {
            ranges: self.ranges,
        }
    }
}
