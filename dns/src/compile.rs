//! `Config` to `State`: where a configuration is judged.

mod policies;

use std::path::Path;
use std::sync::Arc;

use chassis::config::{Diagnostic, Loaded, Report, load};
use chassis::net::handover::Handover;

use crate::answer::{self, Choose, NoPolicies, Snapshot};
use crate::chooser::Chooser;
use crate::config::{Config, ListenerConfig};
use crate::dnssec::{SignedZones, Signing, unix_now};
use crate::learned::Learned;
use crate::serve::TcpLimits;
use crate::state::{ListenerState, State};
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
    mistakes.extend(config.admin.validate().err());
    mistakes.extend(config.log.validate().err());
    let read = zone::read(&config.zone, &mut loaded.sources);
    mistakes.extend(read.mistakes);
    let listeners = listeners(&config.listener, &mut mistakes);
    limits(config, &mut mistakes);
    let handover = config.handover.as_ref();
    let handover = handover.map(|config| Handover::compile(config, &loaded.sources));
    let handover = handover.transpose().unwrap_or_else(|mistake| {
        mistakes.push(mistake);
        None
    });
    let signing = Signing::compile(config, &loaded.sources, &mut mistakes);
    let policies = Policies::compile(config, &mut loaded.sources);
    let compiled = policies.and_then(|policies| {
        let answers = answers(&read.zones, policies.chooser.as_ref(), &signing, learned)?;
        Ok((policies, answers))
    });
    let (policies, (snapshot, signed)) = match compiled {
        Ok(compiled) if mistakes.is_empty() => compiled,
        outcome => {
            mistakes.extend(outcome.err().into_iter().flatten());
            return Err(loaded.report(mistakes));
        }
    };
    let mut warnings = read.warnings;
    warnings.extend(policies::unused(config, &read.zones));
    let state = State {
        snapshot: snapshot.into(),
        zones: read.zones.into(),
        signing,
        signed: signed.into(),
        chooser: policies.chooser.clone(),
        listeners,
        tcp: tcp(config),
        largest_udp: *config.udp.largest,
        receive_buffer: usize::try_from(config.udp.receive_buffer.bytes()).unwrap_or(usize::MAX),
        handover,
    };
    let place = |warning: &Diagnostic| {
        format!(
            "{}: {}",
            loaded.sources.locate(warning.place),
            warning.message
        )
    };
    Ok(Compiled {
        warnings: warnings.iter().map(place).collect(),
        state,
        loaded,
        policies,
    })
}

/// A state with the answers for what was learned since it was compiled.
///
/// # Errors
/// What cannot be answered; the places are those of the state's configuration.
pub(crate) fn renew(state: &State, learned: &Learned) -> Result<State, Vec<Diagnostic>> {
    let chooser = state.chooser.as_ref();
    let (snapshot, signed) = answers(&state.zones, chooser, &state.signing, learned)?;
    Ok(State {
        snapshot: snapshot.into(),
        signed: signed.into(),
        ..state.clone()
    })
}

/// Every answer, from the zones as they are configured and what was learned.
fn answers(
    zones: &[Zone],
    chooser: Option<&Arc<Chooser>>,
    signing: &Signing,
    learned: &Learned,
) -> Result<(Snapshot, SignedZones), Vec<Diagnostic>> {
    let chooser: Arc<dyn Choose> = match chooser {
        Some(chooser) => chooser.clone(),
        None => Arc::new(NoPolicies),
    };
    if signing.parts().is_none() {
        return Ok((answer::compile(zones, chooser)?, SignedZones::default()));
    }
    let signed = signing.apply(zones, &learned.keys, unix_now())?;
    learned.keys.begin();
    let snapshot = answer::compile_signed(&signed.zones, &signed.signers, chooser)?;
    learned.keys.sweep();
    Ok((snapshot, signed.state))
}

fn listeners(configs: &[ListenerConfig], mistakes: &mut Vec<Diagnostic>) -> Vec<ListenerState> {
    let mut listeners: Vec<ListenerState> = Vec::new();
    for config in configs {
        if listeners.iter().any(|other| *other.name == **config.name) {
            let what = format!("a listener `{}` is there already", *config.name);
            mistakes.push(config.name.wrong(what));
        }
        let address = *config.address;
        if address.port() != 0 && listeners.iter().any(|other| other.address == address) {
            let what = format!("another listener is on {address} already");
            mistakes.push(config.address.wrong(what));
        }
        if *config.name == "admin" {
            mistakes.push(
                config
                    .name
                    .wrong("`admin` is the name of the admin listener"),
            );
        }
        listeners.push(ListenerState {
            name: config.name.as_str().into(),
            address,
            dual_stack: config.dual_stack,
            place: config.address.place(),
        });
    }
    listeners
}

fn tcp(config: &Config) -> TcpLimits {
    let tcp = &config.tcp;
    TcpLimits {
        connections: *tcp.connections,
        connections_per_client: *tcp.connections_per_client,
        idle: *tcp.idle,
        progress: *tcp.progress,
        queries: *tcp.queries,
    }
}

fn limits(config: &Config, mistakes: &mut Vec<Diagnostic>) {
    if !(512..=4096).contains(&*config.udp.largest) {
        let what = "an answer over UDP has from 512 to 4096 octets";
        mistakes.push(config.udp.largest.wrong(what));
    }
    let tcp = &config.tcp;
    for limit in [&tcp.connections, &tcp.connections_per_client, &tcp.queries] {
        if **limit == 0 {
            mistakes.push(limit.wrong("must be 1 at least"));
        }
    }
    if let Some(threads) = config
        .threads
        .as_ref()
        .filter(|threads| !(1..=1024).contains(&***threads))
    {
        mistakes.push(threads.wrong("from 1 to 1024 threads"));
    }
}
