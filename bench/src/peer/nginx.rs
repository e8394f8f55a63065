//! nginx, and nginx that verifies tokens in njs.
//!
//! Like the others it keeps connections to the origin, streams bodies up, and buffers its log (64 KiB, at
//! most a second), which its default does not. Answers are buffered in memory, as by default, but not on disk.

use std::fmt::Write;
use std::path::Path;

use rustix::process::Signal;

use super::{Back, Front, Log, Peer, Place, Plan, Program, Reload, Setup};
use crate::load::NAME;
use crate::policy::{Algorithm, Policy, RATE};

pub(super) const PEER: Peer = Peer {
    name: "nginx",
    program: Program::Installed("nginx"),
    version: &["-v"],
    install: "apt-get install nginx-light",
    tokens: false,
    plan: without_njs,
};

pub(super) const WITH_NJS: Peer = Peer {
    name: "nginx-njs",
    program: Program::Installed("nginx"),
    version: &["-v"],
    install: "apt-get install nginx-light libnginx-mod-http-js",
    tokens: true,
    plan: with_njs,
};

const MODULE: &str = "/usr/lib/nginx/modules/ngx_http_js_module.so";

/// Whether the module for JavaScript is installed.
pub(super) fn has_njs() -> bool {
    Path::new(MODULE).is_file()
}

/// With a policy: the same but for tokens, of which nginx alone knows nothing.
fn without_njs(setup: &Setup, place: &Place<'_>) -> Option<Plan> {
    Some(plan(setup, place, None))
}

/// WebCrypto in njs knows ECDSA, not Ed25519.
fn with_njs(setup: &Setup, place: &Place<'_>) -> Option<Plan> {
    let policy = setup.policy.as_ref();
    let policy = policy.filter(|policy| policy.algorithm == Algorithm::Es256)?;
    Some(plan(setup, place, Some(policy)))
}

fn plan(setup: &Setup, place: &Place<'_>, njs: Option<&Policy>) -> Plan {
    let mut files = vec![("nginx.conf", configuration(setup, place, njs.is_some()))];
    files.extend(njs.map(|policy| ("token.js", policy.njs())));
    Plan {
        files,
        args: ["-p", ".", "-c", "nginx.conf", "-e", "error.log"]
            .map(Into::into)
            .into(),
        reload: Some(Reload::Signal(Signal::HUP)),
        log: setup.log.file("access.log"),
        ..Plan::default()
    }
}

fn configuration(setup: &Setup, place: &Place<'_>, njs: bool) -> String {
    let Place {
        address,
        admin,
        origin,
        workers,
        ..
    } = place;
    let module = if njs {
        format!("load_module {MODULE};\n")
    } else {
        String::new()
    };
    let user = if rustix::process::geteuid().is_root() {
        "user root;\n"
    } else {
        ""
    };
    let tls = match setup.front {
        Front::Http => String::new(),
        Front::Tls => format!(
            "ssl_certificate {}; ssl_certificate_key {};\nssl_protocols TLSv1.2 TLSv1.3;",
            place.certificate.certificate.display(),
            place.certificate.key.display(),
        ),
    };
    let options = match setup.front {
        Front::Http => "",
        Front::Tls => " ssl http2",
    };
    let reuseport = if *workers > 1 { " reuseport" } else { "" };
    format!(
        "daemon off;\n{user}{module}worker_processes {workers};\nworker_rlimit_nofile 20000;\n\
         pid nginx.pid;\nerror_log error.log crit;\nevents {{ worker_connections 16384; }}\n\
         http {{\n{TEMPORARY}{log}{policy}\
         keepalive_requests 1000000000; client_max_body_size 0;\n\
         upstream origin {{ server {origin}; keepalive 256; keepalive_requests 1000000000; }}\n\
         map $http_upgrade $upgrade {{ '' ''; default upgrade; }}\n\
         proxy_http_version 1.1; proxy_request_buffering off; proxy_max_temp_file_size 0;\n\
         proxy_set_header Connection $upgrade; proxy_set_header Upgrade $http_upgrade;\n\
         proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;\n\
         server {{ listen {admin}; access_log off; location / {{ stub_status; }} }}\n\
         {origin_tls}\
         server {{\nlisten {address}{options}{reuseport};\n{tls}\n{locations}}}\n}}\n",
        log = log(setup.log),
        policy = policy(setup, njs),
        origin_tls = origin_tls(setup, place),
        locations = locations(setup, njs),
    )
}

const TEMPORARY: &str = "client_body_temp_path body; proxy_temp_path proxy; \
    fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n";

fn log(log: Log) -> String {
    let format = match log {
        Log::Off => return "access_log off;\n".into(),
        Log::Combined => return "access_log access.log combined buffer=64k flush=1s;\n".into(),
        Log::Json => {
            r#"'{"time":"$time_iso8601","client":"$remote_addr","method":"$request_method",'
'"path":"$uri","protocol":"$server_protocol","status":$status,"bytes":$body_bytes_sent,'
'"seconds":$request_time,"upstream":"$upstream_addr","upstream_seconds":"$upstream_response_time",'
'"agent":"$http_user_agent","host":"$host","id":"$request_id"}'"#
        }
    };
    format!(
        "log_format json escape=json {format};\naccess_log access.log json buffer=64k flush=1s;\n"
    )
}

fn policy(setup: &Setup, njs: bool) -> String {
    let mut text = String::new();
    if setup.policy.is_some() {
        let _ = writeln!(
            text,
            "limit_req_zone $binary_remote_addr zone=clients:10m rate={RATE}r/s;"
        );
        let _ = writeln!(text, "limit_req zone=clients burst={RATE} nodelay;");
    }
    if njs {
        text += "js_path .; js_import token from token.js;\n";
    }
    text
}

/// TLS 1.3 is not among the versions by default; sessions are reused.
fn origin_tls(setup: &Setup, place: &Place<'_>) -> String {
    if setup.back != Back::Tls {
        return String::new();
    }
    format!(
        "proxy_ssl_protocols TLSv1.3; proxy_ssl_server_name on; proxy_ssl_name {NAME};\n\
         proxy_ssl_verify on; proxy_ssl_trusted_certificate {};\n",
        place.certificate.certificate.display()
    )
}

fn locations(setup: &Setup, njs: bool) -> String {
    let guard = if njs { "auth_request /_token; " } else { "" };
    let pass = match setup.back {
        Back::Http => format!("{{ {guard}proxy_pass http://origin; }}\n"),
        Back::Tls => format!("{{ {guard}proxy_pass https://origin; }}\n"),
        Back::Grpc => "{ grpc_pass grpc://origin; }\n".into(),
    };
    let mut text = String::new();
    if njs {
        text += "location = /_token { internal; js_content token.verify; }\n";
    }
    for number in 0..setup.routes {
        let _ = write!(text, "location /route-{number}/ {pass}"); // text takes everything
    }
    if setup.routes == 0 {
        text += &format!("location / {pass}");
    }
    text
}
