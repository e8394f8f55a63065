//! What stands behind the peers: the origin of proxies, the Redis of services, or nothing.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;

use servers::{Redis, RedisSettings};

use super::Back;
use super::running::{Process, launch};
use crate::error::Error;
use crate::load::Certificate;
use crate::machine::{Usage, owners_of_port};

/// What stands behind the peers.
#[derive(Debug)]
pub(crate) enum Behind {
    /// Our origin.
    Origin(Origin),
    /// A Redis of our own, empty at the start, on the cores of the load.
    Redis(Redis),
    /// Nothing: DNS servers need nobody.
    Nothing,
}

impl Behind {
    /// Starts the origin with so many threads on these cores.
    pub(crate) fn origin(
        threads: usize,
        certificate: &Certificate,
        cpus: &[usize],
    ) -> Result<Self, Error> {
        Origin::start(threads, certificate, cpus).map(Self::Origin)
    }

    /// Starts Redis in this folder.
    pub(crate) fn redis(folder: &Path) -> Result<Self, Error> {
        let port = servers::free_port().map_err(Error::machine("a port for Redis"))?;
        let redis = Redis::start(RedisSettings {
            dir: folder.to_owned(),
            port,
            password: None,
            setup: servers::Setup::Single,
        });
        redis.map(Self::Redis).map_err(Error::Server)
    }

    /// Where it speaks this; Redis has one address.
    pub(crate) fn address(&self, back: Back) -> SocketAddr {
        match (self, back) {
            (Self::Origin(origin), Back::Http) => origin.address,
            (Self::Origin(origin), Back::Grpc) => origin.grpc,
            (Self::Origin(origin), Back::Tls) => origin.tls,
            (Self::Redis(redis), _) => (Ipv4Addr::LOCALHOST, redis.port()).into(),
            (Self::Nothing, _) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        }
    }

    /// CPU time so far.
    pub(crate) fn usage(&self) -> Usage {
        match self {
            Self::Origin(origin) => Usage::of(origin.process.0.id()),
            Self::Redis(redis) => {
                let owners = owners_of_port(redis.port());
                owners.into_iter().next().map(Usage::of).unwrap_or_default()
            }
            Self::Nothing => Usage::default(),
        }
    }
}

/// The origin.
#[derive(Debug)]
pub(crate) struct Origin {
    /// Where it speaks HTTP/1.1.
    address: SocketAddr,
    /// Where it speaks gRPC.
    grpc: SocketAddr,
    /// Where it speaks HTTP/1.1 over TLS.
    tls: SocketAddr,
    process: Process,
}

impl Origin {
    fn start(threads: usize, certificate: &Certificate, cpus: &[usize]) -> Result<Self, Error> {
        let this = std::env::current_exe().map_err(Error::machine("this program's file"))?;
        let mut command = launch(cpus, &this)?;
        command
            .arg("origin")
            .args(["--threads", &threads.to_string()])
            .arg("--certificate")
            .arg(&certificate.certificate)
            .arg("--key")
            .arg(&certificate.key);
        let child = command.stdout(Stdio::piped()).spawn();
        let mut process = Process(child.map_err(Error::machine("the origin"))?);
        let mut line = String::new();
        if let Some(out) = process.0.stdout.take() {
            let read = BufReader::new(out).read_line(&mut line);
            read.map_err(Error::machine("the origin's address"))?;
        }
        let addresses: Vec<_> = line.split_whitespace().flat_map(str::parse).collect();
        let [address, grpc, tls] = addresses[..] else {
            return Err(Error::Load("the origin does not start".into()));
        };
        Ok(Self {
            address,
            grpc,
            tls,
            process,
        })
    }
}
