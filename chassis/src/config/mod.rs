//! Configuration files: TOML text to typed configuration.
//!
//! ```text
//! file -> toml with spans -> Node (includes merged, ${VAR} filled in) -> serde -> Config
//! ```
//!
//! An unknown key is an error, and every error points at `file:line:column`.
//! The meaning of a configuration (does that cluster exist?) is judged by each
//! role's `compile`, with the same [`Diagnostic`]s: a [`Located`] value
//! remembers where it was written.

mod de;
mod diagnostic;
mod include;
mod located;
mod node;
mod redact;
mod secret;
mod source;
mod substitute;
mod written;

use std::path::Path;

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

pub use self::diagnostic::{Diagnostic, Report, nearest};
pub use self::located::{Located, Raw};
pub use self::secret::Secret;
pub use self::source::{Place, Sources};
pub use self::written::Written;

/// A configuration that was read, with the files that it was read from.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The typed configuration.
    pub config: T,
    /// The files, for diagnostics, relative paths and the file watch.
    pub sources: Sources,
    root: node::Node,
}

impl<T> Loaded<T> {
    /// Where a value is written, by its path (`"tokens.refresh_ttl"`), or the nearest table around it.
    pub fn place_of(&self, path: &str) -> Place {
        let mut node = &self.root;
        for name in path.split('.') {
            match node.entry(name) {
                Some(entry) => node = entry,
                None => break,
            }
        }
        node.place
    }

    /// One line for each of these, `file:line:column: message`: what is sound, but probably not meant. Of many, the first.
    pub fn warnings(&self, found: &[Diagnostic]) -> Vec<String> {
        diagnostic::warnings(&self.sources, found)
    }

    /// A report of what `compile` found wrong in this configuration.
    pub fn report(self, diagnostics: Vec<Diagnostic>) -> Report {
        Report::new(self.sources, diagnostics)
    }
}

/// Reads a configuration file with everything that it includes.
///
/// # Errors
/// A [`Report`] with the place of what could not be read or understood.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<Loaded<T>, Report> {
    let mut sources = Sources::default();
    let outcome = include::read_root(path, &mut sources).and_then(|root| {
        let config = T::deserialize(de::NodeDeserializer(&root)).map_err(Diagnostic::from)?;
        Ok((config, root))
    });
    match outcome {
        Ok((config, root)) => Ok(Loaded {
            config,
            sources,
            root,
        }),
        Err(diagnostic) => Err(Report::new(sources, vec![diagnostic])),
    }
}

/// The keys at the top of a file, each with those in its tables, to guess what it is for; none when it cannot be read.
pub fn top_level_keys(path: &Path) -> Vec<(String, Vec<String>)> {
    let text = crate::files::read_text(path).unwrap_or_default();
    let (table, _) = DeTable::parse_recoverable(&text);
    let names = |table: &DeTable<'_>| -> Vec<String> {
        let keys = table.keys();
        keys.map(|key| key.get_ref().to_string()).collect()
    };
    let within = |value: &DeValue<'_>| match value {
        DeValue::Table(table) => names(table),
        DeValue::Array(items) => {
            let tables = items.iter().filter_map(|item| item.get_ref().as_table());
            tables.flat_map(names).collect()
        }
        _ => Vec::new(),
    };
    let keys = table.get_ref().iter();
    keys.map(|(key, value)| (key.get_ref().to_string(), within(value.get_ref())))
        .collect()
}

#[cfg(test)]
mod tests;
