//! `tidegate dns explain`: which answer a client gets, and why, step by step.

mod live;
mod steps;

use std::fmt::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use domain::base::rdata::RecordData as _;
use domain::base::{Message, ParsedRecord};
use domain::rdata::AllRecordData;

use self::live::Live;
use crate::alias::Zones;
use crate::answer::{Found, Limits, PolicyId, Why};
use crate::chooser::family;
use crate::compile::{Compiled, compile, renew, with_copies};
use crate::health;
use crate::learned::Learned;
use crate::policy::View;
use crate::wire::{Flags, HEADER, Header, IN, QueryName, rcode, rtype};
use crate::zone::Name;

/// The arguments of `tidegate dns explain`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// The name, such as `api.example.com`.
    name: String,
    /// The type, such as `A`.
    #[arg(value_name = "TYPE", default_value = "A")]
    rtype: String,
    /// Whom the answer is for.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    from: IpAddr,
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// The admin listener of the server that runs, such as `http://127.0.0.1:9953`, to learn what is well; the
    /// configured one when it is not given.
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
}

/// Prints which answer a client gets, and why.
pub(crate) fn main(args: &ExplainArgs) -> ExitCode {
    let Some(kind) = rtype::parse(&args.rtype.to_ascii_uppercase()) else {
        eprintln!("`{}` is not a type of records", args.rtype);
        return ExitCode::FAILURE;
    };
    let mut name = QueryName::default();
    let wire = Name::from_text(&args.name);
    if !wire.is_some_and(|wire| name.set(&wire)) {
        eprintln!("`{}` is not a name", args.name);
        return ExitCode::FAILURE;
    }
    match said(args, &name, kind) {
        Ok(said) => {
            print!("{said}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{}", why.trim_end());
            ExitCode::FAILURE
        }
    }
}

fn said(args: &ExplainArgs, name: &QueryName, kind: u16) -> Result<String, String> {
    let learned = Learned::default();
    let mut compiled = compile(&args.config, &learned).map_err(|report| report.to_string())?;
    let configured = compiled.state.zones.clone();
    let zones = with_copies(&configured, &learned);
    let way = Zones::new(&zones).follow(&Name::from(name.wire()), kind);
    let mut steps: Vec<String> = way.steps.iter().map(steps::in_words).collect();
    steps.extend(steps::end(&way));
    let outside = steps::asked(&way, kind);
    let found = compiled.state.snapshot.find(name, kind);
    steps.extend(copy(&compiled, &learned, &found));
    let is_chosen = chosen_by(&compiled, name, kind).is_some();
    if outside.is_none() && !is_chosen {
        return Ok(explain(&compiled, name, kind, args.from, &steps));
    }
    let live = live::ask(args.admin.as_deref(), &compiled.loaded.config)?;
    if let Some(target) = outside {
        steps.extend(steps::known(target, &live));
        if let Some(known) = &live.known {
            learned
                .aliases
                .adopt(&known.aliases, &compiled.state.resolving);
        }
        match renew(&compiled.state, &learned) {
            Ok(state) => compiled.state = state,
            Err(mistakes) => return Err(compiled.loaded.report(mistakes).to_string()),
        }
    }
    let chosen_by = chosen_by(&compiled, name, kind);
    steps.extend(choice(&compiled, chosen_by, args.from, &live)?);
    Ok(explain(&compiled, name, kind, args.from, &steps))
}

/// Whether the records are a copy; none of a zone that is configured here.
fn copy(compiled: &Compiled, learned: &Learned, found: &Found<'_>) -> Option<String> {
    let mut zones = compiled.state.zones.iter();
    let zone = zones.find(|zone| Some(&*zone.apex) == found.zone && zone.names.is_empty())?;
    let records = match learned.secondaries.zone(&zone.apex) {
        Some(_) => "records   from the copy of the primary's zone",
        None => "records   none: the zone never came from its primary, or has expired",
    };
    Some(records.to_owned())
}

/// The policy that chooses records of the answer, and their type: also where a DNAME record leads.
fn chosen_by(compiled: &Compiled, name: &QueryName, kind: u16) -> Option<(PolicyId, u16)> {
    let snapshot = &compiled.state.snapshot;
    snapshot.policy(&snapshot.find_moved(name, kind))
}

