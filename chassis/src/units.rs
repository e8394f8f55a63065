//! Durations and sizes with units, as they are written in configuration files.
//!
//! A bare number is refused: `timeout = 5` says nothing about what five is.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time, written `"250ms"`, `"5s"`, `"10m"`, `"12h"` or `"30d"`.
///
/// Parts can be joined: `"1m30s"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(Duration);

impl Period {
    /// A period of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// A period of milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }
}

impl Deref for Period {
    type Target = Duration;

    fn deref(&self) -> &Duration {
        &self.0
    }
}

impl From<Period> for Duration {
    fn from(period: Period) -> Self {
        period.0
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected a duration with a unit, such as \"250ms\", \"5s\", \"10m\", \"12h\" or \"30d\"";
        let mut nanos: u64 = 0;
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(EXPECTED.into());
        }
        while !rest.is_empty() {
            let (number, unit, tail) = split_unit(rest).ok_or(EXPECTED)?;
            let scale: u64 = match unit {
                "us" => 1_000,
                "ms" => 1_000_000,
                "s" => 1_000_000_000,
                "m" => 60_000_000_000,
                "h" => 3_600_000_000_000,
                "d" => 86_400_000_000_000,
                _ => return Err(EXPECTED.into()),
            };
            nanos = number
                .checked_mul(scale)
                .and_then(|part| nanos.checked_add(part))
                .ok_or("the duration is too long (the limit is 500 years)")?;
            rest = tail;
        }
        Ok(Self(Duration::from_nanos(nanos)))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut nanos = self.0.as_nanos();
        if nanos == 0 {
            return f.write_str("0s");
        }
        for (unit, scale) in [
            ("d", 86_400_000_000_000),
            ("h", 3_600_000_000_000),
            ("m", 60_000_000_000),
            ("s", 1_000_000_000),
            ("ms", 1_000_000),
            ("us", 1_000),
        ] {
            if nanos >= scale {
                write!(f, "{}{unit}", nanos / scale)?;
                nanos %= scale;
            }
        }
        Ok(())
    }
}

/// A number of bytes, written `"512B"`, `"64KiB"`, `"10MiB"`, `"1GiB"`, or with decimal units (`"64KB"`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

impl Size {
    /// A size of so many bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// A size of so many KiB.
    pub const fn from_kib(kib: u64) -> Self {
        Self(kib * 1024)
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str =
            "expected a size with a unit, such as \"512B\", \"64KiB\", \"10MiB\" or \"1GB\"";
        let (number, unit, rest) = split_unit(text.trim()).ok_or(EXPECTED)?;
        let scale: u64 = match unit {
            "B" => 1,
            "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(EXPECTED.into()),
        };
        if !rest.is_empty() {
            return Err(EXPECTED.into());
        }
        number
            .checked_mul(scale)
            .map(Self)
            .ok_or_else(|| "the size is too large".into())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
            if self.0 != 0 && self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}B", self.0)
    }
}

/// Splits `"12msREST"` into 12, `"ms"` and `"REST"`.
fn split_unit(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number = text[..digits].parse().ok()?;
    let rest = text[digits..].trim_start();
    let end = rest
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(rest.len());
    (end > 0).then(|| (number, &rest[..end], rest[end..].trim_start()))
}

macro_rules! text_value {
    ($type:ty, $name:literal, $what:literal, $pattern:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl de::Visitor<'_> for Text {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($what)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $name, "pattern": $pattern })
            }
        }
    };
}

text_value!(
    Period,
    "duration",
    "a duration with a unit, such as \"250ms\"",
    r"^(\s*[0-9]+\s*(us|ms|s|m|h|d))+\s*$"
);
text_value!(
    Size,
    "size",
    "a size with a unit, such as \"64KiB\"",
    r"^[0-9]+\s*(B|KB|MB|GB|KiB|MiB|GiB)$"
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!("250ms".parse(), Ok(Period::from_millis(250)));
        assert_eq!("1m30s".parse(), Ok(Period::from_secs(90)));
        assert_eq!("30 d".parse(), Ok(Period::from_secs(30 * 86_400)));
        for wrong in [
            "",
            "5",
            "5x",
            "s",
            "-5s",
            "5s4",
            "99999999999999999999s",
            "1.5s",
        ] {
            assert!(wrong.parse::<Period>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_need_a_unit() {
        assert_eq!("64KiB".parse(), Ok(Size::from_kib(64)));
        assert_eq!("1GB".parse(), Ok(Size::from_bytes(1_000_000_000)));
        for wrong in ["", "5", "5kb", "B", "1KiB1B", "99999999999999999999B"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_printed_duration_reads_back(ms in 0u64..1 << 40) {
            let period = Period::from_millis(ms);
            prop_assert_eq!(period.to_string().parse(), Ok(period));
        }

        #[test]
        fn a_printed_size_reads_back(bytes: u64) {
            let size = Size::from_bytes(bytes);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<Period>();
            let _ = text.parse::<Size>();
        }
    }
}
