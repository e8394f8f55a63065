//! The SOA record of a zone that is written in TOML.

use chassis::config::{Diagnostic, Located};
use chassis::units::Period;

use super::spelling;
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
///
/// # Errors
/// Every mistake.
pub(super) fn text(
    soa: &SoaConfig,
    first_server: &str,
    changed: u32,
) -> Result<String, Vec<Diagnostic>> {
    let mut mistakes = Vec::new();
    let primary = soa.primary.as_ref();
    mistakes.extend(primary.and_then(|primary| spelled(primary).err()));
    let primary = primary.map_or(first_server, |primary| primary.as_str());
    let contact = soa.contact.as_ref();
    let contact = contact.map_or_else(|| Ok("hostmaster".to_owned()), mailbox);
    let contact = contact.unwrap_or_else(|mistake| {
        mistakes.push(mistake);
        String::new()
    });
    let serial = soa.serial.unwrap_or(changed);
    let mut times = String::new();
    for period in [&soa.refresh, &soa.retry, &soa.expire, &soa.negative] {
        match seconds(period) {
            Ok(seconds) => times += &format!(" {seconds}"),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    for period in [&soa.refresh, &soa.retry, &soa.expire] {
        if period.is_zero() {
            mistakes.push(period.wrong("must be 1s at least: secondaries go by it"));
        }
    }
    match mistakes.is_empty() {
        true => Ok(format!("{primary} {contact} {serial}{times}")),
        false => Err(mistakes),
    }
}

/// A name as it is written.
///
/// # Errors
/// Why it is none.
pub(super) fn spelled(name: &Located<String>) -> Result<(), Diagnostic> {
    let judged = spelling::judge(name);
    judged.map_err(|why| name.wrong(format!("`{}` is not a name: {why}", name.escape_debug())))
}

/// An address as a name: `ada.b@example.com` is `ada\.b.example.com.` (RFC 1035, 8).
fn mailbox(contact: &Located<String>) -> Result<String, Diagnostic> {
    let wrong = |why: &str| {
        let contact_text = contact.escape_debug();
        let what = format!("`{contact_text}` is not a contact: {why}");
        let help =
            "an e-mail address such as `hostmaster@example.com`, or a name with a dot for the `@`";
        contact.wrong(what).help(help)
    };
    let Some((user, host)) = contact.split_once('@') else {
        let judged = spelling::judge(contact);
        return judged
            .map(|()| contact.to_string())
            .map_err(|why| wrong(&why));
    };
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"();\\@".contains(&byte);
    if user.is_empty() || !user.bytes().all(plain) {
        return Err(wrong("what is before the `@` is no user"));
    }
    if host == "@" || spelling::judge(host).is_err() {
        return Err(wrong("what follows the `@` is no name of a host"));
    }
    let host = host.trim_end_matches('.');
    Ok(format!("{}.{host}.", user.replace('.', "\\.")))
}
