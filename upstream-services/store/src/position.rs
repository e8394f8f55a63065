//! How far a reader has to be to see what somebody wrote.

use std::fmt;
use std::str::FromStr;

/// A position in the writes of one shard; whoever reads after it sees the write that it was made for.
///
/// As text it is `SHARD.GTID`, or nothing where every reader sees every write. It is given to clients and comes back
/// from them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position(Option<(u16, String)>);

/// A text that is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a position")]
pub struct ParsePositionError;

impl Position {
    pub(crate) fn new(shard: u16, reached: String) -> Self {
        Self((!reached.is_empty()).then_some((shard, reached)))
    }

    /// What has to be reached on a shard.
    pub(crate) fn on(&self, shard: u16) -> Option<&str> {
        let (of, reached) = self.0.as_ref()?;
        (*of == shard).then_some(reached)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some((shard, reached)) => write!(f, "{shard}.{reached}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Position {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, ParsePositionError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let (shard, reached) = text.split_once('.').ok_or(ParsePositionError)?;
        let shard = shard.parse().map_err(|_| ParsePositionError)?;
        // What a GTID, or a set of them, consists of.
        let sound = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b'-' | b':' | b',');
        match !reached.is_empty() && reached.len() <= MOST && reached.bytes().all(sound) {
            true => Ok(Self(Some((shard, reached.to_owned())))),
            false => Err(ParsePositionError),
        }
    }
}

/// Longer is no position of a shard.
const MOST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_read_back_and_nothing_else_does() {
        for text in ["", "3.0-1-42", "0.3E11FA47-71CA-11E1-9E33-C80AA9429562:1-5"] {
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
