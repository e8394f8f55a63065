//! Caddy, with its metrics of requests on. Its log is JSON.

use std::fmt::Write;

use super::{Back, Front, Log, Peer, Place, Plan, Program, Reload, Setup};
use crate::load::NAME;

pub(super) const PEER: Peer = Peer {
    name: "caddy",
    program: Program::Installed("caddy"),
    version: &["version"],
    install: "apt-get install caddy",
    tokens: false,
    plan,
};

fn plan(setup: &Setup, place: &Place<'_>) -> Option<Plan> {
    if setup.policy.is_some() {
        return None;
    }
    let files = ["--config", "Caddyfile", "--adapter", "caddyfile"].map(String::from);
    let home = place.folder.display().to_string();
    let reload = [
        "reload".to_owned(),
        "--address".into(),
        place.admin.to_string(),
        "--force".into(),
    ];
    Some(Plan {
        files: vec![("Caddyfile", configuration(setup, place))],
        args: ["run".to_owned()]
            .into_iter()
            .chain(files.clone())
            .collect(),
        environment: vec![
            ("GOMAXPROCS", place.workers.to_string()),
            ("HOME", home.clone()),
            ("XDG_DATA_HOME", home.clone()),
            ("XDG_CONFIG_HOME", home),
        ],
        reload: Some(Reload::Command(reload.into_iter().chain(files).collect())),
        log: setup.log.file("access.log"),
    })
}

fn configuration(setup: &Setup, place: &Place<'_>) -> String {
    let Place {
        address,
        admin,
        origin,
        ..
    } = place;
    let log = match setup.log {
        Log::Off => "",
        Log::Combined | Log::Json => "log {\n output file access.log\n }\n",
    };
    let (scheme, tls) = match setup.front {
        Front::Http => ("http", String::new()),
        Front::Tls => {
            let (certificate, key) = (&place.certificate.certificate, &place.certificate.key);
            (
                "https",
                format!("tls {} {}\n", certificate.display(), key.display()),
            )
        }
    };
    let transport = match setup.back {
        Back::Http => String::new(),
        Back::Grpc => "versions h2c\n ".into(),
        Back::Tls => format!(
            "tls\n tls_server_name {NAME}\n tls_trusted_ca_certs {}\n ",
            place.certificate.certificate.display()
        ),
    };
    let pass = format!(
        "reverse_proxy {origin} {{\n transport http {{\n keepalive_idle_conns_per_host 256\n {transport}}}\n }}\n"
    );
    let mut routes = String::new();
    for number in 0..setup.routes {
        let _ = write!(routes, "handle /route-{number}/* {{\n {pass} }}\n"); // text takes everything
    }
    if setup.routes == 0 {
        routes = pass;
    }
    format!(
        "{{\n admin {admin}\n auto_https off\n log {{\n level ERROR\n exclude http.log.access\n }}\n \
         servers {{\n metrics\n }}\n}}\n\
         {scheme}://:{port} {{\n bind 127.0.0.1\n {tls}{log}{routes}}}\n",
        port = address.port()
    )
}
