//! HAProxy. Its log goes to standard output, here a file, by a write for each line: it has no buffered log.

use std::fmt::Write;

use rustix::process::Signal;

use super::{Back, Front, Log, Peer, Place, Plan, Program, Reload, Setup};
use crate::load::NAME;

pub(super) const PEER: Peer = Peer {
    name: "haproxy",
    program: Program::Installed("haproxy"),
    version: &["-v"],
    install: "apt-get install haproxy",
    tokens: false,
    plan,
};

fn plan(setup: &Setup, place: &Place<'_>) -> Option<Plan> {
    if setup.policy.is_some() {
        return None;
    }
    let mut files = vec![("haproxy.cfg", configuration(setup, place))];
    if setup.routes > 0 {
        let mut map = String::new();
        for number in 0..setup.routes {
            let _ = writeln!(map, "/route-{number}/ origin"); // text takes everything
        }
        files.push(("routes.map", map));
    }
    Some(Plan {
        files,
        args: ["-W", "-f", "haproxy.cfg"].map(Into::into).into(),
        reload: Some(Reload::Signal(Signal::USR2)),
        log: setup.log.file("output.log"),
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
    let log = match setup.log {
        Log::Off => "",
        Log::Combined | Log::Json => "log global\n option httplog\n",
    };
    let tls = match setup.front {
        Front::Http => String::new(),
        Front::Tls => format!(
            " ssl crt {} alpn h2,http/1.1",
            place.certificate.both.display()
        ),
    };
    let protocol = match setup.back {
        Back::Http => String::new(),
        Back::Grpc => " proto h2".into(),
        Back::Tls => format!(
            " ssl verify required ca-file {} sni str({NAME}) verifyhost {NAME}",
            place.certificate.certificate.display()
        ),
    };
    let backend = match setup.routes {
        0 => "default_backend origin",
        _ => "use_backend %[path,map_beg(routes.map)]",
    };
    format!(
        "global\n nbthread {workers}\n maxconn 15000\n no strict-limits\n log stdout format raw local0\n\
         defaults\n mode http\n timeout connect 1s\n timeout client 60s\n timeout server 30s\n \
         timeout http-keep-alive 60s\n timeout tunnel 1h\n option forwardfor\n\
         frontend admin\n bind {admin}\n http-request use-service prometheus-exporter\n\
         frontend front\n bind {address}{tls}\n {log}{backend}\n\
         backend origin\n http-reuse always\n server origin {origin}{protocol}\n"
    )
}
