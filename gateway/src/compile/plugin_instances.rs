//! Instances of plugins.

use std::collections::BTreeMap;
use std::sync::Arc;

use chassis::config::{Diagnostic, Located, Raw};
use plugins::{Plugin, Registration, Setting};

use super::{Compiler, Findings};
use crate::config::Config;

impl Compiler<'_> {
    pub(super) fn plugins(
        &self,
        config: &Config,
        findings: &mut Findings,
    ) -> BTreeMap<String, Arc<dyn Plugin>> {
        let mut instances = BTreeMap::new();
        for (name, table) in &config.plugin {
            if let Some(plugin) = findings.keep(self.plugin(name, table)) {
                instances.insert(name.to_string(), plugin);
            }
        }
        instances
    }

    fn plugin(&self, name: &Located<String>, table: &Raw) -> Result<Arc<dyn Plugin>, Diagnostic> {
        let mut table = table.clone();
        let kind = table.take_text("kind")?;
        let registration = self.registration(name, kind.as_ref())?;
        let previous = self.previous.and_then(|state| state.plugins.get(&**name));
        (registration.build)(&Setting {
            name,
            table: &table,
            sources: self.sources,
            previous,
            runtime: self.runtime,
        })
    }

    fn registration(
        &self,
        name: &Located<String>,
        kind: Option<&Located<String>>,
    ) -> Result<&Registration, Diagnostic> {
        let wanted = kind.unwrap_or(name);
        let known = || self.registrations.iter().map(|one| one.kind);
        let found = self.registrations.iter().find(|one| one.kind == **wanted);
        found.ok_or_else(|| match kind {
            Some(kind) => kind
                .wrong(format!("there is no plugin `{}`", **kind))
                .suggest(kind, known()),
            None => name
                .wrong(format!("the plugin `{}` does not say its kind", **name))
                .help(format!(
                    "add `kind = \"...\"`: {}",
                    known().collect::<Vec<_>>().join(", ")
                )),
        })
    }
}
