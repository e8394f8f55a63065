//! Whole zones from DNS servers, by `dig`.

use std::net::SocketAddr;
use std::process::Command;

/// A key that two servers share: algorithm, name, and the secret in base64, as `dig -y` takes it.
pub const KEY: &str = "hmac-sha256:transfer-key:c2VjcmV0IG9mIHRoaXJ0eS10d28gb2N0ZXRzLCBvciBzbw==";

/// What `dig` says.
///
/// # Panics
/// When it is not installed.
pub fn dig(server: SocketAddr, args: &[&str]) -> String {
    let output = Command::new("dig")
        .arg(format!("@{}", server.ip()))
        .args(["-p", &server.port().to_string(), "+tries=1", "+time=5"])
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("dig: {error}: make setup-tests"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Every record of a zone, sorted; none when the transfer fails.
///
/// # Panics
/// When `dig` is not installed.
pub fn axfr(server: SocketAddr, zone: &str, key: Option<&str>) -> Option<Vec<String>> {
    let mut args = vec![zone, "AXFR", "+nocomments", "+nocmd", "+nostats"];
    args.extend(key.iter().flat_map(|key| ["-y", key]));
    let said = dig(server, &args);
    let records = said
        .lines()
        .filter(|line| !line.starts_with(';') && !line.is_empty() && !line.contains("\tTSIG\t"));
    let mut records: Vec<String> = records
        .map(|line| {
            line.split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .to_lowercase()
        })
        .collect();
    records.sort();
    // The SOA record is the first and the last.
    (records.len() > 2 && !said.contains("failed")).then_some(records)
}
