//! What the kernel says about processes, sockets and this machine.

mod cpus;
mod process;
mod sockets;

use std::fs::read_to_string;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use rustix::process::{Resource, getrlimit, setrlimit};
use serde::Serialize;

pub(crate) use self::cpus::{Places, pin};
pub(crate) use self::process::{Memory, Usage, tree};
pub(crate) use self::sockets::owners_of_port;

/// The machine, for whoever reads the figures elsewhere.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// The processor's name.
    pub(crate) processor: String,
    /// Cores that this process may use.
    pub(crate) cores: usize,
    /// Memory in bytes.
    pub(crate) memory_bytes: u64,
    /// The kernel's version.
    pub(crate) kernel: String,
    /// How many processes wanted to run when the run began, over the last minute.
    pub(crate) load_average: f64,
}

impl Machine {
    /// This one.
    pub(crate) fn here() -> Self {
        let read = |path| read_to_string(path).unwrap_or_default();
        let after = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key));
            let value = line.and_then(|line| line.split_once(':'));
            value.map_or(String::new(), |(_, value)| value.trim().to_owned())
        };
        let memory = after(&read("/proc/meminfo"), "MemTotal");
        let kib = memory.split(' ').next().and_then(|kib| kib.parse().ok());
        let load = read("/proc/loadavg");
        Self {
            processor: after(&read("/proc/cpuinfo"), "model name"),
            cores: cpus::allowed().len(),
            memory_bytes: kib.unwrap_or(0) * 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_average: load
                .split(' ')
                .next()
                .and_then(|one| one.parse().ok())
                .unwrap_or(0.0),
        }
    }
}

/// Lets this process, and those it starts, open as many files as it may; returns how many.
pub(crate) fn raise_open_files() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// An address that was free a moment ago, below the ports that the kernel gives to clients.
pub(crate) fn free_address() -> Option<SocketAddr> {
    let mut tries = (0..1000).map(|_| {
        let port = rand::random_range(10_000..32_000);
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    });
    tries.find(|address| TcpListener::bind(address).is_ok())
}
