//! Ids that carry the time they were made and the bucket they live in.
//!
//! ```text
//!  62            25 24      13 12     5 4   0
//! | 38 bits of 10 ms | 12 bits | 8 bits | 5 bits |
//! |  since 2025      | bucket  | worker | sequence |
//! ```
//!
//! 38 bits of ten milliseconds last until the year 2112. The top bit stays clear, so an id is a
//! non-negative BIGINT. In JSON an id is a string: a JavaScript number keeps 53 bits.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::{Database, Decode, Encode, Type};

use crate::Time;

/// How many buckets there are. Fixed for ever: the number is part of every id.
pub const BUCKETS: u16 = 1 << BUCKET_BITS;

/// One of the 4,096 buckets, the unit in which data moves between shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(u16);

impl Bucket {
    /// The bucket with a number; only the lower twelve bits count.
    pub const fn new(number: u16) -> Self {
        Self(number & (BUCKETS - 1))
    }

    /// The bucket of a value that is unique among its kind: the first twelve bits of
    /// SHA-256(kind, a zero byte, value). Stored data depends on it: it can never change.
    pub fn of_key(kind: &str, value: &str) -> Self {
        let hash = Sha256::new()
            .chain_update(kind)
            .chain_update([0])
            .chain_update(value)
            .finalize();
        Self(u16::from_be_bytes([hash[0], hash[1]]) >> (16 - BUCKET_BITS))
    }

    /// The bucket's number, below [`BUCKETS`].
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// The id of a row: unique, ordered by time (to ten milliseconds), and it knows its bucket.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(i64);

impl Id {
    /// Puts an id together from `moment` (ticks and sequence in one number, as
    /// [`IdGenerator`](crate::IdGenerator) counts them), bucket and worker.
    pub(crate) fn assemble(moment: u64, bucket: Bucket, worker: u8) -> Self {
        let (tick, sequence) = (moment >> SEQUENCE_BITS, moment & SEQUENCE_MASK);
        assert!(tick < 1 << TICK_BITS, "ids last until the year 2112");
        let id = tick << (BUCKET_BITS + WORKER_BITS + SEQUENCE_BITS)
            | u64::from(bucket.0) << (WORKER_BITS + SEQUENCE_BITS)
            | u64::from(worker) << SEQUENCE_BITS
            | sequence;
        Self(id as i64)
    }

    /// The number of ten-millisecond ticks at a point in time, shifted by the sequence's bits.
    pub(crate) fn moment(now: Time) -> u64 {
        let ticks = (now.as_millis() - EPOCH_MILLIS).max(0).unsigned_abs() / TICK_MILLIS;
        ticks << SEQUENCE_BITS
    }

    /// The bucket the row lives in.
    pub const fn bucket(self) -> Bucket {
        Bucket((self.0 >> (WORKER_BITS + SEQUENCE_BITS)) as u16 & (BUCKETS - 1))
    }

    /// When the id was made, to ten milliseconds.
    pub const fn time(self) -> Time {
        let ticks = self.0 >> (BUCKET_BITS + WORKER_BITS + SEQUENCE_BITS);
        Time::from_millis(ticks * TICK_MILLIS as i64 + EPOCH_MILLIS)
    }

    /// The id as a number, never negative.
    pub const fn as_i64(self) -> i64 {
        self.0
    }

    /// The id with this number, unless it is negative.
    pub const fn from_i64(number: i64) -> Option<Self> {
        if number >= 0 {
            Some(Self(number))
        } else {
            None
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({})", self.0)
    }
}

/// The text is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is a decimal number between 0 and 9223372036854775807")]
pub struct ParseIdError;

impl FromStr for Id {
    type Err = ParseIdError;

    /// Reads exactly what `Display` writes: one id has one text.
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        if !plain || (text.starts_with('0') && text.len() > 1) {
            return Err(ParseIdError);
        }
        text.parse().map(Self).map_err(|_| ParseIdError)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Id;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an id as a string of digits")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Id, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl<DB: Database> Type<DB> for Id
where
    i64: Type<DB>,
{
    fn type_info() -> DB::TypeInfo {
        <i64 as Type<DB>>::type_info()
    }

    fn compatible(info: &DB::TypeInfo) -> bool {
        <i64 as Type<DB>>::compatible(info)
    }
}

impl<'q, DB: Database> Encode<'q, DB> for Id
where
    i64: Encode<'q, DB>,
{
    fn encode_by_ref(&self, buffer: &mut DB::ArgumentBuffer) -> Result<IsNull, BoxDynError> {
        self.0.encode_by_ref(buffer)
    }
}

impl<'r, DB: Database> Decode<'r, DB> for Id
where
    i64: Decode<'r, DB>,
{
    fn decode(value: DB::ValueRef<'r>) -> Result<Self, BoxDynError> {
        Ok(Self::from_i64(i64::decode(value)?).ok_or(ParseIdError)?)
    }
}

const TICK_BITS: u32 = 38;
const BUCKET_BITS: u32 = 12;
const WORKER_BITS: u32 = 8;
const SEQUENCE_BITS: u32 = 5;
const SEQUENCE_MASK: u64 = (1 << SEQUENCE_BITS) - 1;
const TICK_MILLIS: u64 = 10;
/// 2025-01-01T00:00:00Z.
const EPOCH_MILLIS: i64 = 1_735_689_600_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bucket_of_a_key_never_changes() {
        // Computed with `printf 'email\0a@example.org' | sha256sum`: data on disk depends on it.
        assert_eq!(Bucket::of_key("email", "a@example.org").number(), 0xc8f);
        assert_ne!(Bucket::of_key("a", "bc"), Bucket::of_key("ab", "c"));
    }

    #[test]
    fn one_id_has_one_text() {
        let id: Id = "9223372036854775807".parse().unwrap();
        assert_eq!(
            serde_json::to_string(&id).unwrap(),
            r#""9223372036854775807""#
        );
        for wrong in ["", "-1", "+1", "01", " 1", "1x", "9223372036854775808"] {
            assert_eq!(wrong.parse::<Id>(), Err(ParseIdError), "{wrong}");
        }
        assert!(
            serde_json::from_str::<Id>("1").is_err(),
            "a number loses digits"
        );
    }

    proptest! {
        #[test]
        fn parts_read_back(millis in 0i64..1 << 41, bucket in 0..BUCKETS, worker: u8) {
            let now = Time::from_millis(EPOCH_MILLIS + millis);
            let id = Id::assemble(Id::moment(now), Bucket::new(bucket), worker);
            prop_assert_eq!(id.bucket().number(), bucket);
            prop_assert_eq!(id.time().as_millis(), now.as_millis() / 10 * 10);
            prop_assert!(id.as_i64() >= 0);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            let json = serde_json::to_string(&id).unwrap();
            prop_assert_eq!(serde_json::from_str::<Id>(&json).unwrap(), id);
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<Id>();
        }
    }
}
