//! What clients may ask for over HTTP/2.

use std::ops::RangeInclusive;

use chassis::config::{Diagnostic, Located};
use chassis::units::Size;

use crate::config::Http2Config;
use crate::state::Http2Limits;

/// Judges the limits of a listener.
///
/// # Errors
/// The first that is out of its range.
pub(super) fn limits(config: &Http2Config) -> Result<Http2Limits, Diagnostic> {
    Ok(Http2Limits {
        streams: count(&config.streams)?,
        window: size(&config.window, 1 << 10..=1 << 30, "1KiB to 1GiB")?,
        connection_window: size(
            &config.connection_window,
            64 << 10..=1 << 30,
            "64KiB to 1GiB",
        )?,
        // RFC 9113, section 4.2.
        frame: size(
            &config.frame,
            16 << 10..=(1 << 24) - 1,
            "16KiB to less than 16MiB",
        )?,
        headers: size(&config.headers, 1 << 10..=1 << 20, "1KiB to 1MiB")?,
        header_count: usize::try_from(count(&config.header_count)?).unwrap_or(usize::MAX),
        resets: count(&config.resets)?,
    })
}

fn count(value: &Located<u32>) -> Result<u32, Diagnostic> {
    match **value {
        1..=10_000 => Ok(**value),
        _ => Err(value.wrong("must be from 1 to 10000")),
    }
}

fn size(value: &Located<Size>, range: RangeInclusive<u32>, told: &str) -> Result<u32, Diagnostic> {
    let bytes = u32::try_from(value.bytes()).ok();
    bytes
        .filter(|bytes| range.contains(bytes))
        .ok_or_else(|| value.wrong(format!("must be from {told}")))
}
