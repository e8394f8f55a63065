//! Where values come from.

use std::fmt;
use std::hash::Hash;
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a cache stands in front of.
pub trait Source: Sized + Send + Sync + 'static {
    /// What values are asked for by. Its text is the key in the remote: up to 200 bytes without white space.
    type Key: Clone + Eq + Hash + fmt::Display + FromStr + Send + Sync + 'static;
    /// A cheap value: a hit clones it, so wrap large ones in an `Arc`. It goes to the remote as JSON.
    type Value: Clone + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// Why nothing can be loaded.
    type Error: Send + Sync + 'static;

    /// Its name in the remote, where several sources share the nodes: a short word.
    const NAME: &'static str;

    /// The value of a key, no older than needed.
    fn load(
        &self,
        key: Self::Key,
        need: Need,
    ) -> impl Future<Output = Result<Option<Self::Value>, Self::Error>> + Send;

    /// The values of many keys, of those that have one.
    fn load_many(
        &self,
        keys: Vec<Self::Key>,
    ) -> impl Future<Output = Result<Pairs<Self>, Self::Error>> + Send {
        async move {
            let mut found = Vec::new();
            for key in keys {
                let value = self.load(key.clone(), Need::Any).await?;
                found.extend(value.map(|value| (key, value)));
            }
            Ok(found)
        }
    }

    /// Whether a value is of a key, as far as that can be seen: who else writes to the remote is not known.
    fn fits(_key: &Self::Key, _value: &Self::Value) -> bool {
        true
    }

    /// The version of a value, which grows with every change of it.
    fn version(value: &Self::Value) -> u64;
}

/// Keys and their values.
pub type Pairs<S> = Vec<(<S as Source>::Key, <S as Source>::Value)>;

/// A moment in the life of the data behind a source, as the source writes it: up to 1,200 bytes without white space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark(pub String);

/// How new a value has to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Need {
    /// As old as the source's readers may be.
    #[default]
    Any,
    /// It shows what was written before this.
    After(Mark),
    /// It shows every write.
    Latest,
}

/// What somebody who asks has seen already and must not see undone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The version of the value; 0 when it is not known that there is one.
    pub version: u64,
    /// A moment that it was seen at.
    pub mark: Option<Mark>,
}

impl From<Option<Mark>> for Need {
    fn from(mark: Option<Mark>) -> Self {
        mark.map_or(Self::Any, Self::After)
    }
}

impl Need {
    /// What fulfils both.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (need, Self::Any) | (Self::Any, need) => need,
            (one, other) if one == other => one,
            // Which of the two is later knows the source alone.
            _ => Self::Latest,
        }
    }
}
