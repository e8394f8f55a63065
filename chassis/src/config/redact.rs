//! The text of a configuration without its secrets, for people who look at what is wrong with it.
//!
//! It works on text, not on values, because a file that is no TOML is shown too. So it goes by the names of keys, and hides
//! too much rather than too little. What is left keeps its place: each hidden byte becomes an asterisk.

use std::ops::Range;

/// A text in which secrets are hidden.
#[derive(Debug)]
pub(super) struct Redacted {
    pub(super) text: String,
    /// What was hidden, to hide it in messages too.
    secrets: Vec<String>,
}

impl Redacted {
    pub(super) fn new(text: &str) -> Self {
        let mut hidden = values(text);
        hidden.extend(passwords_of_urls(text));
        let mut bytes = text.as_bytes().to_vec();
        for range in &hidden {
            bytes[range.clone()].fill(b'*');
        }
        let secrets = hidden.into_iter().map(|range| text[range].to_owned());
        Self {
            secrets: secrets.filter(|secret| secret.len() >= SHORTEST).collect(),
            // Whole characters were replaced by ASCII.
            text: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }

    /// A message about the text, without what is hidden there.
    pub(super) fn message(&self, message: &str) -> String {
        let secrets = self.secrets.iter();
        secrets.fold(message.to_owned(), |message, secret| {
            message.replace(secret, "***")
        })
    }
}

/// Shorter ones are parts of words: replaced in a message they would make it unreadable.
const SHORTEST: usize = 4;

/// Whether the value of a key is not to be shown.
fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    let ends = |ending: &str| {
        let before = key.strip_suffix(ending);
        before.is_some_and(|before| before.is_empty() || before.ends_with('_'))
    };
    ENDINGS.iter().any(|ending| ends(ending))
}

/// The last word of their names. `key` by itself and `keys` are files, in every table that has them.
const ENDINGS: [&str; 14] = [
    "secret",
    "secrets",
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "token",
    "hmac_key",
    "api_key",
    "secret_key",
    "access_key",
    "authorization",
    "credentials",
    "cookie",
];

/// Where values of secret keys are: `key = "value"`, also in tables in a line, quoted, and in comments.
fn values(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let word = of_key(&bytes[at..]);
        if word == 0 {
            at += 1;
            continue;
        }
        let key = &text[at..at + word];
        at += word;
        let quote = usize::from(bytes.get(at).is_some_and(|byte| is_quote(*byte)));
        let sign = at + quote + blanks(&bytes[at + quote..]);
        if !bytes.get(sign).is_some_and(|sign| b"=:".contains(sign)) || !is_secret(key) {
            continue;
        }
        let value = sign + 1 + blanks(&bytes[sign + 1..]);
        at = hide(text, value, &mut found);
    }
    found
}

/// Notes what is to be hidden of the value that begins here; where it ends.
fn hide(text: &str, start: usize, found: &mut Vec<Range<usize>>) -> usize {
    let bytes = text.as_bytes();
    match bytes.get(start) {
        Some(quote) if is_quote(*quote) => string(text, start, found),
        Some(open @ (b'[' | b'{')) => {
            let close = if *open == b'[' { b']' } else { b'}' };
            let mut at = start + 1;
            while at < bytes.len() && bytes[at] != close {
                at = match is_quote(bytes[at]) {
                    true => string(text, at, found),
                    false => at + 1,
                };
            }
            at
        }
        _ => {
            let rest = &text[start..];
            let end = rest.find([',', '}', ']', '#', '\r', '\n']);
            let bare = rest[..end.unwrap_or(rest.len())].trim_end();
            if !matches!(bare, "true" | "false") {
                found.push(start..start + bare.len());
            }
            start + bare.len()
        }
    }
}

