//! Months of UTC, as the tables of a [`TimeTable`](super::TimeTable) are named by them.

use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::Time;

/// A month: how many have passed since the year 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Month(i32);

impl Month {
    /// The month of a point in time. What no calendar has falls into the first of 1970.
    pub(super) fn of(time: Time) -> Self {
        let time = Timestamp::from_millisecond(time.as_millis()).unwrap_or_default();
        let date = time.to_zoned(TimeZone::UTC);
        Self(i32::from(date.year()) * 12 + i32::from(date.month()) - 1)
    }

    /// The month that `2026_11` stands for; only in the spelling that `Display` writes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (year, month) = text.split_once('_')?;
        let (year, month): (i32, i32) = (year.parse().ok()?, month.parse().ok()?);
        let parsed = Self(year * 12 + month - 1);
        (parsed.to_string() == text).then_some(parsed)
    }

    pub(super) const fn plus(self, months: u16) -> Self {
        Self(self.0 + months as i32)
    }

    pub(super) const fn minus(self, months: u16) -> Self {
        Self(self.0 - months as i32)
    }

    /// All months from the later one back to the earlier one; none when that is later.
    pub(super) fn back(self, earliest: Self) -> impl Iterator<Item = Self> {
        (earliest.0..=self.0).rev().map(Self)
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month) = (self.0.div_euclid(12), self.0.rem_euclid(12) + 1);
        write!(f, "{year:04}_{month:02}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Time {
        Time::from_millis(text.parse::<Timestamp>().unwrap().as_millisecond())
    }

    #[test]
    fn a_month_begins_at_midnight_of_utc() {
        for (time, month) in [
            ("2026-11-30T23:59:59.999Z", "2026_11"),
            ("2026-12-01T00:00:00Z", "2026_12"),
            ("2027-01-01T00:00:00Z", "2027_01"),
            ("2028-02-29T12:00:00Z", "2028_02"),
            ("2026-12-01T01:00:00+02:00", "2026_11"),
        ] {
            assert_eq!(Month::of(at(time)).to_string(), month, "{time}");
        }
    }

    #[test]
    fn a_name_has_one_spelling() {
        for wrong in [
            "", "2026", "2026_1", "2026_13", "2026_00", "26_01", "2026_11x", "+2026_1",
        ] {
            assert_eq!(Month::parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn names_read_back_and_years_end(months in 2025 * 12..2112 * 12_i32) {
            let month = Month(months);
            prop_assert_eq!(Month::parse(&month.to_string()), Some(month));
            prop_assert_eq!(month.plus(13).minus(13), month);
            let back: Vec<_> = month.back(month.minus(2)).collect();
            prop_assert_eq!(back, [month, month.minus(1), month.minus(2)]);
            prop_assert_eq!(month.back(month.plus(1)).count(), 0);
        }
    }
}
