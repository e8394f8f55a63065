//! The binary under test.

use std::fmt::Write;

use rustix::process::Signal;

use super::{Back, Front, Log, OURS, Peer, Place, Plan, Program, Reload, Setup};
use crate::load::NAME;
use crate::policy::{AUDIENCE, ISSUER, KEY_ID, RATE};

pub(super) const PEER: Peer = Peer {
    name: OURS,
    program: Program::UnderTest,
    version: &["--version"],
    install: "cargo build --release",
    tokens: true,
    plan,
};

/// Metrics are always on.
fn plan(setup: &Setup, place: &Place<'_>) -> Option<Plan> {
    let text = configuration(setup, place);
    Some(Plan {
        files: vec![("gateway.toml", text)],
        args: vec!["gateway".into(), "-c".into(), "gateway.toml".into()],
        reload: Some(Reload::Signal(Signal::HUP)),
        log: setup.log.file("access.log"),
        ..Plan::default()
    })
}

fn configuration(setup: &Setup, place: &Place<'_>) -> String {
    let Place {
        address,
        admin,
        origin,
        workers,
        ..
    } = place;
    let format = match setup.log {
        Log::Off => None,
        Log::Combined => Some("combined"),
        Log::Json => Some("json"),
    };
    let plugins = format.map_or("", |_| "\"access_log\"");
    let mut text = format!("threads = {workers}\nplugins = [{plugins}]\n");
    text += &format!("log = {{ level = \"warn\" }}\nadmin = {{ address = \"{admin}\" }}\n");
    text += &format!("[[listener]]\nname = \"front\"\naddress = \"{address}\"\n");
    if setup.front == Front::Tls {
        let (certificate, key) = (&place.certificate.certificate, &place.certificate.key);
        text += &format!("tls = {{ certificate = {certificate:?}, key = {key:?} }}\n");
    }
    text += &format!("[cluster.origin]\nendpoints = [{{ address = \"{origin}\" }}]\n");
    match setup.back {
        Back::Http => {}
        Back::Grpc => text += "protocol = \"http2\"\n",
        Back::Tls => {
            let ca = &place.certificate.certificate;
            text += &format!("tls = {{ server_name = \"{NAME}\", ca = {ca:?} }}\n");
        }
    }
    if let Some(format) = format {
        text += &format!("[plugin.access_log]\nfile = \"access.log\"\nformat = \"{format}\"\n");
    }
    text += &policy(setup);
    text += &routes(setup);
    text
}

fn policy(setup: &Setup) -> String {
    let Some(policy) = &setup.policy else {
        return String::new();
    };
    let (pem, remember) = (policy.public_pem(), policy.remembered());
    format!(
        "[plugin.limit]\nkind = \"rate_limit\"\nrequests = {RATE}\n\
         [plugin.token]\nkind = \"jwt\"\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\n\
         remember = {remember}\nforward = {{ sub = \"x-user-id\" }}\n\
         keys = [{{ id = \"{KEY_ID}\", pem = \"\"\"{pem}\"\"\" }}]\n"
    )
}

fn routes(setup: &Setup) -> String {
    let plugins = setup
        .policy
        .as_ref()
        .map_or("", |_| "plugins = [\"limit\", \"token\"]\n");
    let mut text = String::new();
    for number in 0..setup.routes {
        let _ = write!(
            text,
            "[[route]]\nname = \"route-{number}\"\npath = \"/route-{number}/*\"\n\
             cluster = \"origin\"\n{plugins}"
        ); // text takes everything
    }
    if setup.routes == 0 {
        text = format!("[[route]]\nname = \"all\"\ncluster = \"origin\"\n{plugins}");
    }
    text
}
