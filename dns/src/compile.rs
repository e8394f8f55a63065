//! `Config` to `State`: where a configuration is judged.

mod itself;
mod limits;
mod listeners;
mod policies;

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use chassis::config::{Diagnostic, Loaded, Report, Sources, Written, load};
use chassis::net::handover::Handover;
use chassis::telemetry::SampledLog;

use crate::alias::{self, Resolving};
use crate::answer::{self, Choose, NoPolicies, Snapshot};
use crate::chooser::Chooser;
use crate::config::Config;
use crate::dnssec::{SignedZones, Signing, Unusable, unix_now};
use crate::guard;
use crate::learned::Learned;
use crate::serve::TcpLimits;
use crate::state::State;
use crate::transfer::Transfers;
use crate::zone::{self, Zone};

pub(crate) use self::policies::Policies;

/// A configuration that is sound.
pub(crate) struct Compiled {
    pub(crate) state: State,
    pub(crate) loaded: Loaded<Config>,
    pub(crate) policies: Policies,
    /// What is sound, but probably not meant: `file:line:column: message`.
    pub(crate) warnings: Vec<String>,
}

/// Reads and judges a configuration file with everything that it names.
///
/// # Errors
/// Every mistake, with its place.
pub(crate) fn compile(file: &Path, learned: &Learned) -> Result<Compiled, Report> {
    let mut loaded = load::<Config>(file)?;
    let mut mistakes = Vec::new();
    let config = &loaded.config;
    let read = zone::read(&config.zone, &mut loaded.sources);
    mistakes.extend(read.mistakes);
    let mut warnings = read.warnings;
    let listeners = listeners::compile(&config.listener, &loaded.sources, &learned.tls);
    mistakes.extend(listeners.mistakes);
    warnings.extend(listeners.warnings);
    for file in listeners.files {
        loaded.sources.add(file, "");
    }
    by_themselves(config, &loaded.sources, &mut mistakes);
    let guard = guard::compile(config, &learned.guard, &mut mistakes);
    let query_log = SampledLog::compile(&config.query_log, &loaded.sources, &mut mistakes);
    let resolving = Resolving::compile(&config.resolver, &mut mistakes);
    let handover = handover(config, &loaded.sources, &mut mistakes);
    let transfers = Transfers::compile(config, &loaded.sources, &mut mistakes);
    let signing = Signing::compile(config, &loaded.sources, &mut mistakes);
    let policies = Policies::compile(config, &mut loaded.sources);
    let unreadable = learned.secondaries.restore(&transfers);
    let chooser = match &policies {
        Ok(policies) => choosing(policies.chooser.as_ref()),
        Err(_) => Arc::new(policies::OnlyNames::of(config)),
    };
    mistakes.extend(alias::circles(&read.zones));
    let sound = mistakes.is_empty() && policies.is_ok();
    let answers = judged(&read.zones, chooser, &signing, learned, sound);
    let (policies, (snapshot, signed)) = match (policies, answers) {
        (Ok(policies), Ok(answers)) if mistakes.is_empty() => (policies, answers),
        (policies, answers) => {
            mistakes.extend(policies.err().into_iter().chain(answers.err()).flatten());
            return Err(loaded.report(mistakes));
        }
    };
    warnings.extend(probably_not_meant(config, &read.zones, &transfers));
    let state = State {
        snapshot: snapshot.into(),
        zones: read.zones.into(),
        signing,
        signed: signed.into(),
        resolving: resolving.into(),
        chooser: policies.chooser.clone(),
        transfers: Arc::new(transfers),
        listeners: listeners.listeners,
        tcp: TcpLimits::from(&config.tcp),
        largest_udp: *config.udp.largest,
        guard,
        query_log,
        receive_buffer: usize::try_from(config.udp.receive_buffer.bytes()).unwrap_or(usize::MAX),
        handover,
    };
    let warnings = loaded.warnings(&warnings).into_iter();
    Ok(Compiled {
        warnings: warnings.chain(unreadable).collect(),
        state,
        loaded,
        policies,
    })
}

