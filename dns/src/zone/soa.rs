//! The SOA record of a zone that is written in TOML.

use chassis::config::{Diagnostic, Located};
use chassis::units::Period;

use crate::config::SoaConfig;

/// A period in whole seconds, at most what a TTL can be (RFC 2181, 8).
pub(super) fn seconds(period: &Located<Period>) -> Result<u32, Diagnostic> {
    let whole = period.subsec_nanos() == 0;
    let seconds = u32::try_from(period.as_secs()).ok();
    match seconds.filter(|seconds| whole && i32::try_from(*seconds).is_ok()) {
        Some(seconds) => Ok(seconds),
        None => Err(period.wrong("must be whole seconds, and at most 68 years")),
    }
}

/// The text of the record's data, as in a zone file.
pub(super) fn text(
    soa: &SoaConfig,
    first_server: &str,
    changed: u32,
) -> Result<String, Diagnostic> {
    let primary = soa.primary.as_deref().map_or(first_server, String::as_str);
    let contact = soa.contact.as_deref().map_or("hostmaster", String::as_str);
    let contact = mailbox(contact);
    let serial = soa.serial.unwrap_or(changed);
    let mut times = String::new();
    for period in [&soa.refresh, &soa.retry, &soa.expire, &soa.negative] {
        times += &format!(" {}", seconds(period)?);
    }
    Ok(format!("{primary} {contact} {serial}{times}"))
}

/// An address as a name: `ada.b@example.com` is `ada\.b.example.com.` (RFC 1035, 8).
fn mailbox(contact: &str) -> String {
    match contact.split_once('@') {
        Some((user, host)) => format!(
            "{}.{}.",
            user.replace('.', "\\."),
            host.trim_end_matches('.')
        ),
        None => contact.to_owned(),
    }
}
