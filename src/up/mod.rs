//! `tidegate up`: the whole edge on one machine, as child processes of this binary.
//!
//! ```text
//! DIR/conf/*.toml   written at the first start, yours to edit: the roles reload them
//! DIR/tls/          a self-signed certificate
//! DIR/data/         the shards and the signing keys
//! DIR/servers/      with `--data servers` their data, and the environment of the user services
//! DIR/run/          ready files, and the lock that keeps a second `up` out
//! ```

mod addresses;
mod certificate;
mod child;
mod data;
mod folder;
mod supervise;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use chassis::life::prepare_ready_file;
use clap::{Args, ValueEnum};

use self::addresses::Addresses;
use self::data::DataServers;
use self::folder::Folder;

#[derive(Args)]
#[command(after_help = VARIABLES)]
pub(crate) struct UpArgs {
    /// Where configuration, certificate and data live; made when it is missing.
    #[arg(long, default_value = ".tidegate", value_name = "DIR")]
    dir: PathBuf,
    /// Where the users' data lives: in files, or on private servers of the MariaDB and the Redis that are installed. Either has
    /// users of its own.
    #[arg(long, value_enum, default_value = "embedded")]
    data: Data,
    /// `auto` takes free ports instead of the usual ones.
    #[arg(long, value_enum, default_value = "fixed")]
    ports: Ports,
    /// Write all addresses here, as JSON, once everything serves.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

const VARIABLES: &str = "\
Environment, with `--ports fixed`: an address and port each, such as 127.0.0.1:8080.
  TIDEGATE_L4_HTTP        the L4 balancer's listener for HTTP
  TIDEGATE_L4_HTTPS       its listener for HTTPS
  TIDEGATE_L4_ADMIN       its admin listener
  TIDEGATE_HTTP           the gateway's HTTP listener
  TIDEGATE_HTTPS          its HTTPS listener
  TIDEGATE_GATEWAY_ADMIN  its admin listener
  TIDEGATE_USERS          the user services
  TIDEGATE_USERS_ADMIN    their admin listener";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Ports {
    /// DNS 5300, L4 8080 and 8443, gateway 9080 and 9443, users 7001, admin 9953, 9904, 9901 and 7901; or as in the
    /// environment.
    Fixed,
    /// Free ports.
    Auto,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Data {
    /// Four shards in SQLite files.
    Embedded,
    /// Two shards on MariaDB, a primary and a replica each.
    Servers,
}

/// Why the edge cannot run.
#[derive(Debug, thiserror::Error)]
enum UpError {
    #[error("{0}: {1}")]
    File(String, std::io::Error),
    #[error(
        "{name} cannot listen on {address}: {error}\nUse `--ports auto` for free ports, or set {variable}."
    )]
    Port {
        name: &'static str,
        address: std::net::SocketAddr,
        variable: &'static str,
        error: std::io::Error,
    },
    #[error("{variable}={value} is not an address and port")]
    Address {
        variable: &'static str,
        value: String,
    },
    #[error("another `tidegate up` is running in {0}")]
    Locked(PathBuf),
    #[error("the certificate cannot be made: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("{0} did not start; what it said stands above")]
    Child(&'static str),
    #[error(transparent)]
    Servers(#[from] servers::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

pub(crate) fn main(args: &UpArgs) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidegate up: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &UpArgs) -> Result<(), UpError> {
    let began = Instant::now();
    if let Some(path) = &args.ready_file {
        prepare_ready_file(path)?;
    }
    let folder = Folder::open(&args.dir)?;
    let addresses = Addresses::choose(args.ports)?;
    certificate::ensure(&folder)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // On this thread alone: children ask to be told when the thread that made them ends.
    let mut data = match args.data {
        Data::Embedded => None,
        Data::Servers => Some(DataServers::start(&folder)?),
    };
    if let Some(data) = &data {
        data.write_environment(&folder)?;
    }
    let ready_file = args.ready_file.as_deref();
    let outcome = runtime.block_on(supervise::run(
        &folder,
        &addresses,
        data.as_mut(),
        ready_file,
        began,
    ));
    if let Some(data) = data {
        data.stop();
    }
    outcome
}
