//! Which shard holds which bucket. Pure: reading and writing it is the store's part.

use crate::{BUCKETS, Bucket, Error, Id};

/// The shard of every bucket, with an epoch that grows with every change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardMap {
    epoch: i64,
    shards: u16,
    shard_of: Box<[u16]>,
}

/// A run of buckets on one shard, as the map is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) first: u16,
    pub(crate) last: u16,
    pub(crate) shard: u16,
}

impl ShardMap {
    /// The first map of a data set: equal ranges, epoch 1.
    ///
    /// # Errors
    /// [`Error::ShardCount`] unless there is between one shard and one a bucket.
    pub fn even(shards: u16) -> Result<Self, Error> {
        if !(1..=BUCKETS).contains(&shards) {
            return Err(Error::ShardCount(shards));
        }
        let shard =
            |bucket: u16| (u32::from(bucket) * u32::from(shards) / u32::from(BUCKETS)) as u16;
        Ok(Self {
            epoch: 1,
            shards,
            shard_of: (0..BUCKETS).map(shard).collect(),
        })
    }

    /// The map that was stored as ranges.
    pub(crate) fn from_ranges(epoch: i64, ranges: &[Range]) -> Result<Self, Error> {
        let mut shard_of = vec![None; BUCKETS.into()];
        for range in ranges {
            for bucket in range.first..=range.last {
                let slot = shard_of.get_mut(usize::from(bucket));
                match slot {
                    Some(slot @ None) => *slot = Some(range.shard),
                    _ => return Err(Error::ShardMapDamaged(epoch)),
                }
            }
        }
        let shard_of: Option<Box<[u16]>> = shard_of.into_iter().collect();
        let shard_of = shard_of.ok_or(Error::ShardMapDamaged(epoch))?;
        let shards = shard_of.iter().max().map_or(0, |highest| highest + 1);
        Ok(Self {
            epoch,
            shards,
            shard_of,
        })
    }

    /// The map as runs of buckets, in order.
    /// The ranges of buckets that a shard holds: the first and the last of each.
    pub fn buckets_of(&self, shard: u16) -> Vec<(u16, u16)> {
        let ranges = self.ranges().into_iter();
        let ranges = ranges.filter(|range| range.shard == shard);
        ranges.map(|range| (range.first, range.last)).collect()
    }

    pub(crate) fn ranges(&self) -> Vec<Range> {
        let mut ranges: Vec<Range> = Vec::new();
        for (bucket, &shard) in (0..).zip(&self.shard_of) {
            match ranges.last_mut() {
                Some(range) if range.shard == shard => range.last = bucket,
                _ => ranges.push(Range {
                    first: bucket,
                    last: bucket,
                    shard,
                }),
            }
        }
        ranges
    }

    /// The version of the map.
    pub const fn epoch(&self) -> i64 {
        self.epoch
    }

    /// How many shards there are.
    pub const fn shards(&self) -> u16 {
        self.shards
    }

    /// The number of the shard that holds a bucket.
    pub fn shard_of(&self, bucket: Bucket) -> u16 {
        self.shard_of[usize::from(bucket.number())]
    }

    /// Ids by the shard they live on; shards without any are left out.
    pub fn group(&self, ids: &[Id]) -> Vec<(u16, Vec<Id>)> {
        let mut groups: Vec<(u16, Vec<Id>)> = Vec::new();
        for &id in ids {
            let shard = self.shard_of(id.bucket());
            match groups.iter_mut().find(|(number, _)| *number == shard) {
                Some((_, group)) => group.push(id),
                None => groups.push((shard, vec![id])),
            }
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{IdGenerator, Time};
    use proptest::prelude::*;

    #[test]
    fn the_number_of_shards_has_limits() {
        assert!(matches!(ShardMap::even(0), Err(Error::ShardCount(0))));
        assert!(matches!(ShardMap::even(4097), Err(Error::ShardCount(4097))));
    }

    #[test]
    fn a_map_with_a_hole_or_an_overlap_is_refused() {
        let range = |first, last| Range {
            first,
            last,
            shard: 0,
        };
        for ranges in [
            vec![range(0, 4094)],
            vec![range(0, 4095), range(7, 7)],
            vec![range(0, 4096)],
            vec![],
        ] {
            assert!(ShardMap::from_ranges(1, &ranges).is_err(), "{ranges:?}");
        }
    }

    #[test]
    fn ids_are_grouped_by_their_shard() {
        let map = ShardMap::even(4).unwrap();
        let generator = IdGenerator::new(0);
        let ids = [0, 4095, 1, 1024].map(|b| generator.next(Bucket::new(b), Time::now()).unwrap());
        assert_eq!(
            map.group(&ids),
            [
                (0, vec![ids[0], ids[2]]),
                (3, vec![ids[1]]),
                (1, vec![ids[3]])
            ]
        );
    }

    proptest! {
        #[test]
        fn ranges_are_even_and_read_back(shards in 1..=BUCKETS) {
            let map = ShardMap::even(shards).unwrap();
            let ranges = map.ranges();
            prop_assert_eq!(ranges.len(), usize::from(shards));
            let sizes = ranges.iter().map(|range| range.last - range.first + 1);
            let (least, most) = (sizes.clone().min().unwrap(), sizes.max().unwrap());
            prop_assert!(most - least <= 1);
            prop_assert_eq!(ShardMap::from_ranges(1, &ranges).unwrap(), map);
        }
    }
}