/// How a policy chooses for a client, with what is known of its endpoints.
fn choice(
    compiled: &Compiled,
    policy: Option<(PolicyId, u16)>,
    client: IpAddr,
    live: &Live,
) -> Result<Vec<String>, String> {
    let (Some(chooser), Some((policy, rtype))) = (&compiled.state.chooser, policy) else {
        return Ok(Vec::new());
    };
    let from = &live.from;
    let health = match &live.known {
        Some(_) => format!("health    as {from} knows it"),
        None => format!("health    not known, for nobody answers at {from}: as if all were up"),
    };
    let known = health::Snapshot::of(chooser.sites().clone(), chooser.policies(), |policy| {
        let Some(known) = &live.known else {
            return View::all_up(policy);
        };
        let report = known
            .policies
            .iter()
            .find(|report| report.name == policy.name);
        report.map_or_else(View::default, |report| report.view(policy))
    });
    chooser.follow(&known);
    let mut lines = vec![
        "records   a policy chooses them for each client".to_owned(),
        health,
    ];
    if let Some(family) = family(rtype) {
        let sources = &compiled.loaded.sources;
        let steps = chooser.explain(policy.0 as usize, family, client, sources);
        let steps =
            steps.map_err(|wrong| format!("{}: {}", sources.locate(wrong.place), wrong.message))?;
        lines.extend(steps.into_iter().map(|step| format!("          {step}")));
    }
    Ok(lines)
}

/// The steps, and the answer as `dig` would show it.
fn explain(
    compiled: &Compiled,
    name: &QueryName,
    kind: u16,
    client: IpAddr,
    chosen: &[String],
) -> String {
    let snapshot = &compiled.state.snapshot;
    let mut said = String::new();
    let mut step = |text: String| {
        // Writing to a string does not fail.
        let _ = writeln!(said, "{text}");
    };
    let shown = |wire: &[u8]| Name::from(wire).to_string();
    step(format!(
        "{} {} for {client}",
        shown(name.wire()),
        rtype::name(kind)
    ));
    let found = snapshot.find(name, kind);
    match found.zone {
        Some(zone) if snapshot.is_signed(zone) => {
            step(format!("zone      {}, signed", shown(zone)))
        }
        Some(zone) => step(format!("zone      {}", shown(zone))),
        None => step("zone      none of ours".to_owned()),
    }
    step(match found.why {
        Why::NotOurs => "name      refused: other servers know".to_owned(),
        Why::Exact => "name      it is there".to_owned(),
        Why::Wildcard(wildcard) => format!("name      {} stands for it", shown(wildcard)),
        Why::Delegated(cut) => format!("name      other servers know, from {} on", shown(cut)),
        Why::Dname(owner) => format!("name      {} has a DNAME record", shown(owner)),
        Why::Nowhere(closest) => {
            format!(
                "name      it is not there; the closest is {}",
                shown(closest)
            )
        }
    });
    chosen.iter().cloned().for_each(&mut step);
    let packet = query(name, kind);
    let limits = Limits {
        tcp: true,
        ..Limits::udp(1232)
    };
    let mut out = vec![0; usize::from(u16::MAX)];
    let answer = snapshot.respond(&packet, client, limits, &mut QueryName::default(), &mut out);
    step(format!("answer    {}", rcode::name(answer.code)));
    match records(&out[..answer.len]) {
        Ok(records) => records
            .into_iter()
            .for_each(|line| step(format!("          {line}"))),
        Err(error) => step(format!("          it cannot be read: {error}")),
    }
    said
}

/// A query as a packet.
fn query(name: &QueryName, kind: u16) -> Vec<u8> {
    let header = Header {
        id: 0,
        flags: Flags::default(),
        counts: [1, 0, 0, 0],
    };
    let mut packet = vec![0; HEADER];
    header.write(&mut packet);
    packet.extend_from_slice(name.wire());
    packet.extend_from_slice(&kind.to_be_bytes());
    packet.extend_from_slice(&IN.to_be_bytes());
    packet
}

/// The records of an answer, each with its section.
fn records(answer: &[u8]) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let message = Message::from_octets(answer)?;
    let (_, answers, authorities, additionals) = message.sections()?;
    let mut lines = Vec::new();
    let sections = [
        ("answer", answers),
        ("authority", authorities),
        ("additional", additionals),
    ];
    for (name, section) in sections {
        for record in section {
            lines.push(format!("{name:<11}{}", in_words(&record?)?));
        }
    }
    Ok(lines)
}

fn in_words(record: &ParsedRecord<'_, &[u8]>) -> Result<String, Box<dyn std::error::Error>> {
    let Some(record) = record.to_record::<AllRecordData<_, _>>()? else {
        return Ok(format!("{} {}", record.owner(), record.rtype()));
    };
    let (owner, ttl) = (record.owner(), record.ttl().as_secs());
    Ok(format!(
        "{owner}. {ttl} {} {}",
        record.data().rtype(),
        record.data()
    ))
}
