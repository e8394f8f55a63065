//! Files that are no text, where a zone file is expected: told as such, and never drawn as they are.

/// Octets that no text has.
pub(super) struct Binary {
    /// The first one.
    pub(super) octet: u8,
    /// Where its stand-in is in `shown`.
    pub(super) at: usize,
    /// The file up to there and a little of what follows, without octets that a terminal would obey.
    pub(super) shown: String,
}

impl Binary {
    /// Stands where an octet cannot be shown.
    pub(super) const STAND_IN: char = char::REPLACEMENT_CHARACTER;
    /// Octets that are shown of what follows.
    const MORE: usize = 40;

    /// The first of such octets; none in a text.
    pub(super) fn find(bytes: &[u8]) -> Option<Self> {
        let is_text = |byte: &u8| !byte.is_ascii_control() || byte.is_ascii_whitespace();
        let first = bytes.iter().position(|byte| !is_text(byte))?;
        let shown = |bytes: &[u8]| -> String {
            let text = String::from_utf8_lossy(bytes);
            let chars = text.chars();
            let chars = chars.map(
                |char| match char.is_control() && !matches!(char, '\n' | '\t') {
                    true => Self::STAND_IN,
                    false => char,
                },
            );
            chars.collect()
        };
        let before = shown(&bytes[..first]);
        let after = &bytes[first..bytes.len().min(first + Self::MORE)];
        Some(Self {
            octet: bytes[first],
            at: before.len(),
            shown: before + &shown(after),
        })
    }
}
