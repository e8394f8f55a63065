//! Which plugins exist, and how one is built from its table in a configuration file.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;

use chassis::config::{Diagnostic, Located, Raw, Sources};
use prometheus::core::Collector;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;

use crate::plugin::Plugin;

/// One kind of plugin.
#[derive(Clone, Copy)]
pub struct Registration {
    /// Its name: the `kind` of a `[plugin.NAME]` table.
    pub kind: &'static str,
    /// Builds an instance.
    pub build: fn(&Setting<'_>) -> Result<Arc<dyn Plugin>, Diagnostic>,
    /// The JSON Schema of its table.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Its metrics, registered once a process.
    pub metrics: fn() -> Vec<Box<dyn Collector>>,
}

impl Registration {
    /// A kind of plugin without metrics of its own; its table has the type `C`.
    pub const fn new<C: JsonSchema>(
        kind: &'static str,
        build: fn(&Setting<'_>) -> Result<Arc<dyn Plugin>, Diagnostic>,
    ) -> Self {
        Self {
            kind,
            build,
            schema: C::json_schema,
            metrics: Vec::new,
        }
    }

    /// Adds metrics.
    #[must_use]
    pub const fn metrics(mut self, metrics: fn() -> Vec<Box<dyn Collector>>) -> Self {
        self.metrics = metrics;
        self
    }
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Registration").field(&self.kind).finish()
    }
}

/// What an instance is built from.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    /// The instance's name.
    pub name: &'a str,
    /// Its table.
    pub table: &'a Raw,
    /// The configuration's files, for paths.
    pub sources: &'a Sources,
    /// The same instance of the configuration that serves now: its state can be carried over.
    pub previous: Option<&'a Arc<dyn Plugin>>,
    /// Where to run background work; none when the configuration is only checked.
    pub runtime: Option<&'a tokio::runtime::Handle>,
}

impl Setting<'_> {
    /// The instance's table as a type.
    ///
    /// # Errors
    /// What does not fit the type, with its place.
    pub fn config<C: DeserializeOwned>(&self) -> Result<C, Diagnostic> {
        self.table.parse()
    }

    /// The previous instance, if it was of the type `P`.
    pub fn previous<P: Plugin>(&self) -> Option<Arc<P>> {
        let previous: Arc<dyn Any + Send + Sync> = self.previous?.clone();
        previous.downcast().ok()
    }

    /// A path as written: relative ones start at the folder of the file that names them.
    pub fn path(&self, path: &Located<PathBuf>) -> PathBuf {
        self.sources.resolve(path, path.place())
    }
}

impl std::fmt::Debug for Setting<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setting")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
