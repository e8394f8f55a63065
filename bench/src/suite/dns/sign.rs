//! The zone, signed by the tools of ldns, for servers that are given signatures.

use std::path::Path;
use std::process::Command;

use crate::error::Error;
use crate::peer::{DNS_ZONE, dns_zone};
use crate::stage::Context;

/// The zone with so many names and its signatures: a key for the zone and one for its keys, ECDSA P-256, NSEC.
pub(super) fn zone(context: &Context, names: usize) -> Result<String, Error> {
    const FILE: &str = "to-sign";
    let file = context.file(FILE, dns_zone(names))?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program)
            .args(args)
            .current_dir(folder)
            .output();
        let output = output.map_err(Error::machine("ldnsutils (apt-get install ldnsutils)"))?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        match output.status.success() {
            true => Ok(said),
            false => Err(Error::Load(format!(
                "{program}: {}",
                String::from_utf8_lossy(&output.stderr)
            ))),
        }
    };
    let algorithm = ["-a", "ECDSAP256SHA256"];
    let of_zone = run("ldns-keygen", &[&algorithm[..], &[DNS_ZONE]].concat())?;
    let of_keys = run("ldns-keygen", &[&algorithm[..], &["-k", DNS_ZONE]].concat())?;
    run("ldns-signzone", &["-o", DNS_ZONE, FILE, &of_zone, &of_keys])?;
    let signed = file.with_extension("signed");
    std::fs::read_to_string(signed).map_err(Error::machine("the signed zone"))
}
