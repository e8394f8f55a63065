//! How far a reader has to be to see what somebody wrote.

use std::fmt;
use std::str::FromStr;

/// A position in the writes of one shard; whoever reads after it sees the write that it was made for.
///
/// As text it is `SHARD.GTID`, or nothing where every reader sees every write, or `latest` where it is not known. It is given to
/// clients and comes back from them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position(Reach);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Reach {
    /// Every reader is there.
    #[default]
    All,
    /// Readers of this shard that have this GTID are there.
    On(u16, String),
    /// The primary is there, and of others that is not known.
    Unknown,
}

/// A text that is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a position")]
pub struct ParsePositionError;

impl Position {
    /// Only the primary is sure to be there.
    pub const UNKNOWN: Self = Self(Reach::Unknown);

    pub(crate) fn new(shard: u16, reached: String) -> Self {
        Self(match reached.is_empty() {
            true => Reach::All,
            false => Reach::On(shard, reached),
        })
    }

    /// What has to be reached on a shard.
    pub(crate) fn on(&self, shard: u16) -> Option<&str> {
        match &self.0 {
            Reach::On(of, reached) if *of == shard => Some(reached),
            _ => None,
        }
    }

    /// Whether every reader is there.
    pub fn is_everywhere(&self) -> bool {
        self.0 == Reach::All
    }

    /// Whether it cannot be told from readers whether they are there.
    pub(crate) fn is_unknown(&self) -> bool {
        self.0 == Reach::Unknown
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Reach::All => Ok(()),
            Reach::On(shard, reached) => write!(f, "{shard}.{reached}"),
            Reach::Unknown => f.write_str(LATEST),
        }
    }
}

impl FromStr for Position {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, ParsePositionError> {
        match text {
            "" => return Ok(Self::default()),
            LATEST => return Ok(Self::UNKNOWN),
            _ => {}
        }
        let (shard, reached) = text.split_once('.').ok_or(ParsePositionError)?;
        let shard = shard.parse().map_err(|_| ParsePositionError)?;
        // What a GTID, or a set of them, consists of.
        let sound = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b'-' | b':' | b',');
        match !reached.is_empty() && reached.len() <= MOST && reached.bytes().all(sound) {
            true => Ok(Self(Reach::On(shard, reached.to_owned()))),
            false => Err(ParsePositionError),
        }
    }
}

const LATEST: &str = "latest";
/// Longer is no position of a shard.
const MOST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_read_back_and_nothing_else_does() {
        for text in [
            "",
            "latest",
            "3.0-1-42",
            "0.3E11FA47-71CA-11E1-9E33-C80AA9429562:1-5",
        ] {
            assert_eq!(text.parse::<Position>().unwrap().to_string(), text);
        }
        let position: Position = "3.0-1-42".parse().unwrap();
        assert_eq!((position.on(3), position.on(2)), (Some("0-1-42"), None));
        let long = format!("1.{}", "0-".repeat(600));
        for text in [
            "3",
            "3.",
            "x.0-1-1",
            "3.0-1-1'",
            "3.0 1",
            "70000.0-1-1",
            &long,
        ] {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
    }
}
