//! `tidegate l4 explain`: which endpoint a connection gets, and why, step by step.

mod live;
mod steps;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Instant;

use self::live::Live;
use self::steps::Wanted;
use crate::compile::{Compiled, compile};
use crate::forward::Transport;
use crate::sniff::ServerName;

/// The arguments of `tidegate l4 explain`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// The name that the client asks for in TLS or QUIC.
    #[arg(long, value_name = "NAME", conflicts_with = "host")]
    sni: Option<String>,
    /// The name that the client asks for in HTTP.
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// The client: an address, or an address and port.
    #[arg(long, value_name = "ADDRESS[:PORT]", default_value = "127.0.0.1")]
    from: From,
    /// What the client connects to; it need not be given when there is one listener.
    #[arg(long, value_name = "ADDRESS:PORT")]
    to: Option<SocketAddr>,
    /// Datagrams instead of a connection.
    #[arg(long)]
    udp: bool,
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// The admin listener of the balancer that runs, such as `http://127.0.0.1:9904`, to learn what is well; the
    /// configured one when it is not given.
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
}

/// A client, as far as it is known.
#[derive(Clone, Copy, Debug)]
struct From {
    address: IpAddr,
    port: Option<u16>,
}

impl FromStr for From {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self {
                address,
                port: None,
            });
        }
        let with_port: Result<SocketAddr, _> = text.parse();
        let client = with_port.map_err(|_| "it is no address, and no address and port")?;
        Ok(Self {
            address: client.ip(),
            port: Some(client.port()),
        })
    }
}

/// Prints which endpoint a connection gets, and why.
pub(crate) fn main(args: &ExplainArgs) -> ExitCode {
    match said(args) {
        Ok(lines) => {
            lines.iter().for_each(|line| println!("{line}"));
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{}", why.trim_end());
            ExitCode::FAILURE
        }
    }
}

fn said(args: &ExplainArgs) -> Result<Vec<String>, String> {
    let name = args.sni.as_ref().or(args.host.as_ref());
    let name = name.map(|name| {
        let read = ServerName::of_authority(name.as_bytes());
        read.ok_or_else(|| format!("`{name}` is not a host name"))
    });
    let wanted = Wanted {
        name: name.transpose()?,
        client: args.from.address,
        port: args.from.port,
        service: args.to,
        transport: match args.udp {
            true => Transport::Udp,
            false => Transport::Tcp,
        },
    };
    let compiled = compile(&args.config, None, Instant::now());
    let Compiled {
        state,
        plan,
        loaded,
        ..
    } = compiled.map_err(|report| report.to_string())?;
    let live = Live::ask(args.admin.as_deref(), &loaded.config.admin)?;
    live.teach(&state, &plan);
    wanted.explain(&state, &live)
}
