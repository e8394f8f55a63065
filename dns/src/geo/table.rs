//! The compiled map: an address to a site, with the prefix length that the answer holds for.
//!
//! The ranges are two arrays in the order of addresses. An index over equal parts of the space says
//! between which ranges to search, so that a look-up is one load and a few steps of a binary
//! search in memory that lies together. It allocates nothing.

use super::SiteId;
use super::layer::{Address, Layer};

/// The ranges of one address family.
#[derive(Clone, Debug)]
pub(super) struct Table<A> {
    firsts: Box<[A]>,
    sites: Box<[SiteId]>,
    /// For each part of the space, the last range that begins before it (or the first of all); and one more.
    index: Box<[u32]>,
    index_bits: u8,
}

impl<A: Address> Table<A> {
    /// Compiles a layer. Addresses without a site get `default`.
    pub(super) fn new(layer: &Layer<A>, default: SiteId) -> Self {
        let filled = layer.over(&Layer::uniform(Some(default)));
        let firsts: Box<[A]> = filled.ranges.iter().map(|(first, _)| *first).collect();
        let sites = filled
            .ranges
            .iter()
            .map(|(_, site)| site.unwrap_or(default));
        let sites: Box<[SiteId]> = sites.collect();
        // About four parts for each range.
        let index_bits = u8::try_from(firsts.len().ilog2() + 2).unwrap_or(u8::MAX);
        let index_bits = index_bits.min(A::MOST_INDEX_BITS);
        Self {
            index: index(&firsts, index_bits),
            index_bits,
            firsts,
            sites,
        }
    }

    /// The site of an address.
    pub(super) fn site(&self, address: A) -> SiteId {
        self.sites[self.range(address)]
    }

    /// The site of an address, and the length of the shortest prefix around it that has no other site.
    pub(super) fn find(&self, address: A) -> (SiteId, u8) {
        let at = self.range(address);
        let apart = |other: A| address.shared_bits(other) + 1;
        // The network must not reach into the neighbours: it must tell itself apart from the address on either side.
        let left = self.firsts[at].before().map_or(0, apart);
        let right = self.firsts.get(at + 1).map_or(0, |next| apart(*next));
        (self.sites[at], left.max(right))
    }

    /// How many ranges there are.
    pub(super) fn len(&self) -> usize {
        self.firsts.len()
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.firsts) + size_of_val(&*self.sites) + size_of_val(&*self.index)
    }

    fn range(&self, address: A) -> usize {
        let part = address.part(self.index_bits);
        let (from, to) = (self.index[part] as usize, self.index[part + 1] as usize);
        // `from` begins before the part, so it need not be looked at.
        let later = self.firsts[from + 1..=to].partition_point(|first| *first <= address);
        from + later
    }
}

/// For each of 2^`bits` parts, the last range that begins before it.
fn index<A: Address>(firsts: &[A], bits: u8) -> Box<[u32]> {
    let parts = 1usize << bits;
    let mut index = vec![0u32; parts + 1];
    // A range counts for every part that begins after the one that the range begins in.
    for first in &firsts[1..] {
        index[first.part(bits) + 1] += 1;
    }
    let mut sum = 0;
    for entry in &mut index {
        sum += *entry;
        *entry = sum;
    }
    index.into()
}
