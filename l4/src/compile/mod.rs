//! `Config` to `State`: where a configuration is judged.

mod clusters;
mod direct_return;
mod itself;
mod kernel;
mod listeners;
mod routes;
mod tls;

pub(crate) use self::listeners::NOT_ALLOWED;

use std::path::{Path, PathBuf};
use std::time::Instant;

use chassis::config::{Diagnostic, Loaded, Report, Sources, Written, load};
use chassis::health::StateFile;
use chassis::health::check::Checks;
use chassis::net::handover::Handover;
use chassis::telemetry::SampledLog;
use chassis::tls::Reading;

use crate::config::Config;
use crate::health::{Overrides, Plan};
use crate::state::State;

/// A configuration that is sound.
pub(crate) struct Compiled {
    pub(crate) state: State,
    pub(crate) plan: Plan,
    /// Certificates and keys, to be watched.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) loaded: Loaded<Config>,
    /// What is sound, but probably not meant: `file:line:column: message`.
    pub(crate) warnings: Vec<String>,
}

/// Reads and judges a configuration file with everything that it names. What is known of listeners and endpoints goes
/// over from the state before.
///
/// # Errors
/// Every mistake, with its place.
pub(crate) fn compile(
    file: &Path,
    before: Option<&State>,
    now: Instant,
) -> Result<Compiled, Report> {
    let mut loaded = load::<Config>(file)?;
    let mut mistakes = Vec::new();
    let mut warnings = Vec::new();
    let config = &loaded.config;
    limits(config, &mut mistakes);
    let checks = Checks::compile(&config.check, &mut loaded.sources);
    let checks = checks.unwrap_or_else(|wrong| {
        mistakes.extend(wrong);
        Checks::default()
    });
    let clusters = clusters::compile(config, before, now, &mut mistakes);
    let mut plan = clusters::plan(config, &clusters, &checks, &mut mistakes);
    let mut reading = Reading::new(&loaded.sources);
    let listeners = listeners::compile(config, &clusters, before, now, &mut reading);
    let Reading {
        files,
        mistakes: found,
        warnings: unsure,
        ..
    } = reading;
    mistakes.extend(found);
    warnings.extend(unsure);
    direct_return::judge(&loaded, &mut mistakes, &mut warnings);
    kernel::judge(config, &mut mistakes);
    warnings.extend(routes::warnings(config, &listeners));
    warnings.extend(kernel::warnings(config));
    warnings.extend(listeners::warnings(&listeners));
    warnings.extend(clusters::unused(config));
    let handover = config.handover.as_ref();
    let handover = handover.map(|config| Handover::compile(config, &loaded.sources));
    let handover = handover.transpose().unwrap_or_else(|mistake| {
        mistakes.push(mistake);
        None
    });
    plan.state = set(config, &loaded.sources, &mut mistakes);
    written(config).judge(&loaded.sources, &mut mistakes);
    itself::judge(config, &listeners, &mut mistakes);
    let log = &config.connection_log;
    let connection_log = SampledLog::compile(log, &loaded.sources, &mut mistakes);
    if !mistakes.is_empty() {
        return Err(loaded.report(mistakes));
    }
    let connections = config.connections.as_ref().map(|limit| **limit);
    let state = State {
        clusters,
        listeners,
        connections,
        connection_log,
        handover,
        nat: (*config.nat).clone(),
    };
    Ok(Compiled {
        warnings: loaded.warnings(&warnings),
        state,
        plan,
        files,
        loaded,
    })
}

/// Where the process is to write.
fn written(config: &Config) -> Written<'_> {
    let log = config.connection_log.as_ref();
    Written {
        log: log.and_then(|log| log.file.as_ref()),
        state: config.health.state.as_ref(),
        door: config.handover.as_ref().map(|handover| &handover.socket),
    }
}

/// What operators have set, as the state file keeps it.
fn set(
    config: &Config,
    sources: &Sources,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<StateFile<Overrides>> {
    let set = config.health.read(sources);
    set.unwrap_or_else(|mistake| {
        mistakes.push(mistake);
        None
    })
}

fn limits(config: &Config, mistakes: &mut Vec<Diagnostic>) {
    mistakes.extend(config.admin.validate().err());
    mistakes.extend(config.log.validate().err());
    let threads = config.threads.as_ref();
    if let Some(threads) = threads.filter(|threads| !(1..=1024).contains(&***threads)) {
        mistakes.push(threads.wrong("from 1 to 1024 threads"));
    }
    if let Some(connections) = config.connections.as_ref().filter(|limit| ***limit == 0) {
        mistakes.push(connections.wrong("must be 1 at least"));
    }
}
