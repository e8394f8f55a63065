//! The peers of the suite `dns`: authoritative servers with the same zone file.

use super::{OURS, Peer, Place, Plan, Program, Setup};

/// All, the one under test first.
pub(crate) const PEERS: &[Peer] = &[
    Peer {
        name: OURS,
        program: Program::UnderTest,
        version: &["--version"],
        install: "cargo build --release",
        tokens: false,
        plan: tidegate,
    },
    Peer {
        name: "nsd",
        program: Program::Installed("nsd"),
        version: &["-v"],
        install: "apt-get install nsd",
        tokens: false,
        plan: nsd,
    },
    Peer {
        name: "knot",
        program: Program::Installed("knotd"),
        version: &["--version"],
        install: "apt-get install knot",
        tokens: false,
        plan: knot,
    },
    Peer {
        name: "gdnsd",
        program: Program::Installed("gdnsd"),
        version: &["-V"],
        install: "apt-get install gdnsd",
        tokens: false,
        plan: gdnsd,
    },
];

/// The zone of all.
pub(crate) const ZONE: &str = "bench.test";

/// The number of a name, as it stands in the zone and in queries.
pub(crate) fn name(number: usize) -> String {
    format!("n{number:06}")
}

/// A zone file with so many names, each with an address of its own.
fn zone(names: usize) -> String {
    let mut text =
        "$TTL 300\n@ SOA ns1 host 1 3600 600 86400 300\n@ NS ns1\nns1 A 192.0.2.1\n".to_owned();
    for number in 0..names {
        let [_, a, b, c] = (number as u32).to_be_bytes();
        text += &format!("{} A 10.{a}.{b}.{c}\n", name(number));
    }
    text
}

fn tidegate(setup: &Setup, place: &Place<'_>) -> Option<Plan> {
    let names = setup.names?;
    let Place {
        address,
        admin,
        workers,
        ..
    } = place;
    let text = format!(
        "threads = {workers}\nadmin = {{ address = \"{admin}\" }}\nlog = {{ level = \"warn\" }}\n\
         [[listener]]\nname = \"dns\"\naddress = \"{address}\"\n\
         [[zone]]\nname = \"{ZONE}\"\nfile = \"zone\"\n"
    );
    Some(Plan {
        files: vec![("dns.toml", text), ("zone", zone(names))],
        args: ["dns", "-c", "dns.toml"].map(str::to_owned).into(),
        environment: vec![("TOKIO_WORKER_THREADS", workers.to_string())],
        ..Plan::default()
    })
}

/// Without a limit of its rate, which would meet the load's one address.
fn nsd(setup: &Setup, place: &Place<'_>) -> Option<Plan> {
    let names = setup.names?;
    let here = place.folder.display();
    let text = format!(
        "server:\n ip-address: {}@{}\n do-ip6: no\n username: \"\"\n chroot: \"\"\n zonesdir: \"{here}\"\n database: \"\"\n \
         pidfile: \"{here}/pid\"\n xfrdfile: \"{here}/xfrd\"\n xfrdir: \"{here}\"\n zonelistfile: \"{here}/list\"\n \
         cookie-secret-file: \"{here}/cookies\"\n server-count: {}\n reuseport: yes\n minimal-responses: yes\n rrl-ratelimit: 0\n\
         remote-control:\n control-enable: no\nzone:\n name: {ZONE}\n zonefile: zone\n",
        place.address.ip(),
        place.address.port(),
        place.workers,
    );
    Some(Plan {
        files: vec![("nsd.conf", text), ("zone", zone(names))],
        args: ["-d", "-c", "nsd.conf"].map(str::to_owned).into(),
        ..Plan::default()
    })
}

fn knot(setup: &Setup, place: &Place<'_>) -> Option<Plan> {
    let names = setup.names?;
    let here = place.folder.display();
    let text = format!(
        "server:\n  rundir: \"{here}\"\n  listen: {}@{}\n  udp-workers: {workers}\n  tcp-workers: 1\n  background-workers: 1\n\
         database:\n  storage: \"{here}\"\n\
         template:\n  - id: default\n    storage: \"{here}\"\n    semantic-checks: off\n    journal-content: none\n\
         zone:\n  - domain: {ZONE}\n    file: zone\n",
        place.address.ip(),
        place.address.port(),
        workers = place.workers,
    );
    Some(Plan {
        files: vec![("knot.conf", text), ("zone", zone(names))],
        args: ["-c", "knot.conf"].map(str::to_owned).into(),
        ..Plan::default()
    })
}

fn gdnsd(setup: &Setup, place: &Place<'_>) -> Option<Plan> {
    let names = setup.names?;
    let here = place.folder.display();
    let text = format!(
        "options => {{ listen => {{ {} => {{ udp_threads = {}, tcp_threads = 1 }} }}, run_dir = {here}, state_dir = {here} }}\n",
        place.address, place.workers
    );
    Some(Plan {
        files: vec![("config", text), ("zones/bench.test", zone(names))],
        args: ["-c", ".", "start"].map(str::to_owned).into(),
        ..Plan::default()
    })
}
