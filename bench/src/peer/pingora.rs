//! The least that Pingora can do: one listener, one peer, no filter, no log. This program itself, with a
//! hidden subcommand. It shows what stands under the gateway.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::LazyLock;

use async_trait::async_trait;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

use super::{Back, Front, Peer, Place, Plan, Program, Setup};
use crate::load::NAME;

pub(super) const PEER: Peer = Peer {
    name: "pingora",
    program: Program::Here,
    version: &["pingora", "--version"],
    install: "it is part of tidegate-bench",
    tokens: false,
    plan,
};

/// With a policy too, of which it does nothing: it shows what policies cost. Routes alone it sits out.
fn plan(setup: &Setup, place: &Place<'_>) -> Option<Plan> {
    if setup.policy.is_none() && setup.routes > 0 {
        return None;
    }
    let mut args: Vec<String> = vec!["pingora".into()];
    args.extend(["--address".into(), place.address.to_string()]);
    args.extend(["--origin".into(), place.origin.to_string()]);
    args.extend(["--workers".into(), place.workers.to_string()]);
    let certificate = place.certificate.certificate.display().to_string();
    match setup.back {
        Back::Http => {}
        Back::Grpc => args.push("--http2".into()),
        Back::Tls => args.extend(["--origin-ca".into(), certificate.clone()]),
    }
    if setup.front == Front::Tls {
        let key = place.certificate.key.display().to_string();
        args.extend(["--certificate".into(), certificate]);
        args.extend(["--key".into(), key]);
    }
    Some(Plan {
        args,
        ..Plan::default()
    })
}

/// What it says of its version.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let version = locked_version("pingora-proxy").unwrap_or("of an unknown version");
    format!("pingora-proxy {version}, bare `ProxyHttp`")
});

/// The version of a dependency, from the file that fixes it.
fn locked_version(package: &str) -> Option<&'static str> {
    let lock = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock"));
    let (_, after) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    after.split('"').next()
}

/// The arguments of the hidden subcommand.
#[derive(Clone, Debug, clap::Args)]
#[command(version = VERSION.as_str())]
pub(crate) struct Bare {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long)]
    origin: SocketAddr,
    #[arg(long)]
    workers: usize,
    /// Speaks HTTP/2 with the origin.
    #[arg(long)]
    http2: bool,
    /// Speaks TLS with the origin, whose certificate this file has to vouch for.
    #[arg(long)]
    origin_ca: Option<PathBuf>,
    #[arg(long)]
    certificate: Option<PathBuf>,
    #[arg(long, requires = "certificate")]
    key: Option<PathBuf>,
}

/// Serves until it is ended.
pub(crate) fn serve(bare: &Bare) -> pingora_core::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default(); // fails when there is one
    let origin_ca = bare.origin_ca.as_ref();
    let configuration = ServerConf {
        ca_file: origin_ca.map(|path| path.display().to_string()),
        threads: bare.workers,
        grace_period_seconds: Some(0), // it would wait for five minutes
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, configuration);
    server.bootstrap();
    let mut service = http_proxy_service(
        &server.configuration,
        Forward {
            origin: bare.origin,
            http2: bare.http2,
            tls: origin_ca.is_some(),
        },
    );
    let address = bare.address.to_string();
    match (&bare.certificate, &bare.key) {
        (Some(certificate), Some(key)) => {
            let [certificate, key] = [certificate, key].map(|path| path.display().to_string());
            let mut settings = TlsSettings::intermediate(&certificate, &key)?;
            settings.enable_h2();
            service.add_tls_with_settings(&address, None, settings);
        }
        _ => service.add_tcp(&address),
    }
    server.add_service(service);
    server.run_forever()
}

struct Forward {
    origin: SocketAddr,
    http2: bool,
    tls: bool,
}

#[async_trait]
impl ProxyHttp for Forward {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(
        &self,
        _: &mut Session,
        (): &mut (),
    ) -> pingora_core::Result<Box<HttpPeer>> {
        let mut peer = HttpPeer::new(self.origin, self.tls, NAME.to_owned());
        if self.http2 {
            peer.options.set_http_version(2, 2);
            peer.options.max_h2_streams = 100; // 1 by default, which is a connection a request
        }
        Ok(Box::new(peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_lock_file() {
        let version = locked_version("pingora-proxy").expect("it is a dependency");
        let numbers = version.split('.').map(str::parse::<u32>);
        assert_eq!(numbers.filter(Result::is_ok).count(), 3, "{version}");
        assert!(VERSION.contains(version), "{}", *VERSION);
        assert_eq!(locked_version("pingora-prox"), None);
    }
}
