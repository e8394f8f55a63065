//! The peers of the suite `l4`: balancers of TCP connections, none of which looks into them.

use rustix::process::Signal;

use crate::origin::addresses;

use super::{OURS, Peer, Place, Plan, Program, Reload, Setup};

/// All, the one under test first.
pub(crate) const PEERS: &[Peer] = &[
    Peer {
        program: Program::UnderTest,
        version: &["--version"],
        ..balancer(OURS, "cargo build --release", tidegate)
    },
    balancer("haproxy", "apt-get install haproxy", |setup, place| {
        haproxy(setup, place, "splice-auto")
    }),
    // The same where it does not ask itself whether splice(2) is worth while: it often finds too late that it is.
    Peer {
        program: Program::Installed("haproxy"),
        ..balancer(
            "haproxy-splice",
            "apt-get install haproxy",
            |setup, place| haproxy(setup, place, "splice-request\n option splice-response"),
        )
    },
    balancer(
        "nginx",
        "apt-get install nginx-light libnginx-mod-stream",
        nginx,
    ),
];

/// One that is installed by this name.
const fn balancer(
    name: &'static str,
    install: &'static str,
    plan: fn(&Setup, &Place<'_>) -> Option<Plan>,
) -> Peer {
    Peer {
        name,
        program: Program::Installed(name),
        version: &["-v"],
        install,
        tokens: false,
        plan,
    }
}

fn tidegate(setup: &Setup, place: &Place<'_>) -> Option<Plan> {
    let Place {
        address,
        admin,
        workers,
        ..
    } = place;
    let endpoints: String = addresses(place.origin)
        .map(|origin| format!("{{ address = \"{origin}\" }}, "))
        .collect();
    let route = match setup.routes {
        0 => "",
        _ => "[[route]]\nnames = [\"bench.test\"]\ncluster = \"origin\"\n",
    };
    let text = format!(
        "threads = {workers}\nlog = {{ level = \"warn\" }}\nadmin = {{ address = \"{admin}\" }}\n\
         [[listener]]\nname = \"front\"\naddress = \"{address}\"\ncluster = \"origin\"\n{route}\
         [cluster.origin]\nendpoints = [{endpoints}]\n"
    );
    Some(Plan {
        files: vec![("l4.toml", text)],
        args: ["l4", "-c", "l4.toml"].map(Into::into).into(),
        reload: Some(Reload::Signal(Signal::HUP)),
        ..Plan::default()
    })
}

/// With the option that says when bytes are moved by splice(2).
fn haproxy(setup: &Setup, place: &Place<'_>, splice: &str) -> Option<Plan> {
    let Place {
        address,
        admin,
        workers,
        ..
    } = place;
    let servers: String = addresses(place.origin)
        .enumerate()
        .map(|(number, origin)| format!(" server origin{number} {origin}\n"))
        .collect();
    let choice = match setup.routes {
        0 => "default_backend origin",
        _ => {
            "tcp-request inspect-delay 5s\n tcp-request content accept if HTTP\n \
             use_backend origin if { req.hdr(host) -i bench.test }\n default_backend origin"
        }
    };
    let text = format!(
        "global\n nbthread {workers}\n maxconn 15000\n no strict-limits\n\
         defaults\n mode tcp\n option {splice}\n timeout connect 1s\n timeout client 600s\n \
         timeout server 600s\n\
         frontend admin\n mode http\n bind {admin}\n http-request use-service prometheus-exporter\n\
         frontend front\n bind {address}\n {choice}\n\
         backend origin\n{servers}"
    );
    Some(Plan {
        files: vec![("haproxy.cfg", text)],
        args: ["-W", "-f", "haproxy.cfg"].map(Into::into).into(),
        reload: Some(Reload::Signal(Signal::USR2)),
        ..Plan::default()
    })
}

/// nginx knows names in TLS alone.
fn nginx(setup: &Setup, place: &Place<'_>) -> Option<Plan> {
    if setup.routes > 0 {
        return None;
    }
    let Place {
        address, workers, ..
    } = place;
    let servers: String = addresses(place.origin)
        .map(|origin| format!("server {origin}; "))
        .collect();
    let user = match rustix::process::geteuid().is_root() {
        true => "user root;\n",
        false => "",
    };
    let reuseport = if *workers > 1 { " reuseport" } else { "" };
    let text = format!(
        "daemon off;\n{user}load_module {MODULE};\nworker_processes {workers};\n\
         worker_rlimit_nofile 40000;\npid nginx.pid;\nerror_log error.log crit;\n\
         events {{ worker_connections 32768; }}\n\
         stream {{\nupstream origin {{ {servers}}}\n\
         server {{ listen {address}{reuseport}; proxy_pass origin; proxy_timeout 600s; }}\n}}\n"
    );
    Some(Plan {
        files: vec![("nginx.conf", text)],
        args: ["-p", ".", "-c", "nginx.conf", "-e", "error.log"]
            .map(Into::into)
            .into(),
        reload: Some(Reload::Signal(Signal::HUP)),
        ..Plan::default()
    })
}

const MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
