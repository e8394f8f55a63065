//! Names of files that belong to zones.

use std::fmt::Write;

use ring::digest::{SHA256, digest};

/// The longest name of a file, in octets, that file systems take.
const LONGEST: usize = 255;
/// So much of a text stays in the name of a file that would be too long.
const KEPT: usize = 160;

/// The name of a file: a text of ASCII that stands for a zone alone, and what the file is. What would be too long is cut, and
/// a digest of the whole makes it one of its own.
pub(crate) fn file_name(text: &str, kind: &str) -> String {
    let name = format!("{text}{kind}");
    if name.len() <= LONGEST {
        return name;
    }
    let mut short = text.get(..KEPT).unwrap_or_default().to_owned();
    short.push('~');
    for octet in &digest(&SHA256, text.as_bytes()).as_ref()[..16] {
        // Writing to a string does not fail.
        let _ = write!(short, "{octet:02x}");
    }
    short + "." + kind
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        assert_eq!(file_name("example.com.", "axfr"), "example.com.axfr");
        let fits = "a".repeat(LONGEST - 4);
        assert_eq!(file_name(&fits, "axfr"), fits.clone() + "axfr");
        let (one, other) = (fits.clone() + "b", fits + "c");
        let [first, second] = [one, other].map(|text| file_name(&text, "axfr"));
        assert!(
            first.len() <= LONGEST && first.ends_with(".axfr"),
            "{first}"
        );
        assert_ne!(first, second);
    }
}