/// The same for a string, of which a mere reference to a variable or a file is no secret. One that does not end on its line ends
/// there, as it does for whoever reads it.
fn string(text: &str, start: usize, found: &mut Vec<Range<usize>>) -> usize {
    let bytes = text.as_bytes();
    let quote = bytes[start];
    let long = bytes[start..].starts_with(&[quote; 3]);
    let length = if long { 3 } else { 1 };
    let inner = start + length;
    let mut at = inner;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quote == b'"' => at += 1,
            b'\n' if !long => break,
            _ if bytes[at..].starts_with(&[quote; 3][..length]) => break,
            _ => {}
        }
        at += 1;
    }
    let end = text.floor_char_boundary(at.min(text.len()));
    if !is_reference(&text[inner..end]) {
        found.push(inner..end);
    }
    (end + length).min(text.len())
}

fn is_reference(value: &str) -> bool {
    let name = value
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'));
    name.is_some_and(|name| !name.contains(['$', '}']))
}

/// Where the passwords of `scheme://user:password@host` are.
fn passwords_of_urls(text: &str) -> Vec<Range<usize>> {
    let authority = |(at, sign): (usize, &str)| {
        let start = at + sign.len();
        let rest = &text[start..];
        let ends = |c: char| c.is_whitespace() || "/?#\"',".contains(c);
        let host = rest[..rest.find(ends).unwrap_or(rest.len())].rfind('@')?;
        let user = rest[..host].find(':')? + 1;
        (!is_reference(&rest[user..host])).then_some(start + user..start + host)
    };
    text.match_indices("://").filter_map(authority).collect()
}

/// How many bytes at the beginning may be of a key's name.
fn of_key(bytes: &[u8]) -> usize {
    let of_key = |byte: &&u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
    bytes.iter().take_while(of_key).count()
}

fn blanks(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .take_while(|byte| b" \t".contains(byte))
        .count()
}

fn is_quote(byte: u8) -> bool {
    byte == b'"' || byte == b'\''
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn secrets_are_hidden_wherever_they_stand() {
        for (written, shown) in [
            ("token = \"hunter2\" # x", "token = \"*******\" # x"),
            ("data.password='a\\'", "data.password='**'"),
            ("password = \"a\\\"b\"", "password = \"****\""),
            (
                "{ user = \"u\", password = \"p\" }",
                "{ user = \"u\", password = \"*\" }",
            ),
            (
                "\"Authorization\" = \"Bearer x\"",
                "\"Authorization\" = \"********\"",
            ),
            ("# secret = 'was'", "# secret = '***'"),
            ("secret = \"open\nport = 1", "secret = \"****\nport = 1"),
            (
                "secret = bare word\nport = 1",
                "secret = *********\nport = 1",
            ),
            ("secret = \"\"\"a\nb\"\"\"", "secret = \"\"\"***\"\"\""),
            (
                "tokens.secrets = [\"a\", 'b']",
                "tokens.secrets = [\"*\", '*']",
            ),
            ("x-api-key = \"k\u{e9}\"", "x-api-key = \"***\""),
            (
                "url = \"redis://u:p@ss@h:1/0\"",
                "url = \"redis://u:****@h:1/0\"",
            ),
        ] {
            assert_eq!(Redacted::new(written).text, shown);
        }
    }

    #[test]
    fn what_is_no_secret_is_shown() {
        for text in [
            "token_ttl = \"30min\"",
            "key = \"key.pem\"\nkeys = [\"a.pem\"]",
            "secret = \"${SECRET}\"",
            "secret = \"${file:secrets/services}\"",
            "credentials = true",
            "[plugin.token]\nkind = \"jwt\"",
            "url = \"http://host:80/a@b\"",
            "password",
        ] {
            assert_eq!(Redacted::new(text).text, text);
        }
    }

    #[test]
    fn messages_do_not_tell_what_the_text_hides() {
        let redacted = Redacted::new("password = 123456\nport = 80");
        assert_eq!(
            redacted.message("invalid type: integer `123456`, expected text"),
            "invalid type: integer `***`, expected text"
        );
    }

    proptest! {
        #[test]
        fn places_stay_whatever_is_written(text in "(token|a|\"|'|=|:|//|@|\\[|\\{|\\}| |\n|\\\\|\u{e9}|\\$){0,40}") {
            let shown = Redacted::new(&text).text;
            prop_assert_eq!(shown.len(), text.len());
        }
    }
}
