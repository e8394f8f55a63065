//! What is wrong with the settings: all of it, for whoever mends a file.

use crate::Error;

/// A value that does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// The key, with its section.
    pub(crate) key: &'static str,
    /// What is wrong.
    pub(crate) why: &'static str,
}

/// Every value that does not work, in the order in which they were looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// Adds a mistake unless the value is sound.
    #[must_use]
    pub(super) fn unless(mut self, sound: bool, key: &'static str, why: &'static str) -> Self {
        if !sound {
            self.0.push(Mistake { key, why });
        }
        self
    }

    /// Adds what another section has.
    #[must_use]
    pub(super) fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// Adds why a value could not be read, if it could not.
    #[must_use]
    pub(super) fn read<T>(mut self, value: Result<T, Mistake>) -> Self {
        self.0.extend(value.err());
        self
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Mistake> + '_ {
        self.0.iter().copied()
    }
}

impl From<Mistake> for Error {
    fn from(Mistake { key, why }: Mistake) -> Self {
        Self::Config { key, why }
    }
}