/// Judges what nothing is compiled to.
fn by_themselves(config: &Config, sources: &Sources, mistakes: &mut Vec<Diagnostic>) {
    limits::judge(config, mistakes);
    listeners::judge_addresses(config, mistakes);
    let written = Written {
        log: config.query_log.as_ref().and_then(|log| log.file.as_ref()),
        state: config.health.state.as_ref(),
        door: config.handover.as_ref().map(|handover| &handover.socket),
    };
    written.judge(sources, mistakes);
    itself::judge(config, mistakes);
}

/// What is sound in itself, and does not fit together.
fn probably_not_meant(
    config: &Config,
    zones: &[Arc<Zone>],
    transfers: &Transfers,
) -> Vec<Diagnostic> {
    let mut warnings = alias::warnings(zones);
    warnings.extend(transfers.warnings(config, zones));
    warnings.extend(policies::unused(config, zones));
    warnings.extend(policies::without_addresses(config, zones));
    warnings
}

fn handover(
    config: &Config,
    sources: &Sources,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<Handover> {
    let handover = config.handover.as_ref();
    let handover = handover.map(|config| Handover::compile(config, sources));
    handover.transpose().unwrap_or_else(|mistake| {
        mistakes.push(mistake);
        None
    })
}

/// A state with the answers for what was learned since it was compiled.
///
/// # Errors
/// What cannot be answered; the places are those of the state's configuration.
pub(crate) fn renew(state: &State, learned: &Learned) -> Result<State, Vec<Diagnostic>> {
    if state.zones.is_empty() {
        return Ok(state.clone());
    }
    let chooser = choosing(state.chooser.as_ref());
    let (snapshot, signed) = answers(
        &state.zones,
        chooser,
        &state.signing,
        Unusable::ServeOn,
        learned,
    )?;
    Ok(State {
        snapshot: snapshot.into(),
        signed: signed.into(),
        ..state.clone()
    })
}

/// The same as [`answers`], signed once it is known that there are any and that all else is sound: signing makes and
/// replaces keys, and what does not serve must not.
fn judged(
    zones: &[Arc<Zone>],
    chooser: Arc<dyn Choose>,
    signing: &Signing,
    learned: &Learned,
    sound: bool,
) -> Result<(Snapshot, SignedZones), Vec<Diagnostic>> {
    let unsigned = answers(
        zones,
        chooser.clone(),
        &Signing::default(),
        Unusable::Refuse,
        learned,
    )?;
    match sound && signing.parts().is_some() {
        true => answers(zones, chooser, signing, Unusable::Refuse, learned),
        false => Ok(unsigned),
    }
}

/// Every answer, from the zones as they are configured and what was learned.
fn answers(
    zones: &[Arc<Zone>],
    chooser: Arc<dyn Choose>,
    signing: &Signing,
    unusable: Unusable,
    learned: &Learned,
) -> Result<(Snapshot, SignedZones), Vec<Diagnostic>> {
    let zones = with_copies(zones, learned);
    let zones = alias::place(&zones, &learned.aliases.known());
    if signing.parts().is_none() {
        return Ok((answer::compile(&zones, chooser)?, SignedZones::default()));
    }
    let signed = signing.apply(&zones, &learned.keys, unusable, unix_now())?;
    learned.keys.begin();
    let snapshot = answer::compile_signed(&signed.zones, &signed.signers, chooser)?;
    learned.keys.sweep();
    Ok((snapshot, signed.state))
}

/// The zones with the records that have come from primaries, which have none in the configuration. A zone without any
/// is answered with SERVFAIL.
pub(crate) fn with_copies<'a>(zones: &'a [Arc<Zone>], learned: &Learned) -> Cow<'a, [Arc<Zone>]> {
    if zones.iter().all(|zone| !zone.names.is_empty()) {
        return Cow::Borrowed(zones);
    }
    let zones = zones.iter().map(|zone| match zone.names.is_empty() {
        false => zone.clone(),
        true => {
            let come = learned.secondaries.zone(&zone.apex);
            come.unwrap_or_else(|| zone.clone())
        }
    });
    Cow::Owned(zones.collect())
}

fn choosing(chooser: Option<&Arc<Chooser>>) -> Arc<dyn Choose> {
    match chooser {
        Some(chooser) => chooser.clone(),
        None => Arc::new(NoPolicies),
    }
}

#[cfg(test)]
mod tests;
