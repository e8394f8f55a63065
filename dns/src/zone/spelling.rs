//! Whether a text is a name as zone files have it, and why it is none.

/// The longest label, and the longest name with the lengths of its labels, in octets (RFC 1035, 2.3.4).
const LONGEST_LABEL: usize = 63;
const LONGEST_NAME: usize = 255;

/// Judges a name, be it relative or with a dot at its end.
///
/// # Errors
/// What is wrong with it.
pub(super) fn judge(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("it is empty".to_owned());
    }
    // The length of the root's label is there already.
    let (mut label, mut whole) = (0, 1);
    let mut rest = name.chars();
    while let Some(char) = rest.next() {
        match char {
            '.' if label == 0 && name != "." => {
                return Err("there is no label before a dot".to_owned());
            }
            '.' => {
                whole += label + 1;
                label = 0;
                continue;
            }
            '\\' => rest = escaped(rest.as_str())?.chars(),
            other => plain(other)?,
        }
        label += 1;
        if label > LONGEST_LABEL {
            return Err(format!("a label has at most {LONGEST_LABEL} octets"));
        }
    }
    whole += if label > 0 { label + 1 } else { 0 };
    match whole > LONGEST_NAME && name != "." {
        true => Err(format!("a name has at most {LONGEST_NAME} octets")),
        false => Ok(()),
    }
}

/// What follows a backslash and what it stands for: three digits, or anything else.
fn escaped(rest: &str) -> Result<&str, String> {
    let wrong = || "a backslash stands before three digits up to 255, or one character".to_owned();
    let mut chars = rest.chars();
    let first = chars.next().ok_or_else(wrong)?;
    if !first.is_ascii_digit() {
        let seen = first.is_ascii_graphic() || first == ' ';
        return seen.then_some(chars.as_str()).ok_or_else(wrong);
    }
    let digits = rest.get(..3).ok_or_else(wrong)?;
    let is_octet =
        digits.bytes().all(|digit| digit.is_ascii_digit()) && digits.parse::<u8>().is_ok();
    is_octet.then(|| &rest[3..]).ok_or_else(wrong)
}

/// A character that stands for itself.
fn plain(char: char) -> Result<(), String> {
    match char {
        char if char.is_whitespace() => Err("there is a blank in it".to_owned()),
        char if char.is_control() => {
            Err("there is a character in it that cannot be seen".to_owned())
        }
        '"' | '(' | ')' | ';' => Err(format!(
            "`{char}` means something else in zone files: as part of a name it is `\\{char}`"
        )),
        char if !char.is_ascii() => Err(format!(
            "`{char}` is not ASCII: international names are written as `xn--...`"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_as_their_reader_does() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        for name in [
            "@",
            ".",
            "a",
            "a.",
            "*.a-b._c",
            r"a\.b\032c\;",
            &longest,
            &format!("{longest}."),
        ] {
            assert_eq!(judge(name), Ok(()), "{name}");
            let read = super::super::Name::from_text(name);
            assert!(name == "@" || read.is_some(), "{name}");
        }
        for (name, why) in [
            ("", "it is empty"),
            ("a b", "there is a blank in it"),
            ("a\u{7}", "cannot be seen"),
            ("a..b", "no label before a dot"),
            (".a", "no label before a dot"),
            ("..", "no label before a dot"),
            ("a;b", "`;` means something else"),
            ("b\u{fc}ro", "`\u{fc}` is not ASCII"),
            (r"a\256", "a backslash stands"),
            ("a\\", "a backslash stands"),
            (&format!("{label}a"), "a label has at most 63 octets"),
            (&format!("{longest}a"), "a name has at most 255 octets"),
        ] {
            let told = judge(name).unwrap_err();
            assert!(told.contains(why), "{name}: {told}");
        }
    }
}
