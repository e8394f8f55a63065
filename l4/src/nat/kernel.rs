//! What the kernel must be set to, and `nft`, which compiles rules for it.

use std::fs::{self, File};
use std::io::{ErrorKind, Seek, Write};
use std::process::{Command, Stdio};

use rustix::fs::{MemfdFlags, memfd_create};

use super::{Error, NatConfig};
use crate::forward::{Service, Transport};

/// Whether the kernel forwards at all, for services of these families.
pub(super) fn check(config: &NatConfig, services: &[Service]) -> Result<(), Error> {
    let any = |v6: bool| {
        services
            .iter()
            .any(|service| service.address.is_ipv6() == v6)
    };
    if any(false) {
        is_set("net.ipv4.ip_forward", "1", "forwards nothing")?;
    }
    if any(true) {
        is_set(
            "net.ipv6.conf.all.forwarding",
            "1",
            "forwards nothing over IPv6",
        )?;
    }
    let connections = services
        .iter()
        .any(|service| service.transport == Transport::Tcp);
    if config.synproxy && connections {
        let why = "takes the answer to a SYN cookie for a connection that it has missed";
        is_set("net.netfilter.nf_conntrack_tcp_loose", "0", why)?;
    }
    Ok(())
}

fn is_set(name: &'static str, want: &'static str, why: &'static str) -> Result<(), Error> {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    let set = fs::read_to_string(path).unwrap_or_default();
    if set.trim() == want {
        return Ok(());
    }
    Err(Error::Sysctl { name, want, why })
}

/// Has `nft` do everything that a script says, in one transaction.
pub(super) fn run(script: &str) -> Result<(), Error> {
    nft(&["-f", "/dev/stdin"], script)
}

/// Whether `nft` and the kernel would take a script.
pub(super) fn judge(script: &str) -> Result<(), Error> {
    nft(&["-c", "-f", "/dev/stdin"], script)
}

fn nft(words: &[&str], script: &str) -> Result<(), Error> {
    // Not a pipe: nft says where a mistake is while it still reads, and both would wait for each other.
    let input =
        memfd_create("nft", MemfdFlags::CLOEXEC).map_err(|error| Error::Nft(error.into()))?;
    let mut input = File::from(input);
    input.write_all(script.as_bytes()).map_err(Error::Nft)?;
    input.rewind().map_err(Error::Nft)?;
    let mut command = Command::new("nft");
    command.args(words).stdin(Stdio::from(input));
    let output = command.output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::NoNft,
        _ => Error::Nft(error),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: String = said.trim().chars().take(400).collect();
    Err(Error::Refused(said))
}
