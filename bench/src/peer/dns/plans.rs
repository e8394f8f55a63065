//! How each server is configured.

use super::super::{Place, Plan, Setup};
use super::zone::{ZONE, of, zone};
use super::{Answers, Dns, geo};

pub(super) fn tidegate(setup: &Setup, place: &Place<'_>) -> Option<Plan> {
    let Dns { names, answers } = setup.dns.as_ref()?;
    let Place {
        address,
        admin,
        workers,
        ..
    } = place;
    let mut text = format!(
        "threads = {workers}\nadmin = {{ address = \"{admin}\" }}\nlog = {{ level = \"warn\" }}\n\
         [[listener]]\nname = \"dns\"\naddress = \"{address}\"\n\
         [[zone]]\nname = \"{ZONE}\"\nfile = \"zone\"\n"
    );
    let mut plan = Plan {
        args: ["dns", "-c", "dns.toml"].map(str::to_owned).into(),
        environment: vec![("TOKIO_WORKER_THREADS", workers.to_string())],
        ..Plan::default()
    };
    match answers {
        Answers::Fixed => plan.files.push(("zone", zone(*names))),
        Answers::ByNetwork => {
            text += &geo::tidegate_policy(*names);
            plan.files.push(("zone", zone(0)));
            plan.files.push(("networks.map", geo::tidegate_map()));
        }
        // It signs by itself.
        Answers::Signed(_) => {
            text += "[zone.dnssec]\n[dnssec]\nkeys = \"keys\"\n";
            plan.files.push(("zone", zone(*names)));
        }
    }
    plan.files.push(("dns.toml", text));
    Some(plan)
}

/// Without a limit of its rate, which would meet the load's one address.
pub(super) fn nsd(setup: &Setup, place: &Place<'_>) -> Option<Plan> {
    let Dns { names, answers } = setup.dns.as_ref()?;
    let zone = match answers {
        Answers::Fixed => zone(*names),
        Answers::Signed(zone) => zone.to_string(),
        Answers::ByNetwork => return None,
    };
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
        files: vec![("nsd.conf", text), ("zone", zone)],
        args: ["-d", "-c", "nsd.conf"].map(str::to_owned).into(),
        ..Plan::default()
    })
}

pub(super) fn knot(setup: &Setup, place: &Place<'_>) -> Option<Plan> {
    let Dns { names, answers } = setup.dns.as_ref()?;
    let here = place.folder.display();
    let mut files = Vec::new();
    let (mut module, mut use_module) = (String::new(), "");
    let zone = match answers {
        Answers::Fixed => zone(*names),
        Answers::Signed(zone) => zone.to_string(),
        Answers::ByNetwork => {
            module = format!(
                "mod-geoip:\n  - id: near\n    config-file: \"{here}/networks\"\n    mode: subnet\n    ttl: 300\n"
            );
            use_module = "    module: mod-geoip/near\n";
            files.push(("networks", geo::knot_map(*names)));
            of(*names, |_| "A 192.0.2.1".to_owned())
        }
    };
    let text = format!(
        "server:\n  rundir: \"{here}\"\n  listen: {}@{}\n  udp-workers: {workers}\n  tcp-workers: 1\n  background-workers: 1\n  edns-client-subnet: on\n\
         database:\n  storage: \"{here}\"\n{module}\
         template:\n  - id: default\n    storage: \"{here}\"\n    semantic-checks: off\n    journal-content: none\n\
         zone:\n  - domain: {ZONE}\n    file: zone\n{use_module}",
        place.address.ip(),
        place.address.port(),
        workers = place.workers,
    );
    files.extend([("knot.conf", text), ("zone", zone)]);
    Some(Plan {
        files,
        args: ["-c", "knot.conf"].map(str::to_owned).into(),
        ..Plan::default()
    })
}

pub(super) fn gdnsd(setup: &Setup, place: &Place<'_>) -> Option<Plan> {
    let Dns { names, answers } = setup.dns.as_ref()?;
    let (zone, plugin) = match answers {
        Answers::Fixed => (zone(*names), String::new()),
        Answers::ByNetwork => (geo::gdnsd_zone(*names), geo::gdnsd_plugin()),
        Answers::Signed(_) => return None,
    };
    let here = place.folder.display();
    let text = format!(
        "options => {{ listen => {{ {} => {{ udp_threads = {}, tcp_threads = 1 }} }}, run_dir = {here}, state_dir = {here} }}\n{plugin}",
        place.address, place.workers
    );
    Some(Plan {
        files: vec![("config", text), ("zones/bench.test", zone)],
        args: ["-c", ".", "start"].map(str::to_owned).into(),
        ..Plan::default()
    })
}
