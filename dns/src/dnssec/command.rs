//! `tidegate dns keys`: what operators do with keys. It works on the key files; a server that runs notices in a second.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use chassis::units::Period;

use super::file::Folder;
use super::key::Role;
use super::roll::{Entry, Replaced, Ring, Stage};
use super::settings::parse;
use super::zones::{SignedZone, SignedZones, unix_now};
use crate::compile::compile;
use crate::learned::Learned;
use crate::zone::Name;

/// The arguments of `tidegate dns keys`.
#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum KeysArgs {
    /// Say which keys there are, and what each is at.
    List(Which),
    /// Print the DS records that the parent zone should have.
    Ds(Which),
    /// Replace a key, unless it is being replaced.
    Roll {
        /// The zone.
        #[command(flatten)]
        zone: One,
        /// Which key: the `zsk` signs the records and is replaced without you, the `ksk` signs the keys and has DS
        /// records at the parent.
        #[arg(long, value_enum)]
        role: Role,
    },
    /// Say that the parent zone has the DS record of the KSK that is announced: all its servers answer with it. The key
    /// takes its place when no cache can have the DS records from before.
    DsSeen(One),
}

/// One zone or all.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Which {
    /// The zone; all that are signed when it is not given.
    zone: Option<String>,
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

/// One zone.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct One {
    /// The zone.
    zone: String,
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

/// Does what was asked for.
pub(crate) fn main(args: &KeysArgs) -> ExitCode {
    let done = match args {
        KeysArgs::List(which) => each(which, list),
        KeysArgs::Ds(which) => each(which, ds),
        KeysArgs::Roll { zone, role } => change(zone, |ring, known, now| {
            let wanted = ring.want(*role, now, &known.timing);
            wanted.map_err(|why| under_way(known, *role, why, now))?;
            Ok(format!("another {} is made", role.name()))
        }),
        KeysArgs::DsSeen(zone) => change(zone, |ring, _, now| {
            let tag = ring.saw_ds(now).ok_or("there is no KSK")?;
            Ok(format!("the parent has the DS record of the key {tag}"))
        }),
    };
    match done {
        Ok(said) => {
            println!("{}", said.trim_end());
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{}", why.trim_end());
            ExitCode::FAILURE
        }
    }
}

/// What is said of each zone with keys.
fn each(
    which: &Which,
    say: impl Fn(&SignedZone, &Ring, &mut String) -> Result<(), String>,
) -> Result<String, String> {
    let signed = signed(&which.config)?;
    let folder = folder(&signed)?;
    let only = which.zone.as_deref().map(name).transpose()?;
    let mut said = String::new();
    let is_meant = |zone: &&SignedZone| only.as_ref().is_none_or(|only| *only == zone.zone);
    for zone in signed.zones.iter().filter(is_meant) {
        let ring = folder.read(&zone.zone).map_err(|error| error.to_string())?;
        match ring {
            Some(ring) => say(zone, &ring, &mut said)?,
            None => {
                let name = &zone.zone;
                line(
                    &mut said,
                    &format!("; {name} has no keys yet: the server makes them when it starts"),
                );
            }
        }
    }
    match (said.is_empty(), only) {
        (true, Some(only)) => Err(format!("`{only}` is not signed: it has no `dnssec`")),
        _ => Ok(said),
    }
}

/// Changes the keys of a zone.
fn change(
    one: &One,
    change: impl Fn(&mut Ring, &SignedZone, u64) -> Result<String, String>,
) -> Result<String, String> {
    let signed = signed(&one.config)?;
    let folder = folder(&signed)?;
    let zone = name(&one.zone)?;
    let known = signed.zones.iter().find(|known| known.zone == zone);
    let known = known.ok_or_else(|| format!("`{zone}` is not signed: it has no `dnssec`"))?;
    let lock = folder.lock_existing().map_err(|error| error.to_string())?;
    let ring = folder.read_to_change(&zone, &lock);
    let ring = ring.map_err(|error| error.to_string())?;
    let mut ring =
        ring.ok_or_else(|| format!("`{zone}` has no keys yet: the server makes them"))?;
    let said = change(&mut ring, known, unix_now())?;
    let written = folder.write(&zone, &ring, &lock);
    written.map_err(|error| error.to_string())?;
    Ok(format!("{zone} {said}"))
}

/// Why another key is not made now.
fn under_way(zone: &SignedZone, role: Role, why: Replaced, now: u64) -> String {
    let (zone, role) = (&zone.zone, role.name());
    match why {
        Replaced::Wanted => {
            format!(
                "the {role} of {zone} is being replaced already: a server that runs begins in a second"
            )
        }
        Replaced::UnderWay { tag, stage, next } => {
            let stage = stage.name();
            let next = match next {
                Some(next) => {
                    let left = Period::from_secs(next.saturating_sub(now));
                    format!("the next step comes in {left}")
                }
                None => "the next step comes after `ds-seen`".to_owned(),
            };
            format!(
                "the {role} of {zone} is being replaced already: the key {tag} is {stage}, {next}"
            )
        }
    }
}

fn signed(config: &std::path::Path) -> Result<std::sync::Arc<SignedZones>, String> {
    let compiled = compile(config, &Learned::default()).map_err(|report| report.to_string())?;
    Ok(compiled.state.signed)
}

fn folder(signed: &SignedZones) -> Result<&Folder, String> {
    let folder = signed.folder.as_ref();
    folder.ok_or_else(|| "no zone of this configuration is signed".into())
}

fn name(text: &str) -> Result<Name, String> {
    Name::from_text(text).ok_or_else(|| format!("`{text}` is not a name"))
}

fn line(said: &mut String, text: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(said, "{text}");
}

fn list(zone: &SignedZone, ring: &Ring, said: &mut String) -> Result<(), String> {
    let now = unix_now();
    for key in &ring.keys {
        let since = Period::from_secs(now.saturating_sub(key.since));
        let (role, tag, stage) = (key.role.name(), key.tag, key.stage.name());
        let mut text = format!(
            "{} {role} {tag:>5} {} {stage} for {since}",
            zone.zone,
            ring.algorithm.name(),
        );
        text += &match (key.role, key.stage, key.seen) {
            (Role::Ksk, Stage::Announced, None) => ", waits for `ds-seen`".to_owned(),
            (Role::Ksk, _, Some(seen)) => {
                let since = Period::from_secs(now.saturating_sub(seen));
                format!(", the parent has had its DS record for {since}")
            }
            _ => String::new(),
        };
        line(said, &text);
    }
    Ok(())
}

fn ds(zone: &SignedZone, ring: &Ring, said: &mut String) -> Result<(), String> {
    let now = unix_now();
    let from = ring.announced_from(&zone.timing);
    if let Some(left) = from.checked_sub(now).filter(|left| *left > 0) {
        let left = Period::from_secs(left);
        let text = format!(
            "; caches may have {} without signatures for {left}: wait so long before the parent gets this",
            zone.zone
        );
        line(said, &text);
    }
    let wanted = |key: &&Entry| key.role == Role::Ksk && key.stage != Stage::Retired;
    for entry in ring.keys.iter().filter(wanted) {
        let key = parse(entry, ring.algorithm).map_err(|error| error.to_string())?;
        let data = key.ds(&zone.zone);
        let digest: String = data[4..]
            .iter()
            .map(|octet| format!("{octet:02X}"))
            .collect();
        let text = format!(
            "{} IN DS {} {} {} {digest}",
            zone.zone, entry.tag, data[2], data[3]
        );
        line(said, &text);
    }
    Ok(())
}
