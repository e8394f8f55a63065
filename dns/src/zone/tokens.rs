//! What zone files may hold beyond what their reader knows: `@` in data, times with units, more types, `$GENERATE`.
//!
//! Text goes in and out, line by line the same: `@` becomes the origin, `1h30m` becomes `5400`, and a type that is read
//! in [`fields`](super::fields) becomes `TYPE29 \# 16 ...` (RFC 3597, 5).

use super::fields::{Kind, kind};

/// What was written out.
#[derive(Debug, Default)]
pub(super) struct WrittenOut {
    /// As many lines as before.
    pub(super) text: Vec<u8>,
    /// Which origin holds from where on in `text`, but for the first.
    pub(super) origins: Vec<(usize, Vec<u8>)>,
    /// `$GENERATE` directives, which are not in the text any more.
    pub(super) generates: Vec<Generate>,
    /// What is wrong: where in the text that came in, and why.
    pub(super) mistakes: Vec<(usize, String)>,
}

/// A `$GENERATE` directive.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Generate {
    /// Where it begins in the text that came in.
    pub(super) at: usize,
    /// What holds there, as in a zone file.
    pub(super) origin: Vec<u8>,
    pub(super) ttl: Option<Vec<u8>>,
    /// What follows the word.
    pub(super) rest: Vec<u8>,
}

/// Writes out what the reader does not know. `origin` is as in a zone file, with a dot at its end.
pub(super) fn write_out(text: &[u8], origin: &str) -> WrittenOut {
    let mut writer = Writer {
        out: WrittenOut {
            text: Vec::with_capacity(text.len() + 64),
            ..WrittenOut::default()
        },
        origin: origin.as_bytes().to_vec(),
        ttl: None,
        stage: Stage::Start,
        depth: 0,
        own: None,
    };
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += match byte {
            b';' => writer.comment(&text[at..]),
            b'"' => writer.quoted(at, &text[at..]),
            b'\n' => writer.line_end(),
            b'(' | b')' => writer.parenthesis(*byte),
            b' ' | b'\t' | b'\r' => writer.blank(*byte),
            _ => writer.token(at, &text[at..]),
        };
    }
    writer.own_end();
    writer.out
}

struct Writer<'a> {
    out: WrittenOut,
    origin: Vec<u8>,
    ttl: Option<Vec<u8>>,
    stage: Stage,
    /// Open parentheses: within them a line does not end an entry.
    depth: u32,
    own: Option<Own<'a>>,
}

/// A record of a type that is read here.
struct Own<'a> {
    kind: Kind,
    at: usize,
    words: Vec<&'a [u8]>,
}

/// What the next token of an entry is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The owner, or a directive.
    Start,
    /// A TTL, a class, or the type.
    Head,
    /// Data; of a SOA record, after so many others.
    Data(Option<usize>),
    Ttl,
    Origin,
}

impl<'a> Writer<'a> {
    fn token(&mut self, at: usize, text: &'a [u8]) -> usize {
        let length = token_length(text);
        let token = &text[..length];
        if let Some(own) = &mut self.own {
            own.words.push(token);
            return length;
        }
        if self.stage == Stage::Start && token.eq_ignore_ascii_case(b"$GENERATE") {
            return self.generate(at, text, length);
        }
        if self.stage == Stage::Head
            && let Some(kind) = kind(token)
        {
            let words = Vec::new();
            self.own = Some(Own { kind, at, words });
            return length;
        }
        let next = match self.stage {
            Stage::Start if token.eq_ignore_ascii_case(b"$TTL") => Stage::Ttl,
            Stage::Start if token.eq_ignore_ascii_case(b"$ORIGIN") => Stage::Origin,
            Stage::Start if token.starts_with(b"$") => Stage::Data(None),
            Stage::Start => Stage::Head,
            Stage::Head if is_class(token) || token[0].is_ascii_digit() => Stage::Head,
            Stage::Head if token.eq_ignore_ascii_case(b"SOA") => Stage::Data(Some(0)),
            Stage::Head | Stage::Ttl | Stage::Origin | Stage::Data(None) => Stage::Data(None),
            Stage::Data(Some(before)) => Stage::Data(Some(before + 1)),
        };
        // Two names and the serial stand before the times of a SOA record.
        let is_time = matches!(self.stage, Stage::Head | Stage::Ttl)
            || matches!(self.stage, Stage::Data(Some(3..)));
        match self.stage {
            Stage::Data(_) | Stage::Origin if token == b"@" => self.out.text.extend(&self.origin),
            Stage::Origin => {
                self.origin = absolute(token, &self.origin);
                self.out.text.extend(token);
                let from = self.out.text.len();
                self.out.origins.push((from, self.origin.clone()));
            }
            _ => {
                let seconds = seconds(token).filter(|_| is_time);
                let written = seconds.map(|seconds| seconds.to_string().into_bytes());
                let written = written.unwrap_or_else(|| token.to_vec());
                self.out.text.extend(&written);
                if self.stage == Stage::Ttl {
                    self.ttl = Some(written);
                }
            }
        }
        self.stage = next;
        length
    }

    /// The directive takes its whole line.
    fn generate(&mut self, at: usize, text: &[u8], word: usize) -> usize {
        let length = line_length(text);
        self.out.generates.push(Generate {
            at,
            origin: self.origin.clone(),
            ttl: self.ttl.clone(),
            rest: text[word..length].to_vec(),
        });
        length
    }

    /// Writes the record that was read here, if there is one.
    fn own_end(&mut self) {
        let Some(Own { kind, at, words }) = self.own.take() else {
            return;
        };
        // A backslash may hide the end of a line: lines stay lines, and the reader finds the entry broken.
        let breaks = words.iter().copied().flatten();
        let breaks = breaks.filter(|byte| **byte == b'\n');
        self.out.text.extend(breaks);
        let mut number = kind.number;
        if words.first() == Some(&&b"\\#"[..]) {
            self.out.text.extend(format!("TYPE{number} ").bytes());
            return self.out.text.extend(words.join(&b' '));
        }
        let data = kind.data(&words, &self.origin).unwrap_or_else(|why| {
            self.out.mistakes.push((at, why));
            // The reader is to find nothing wrong with it once more.
            number = PRIVATE;
            vec![0]
        });
        let head = format!("TYPE{number} \\# {}", data.len());
        self.out.text.extend(head.bytes());
        let hex = data.iter().map(|octet| format!("{octet:02x}"));
        let hex: String = std::iter::once(" ".to_owned()).chain(hex).collect();
        self.out.text.extend(hex.trim_end().bytes());
    }

    fn comment(&mut self, text: &[u8]) -> usize {
        let length = line_length(text);
        // What is written at the end of the entry must not stand behind it.
        if self.own.is_none() {
            self.out.text.extend(&text[..length]);
        }
        length
    }

    fn quoted(&mut self, at: usize, text: &'a [u8]) -> usize {
        let mut escaped = false;
        let inside = text[1..].iter().position(|byte| {
            let ends = matches!(byte, b'"' | b'\n') && !escaped;
            escaped = *byte == b'\\' && !escaped;
            ends
        });
        let (length, is_closed) = match inside.map(|at| at + 1) {
            Some(end) if text[end] == b'"' => (end + 1, true),
            Some(end) => (end, false),
            None => (text.len(), false),
        };
        if !is_closed {
            let what = "no quote closes this one on its line".to_owned();
            self.out.mistakes.push((at, what));
        }
        if let Some(own) = &mut self.own {
            own.words.push(&text[..length]);
            return length;
        }
        self.out.text.extend(&text[..length]);
        if !is_closed {
            // Else the reader would take the lines that follow for text.
            self.out.text.push(b'"');
        }
        if let Stage::Start | Stage::Head = self.stage {
            self.stage = Stage::Head;
        }
        length
    }

    fn blank(&mut self, byte: u8) -> usize {
        self.out.text.push(byte);
        if self.stage == Stage::Start {
            // Without an owner: the last one's.
            self.stage = Stage::Head;
        }
        1
    }

    fn line_end(&mut self) -> usize {
        if self.depth == 0 {
            self.own_end();
        }
        self.out.text.push(b'\n');
        if self.depth == 0 {
            self.stage = Stage::Start;
        }
        1
    }

    fn parenthesis(&mut self, byte: u8) -> usize {
        self.out.text.push(byte);
        self.depth = match byte {
            b'(' => self.depth.saturating_add(1),
            _ => self.depth.saturating_sub(1),
        };
        1
    }
}

/// A type whose data nobody knows (RFC 6895, 3.1).
pub(super) const PRIVATE: u16 = 65280;

fn line_length(text: &[u8]) -> usize {
    let end = text.iter().position(|byte| *byte == b'\n');
    end.unwrap_or(text.len())
}

/// At least 1: a backslash takes the next octet with it.
fn token_length(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'\\' => at += 2,
            b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(' | b')' | b'"' => break,
            _ => at += 1,
        }
    }
    at.clamp(1, text.len())
}

fn is_class(token: &[u8]) -> bool {
    ["IN", "CH", "HS", "CS"]
        .iter()
        .any(|class| token.eq_ignore_ascii_case(class.as_bytes()))
}

/// Where the entry ends that begins at the start of a line: behind the first line that ends outside of parentheses and
/// quotes.
pub(super) fn entry_end(text: &[u8], begins: usize) -> usize {
    let (mut at, mut depth, mut is_quoted) = (begins, 0_u32, false);
    while let Some(byte) = text.get(at) {
        match byte {
            b'\\' => at += 1,
            b'"' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            b';' => at += line_length(&text[at..]) - 1,
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b'\n' if depth == 0 => return at + 1,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

pub(super) fn absolute(name: &[u8], origin: &[u8]) -> Vec<u8> {
    match (name.ends_with(b"."), origin) {
        _ if name == b"@" => origin.to_vec(),
        (true, _) => name.to_vec(),
        (false, b".") => [name, b"."].concat(),
        (false, _) => [name, b".", origin].concat(),
    }
}

/// `1w2d3h4m5s` in seconds; none for what is no time, or has no unit.
fn seconds(token: &[u8]) -> Option<u32> {
    if token.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let (mut all, mut number) = (0_u32, None::<u32>);
    for byte in token {
        if byte.is_ascii_digit() {
            let digit = u32::from(byte - b'0');
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(digit)?);
            continue;
        }
        let unit = match byte.to_ascii_lowercase() {
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        all = all.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    // "1h30" would be anybody's guess.
    number.is_none().then_some(all)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> String {
        String::from_utf8(write_out(text.as_bytes(), "example.").text).unwrap()
    }

    #[test]
    fn times_and_origins_are_written_out() {
        let text = "$TTL 1h ; 2h\n@ 1d IN SOA @ host ( 1 ; serial 1h\n 2h 15m\n 2w 1h30m )\n\tNS @\nwww 5M CNAME @\n";
        let expected = "$TTL 3600 ; 2h\n@ 86400 IN SOA example. host ( 1 ; serial 1h\n 7200 900\n 1209600 5400 )\n\tNS example.\nwww 300 CNAME example.\n";
        assert_eq!(written(text), expected);
    }

    #[test]
    fn other_text_stays_as_it_is() {
        for text in [
            "a TXT \"@ 1h\" \"x;y\\\"@\"\n",
            "1h TXT 1h\n",
            "1h 3600 A 192.0.2.1\n",
            "a 60 IN MX 10 \\@\n",
            "a TXT 1h ; @ 1h",
            "a TYPE65280 \\# 1 0a",
        ] {
            assert_eq!(written(text), text);
        }
    }

    #[test]
    fn origins_change() {
        let text = "$ORIGIN sub\na CNAME @\n$ORIGIN @\n$ORIGIN other.\nb CNAME @\n";
        let expected = "$ORIGIN sub\na CNAME sub.example.\n$ORIGIN sub.example.\n$ORIGIN other.\nb CNAME other.\n";
        assert_eq!(written(text), expected);
    }

    #[test]
    fn types_of_our_own_become_generic_and_comments_do_not_swallow_them() {
        let text = "a 1h IN KX ( 10 ; first\n @ ) ; last\nb SPF \"x;y\"; c\nc KX \\# 3 000100";
        let expected = "a 3600 IN (   \n  ) TYPE36 \\# 11 000a076578616d706c6500\nb  TYPE99 \\# 4 03783b79\nc TYPE36 \\# 3 000100";
        let squeezed = |text: &str| {
            text.split(' ')
                .filter(|word| !word.is_empty())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(squeezed(&written(text)), squeezed(expected));
        let wrong = write_out(b"a 60 A 192.0.2.1\nb 60 KX ten x\n", "example.");
        assert_eq!(
            wrong.mistakes,
            [(22, "`ten` is not a number of 16 bits".to_owned())]
        );
    }

    #[test]
    fn generate_is_taken_out_with_what_holds_there() {
        let out = write_out(
            b"$TTL 1h\n$ORIGIN sub\n$generate 1-2 a$ A 192.0.2.$\nb A 192.0.2.9\n",
            "example.",
        );
        assert_eq!(out.text, b"$TTL 3600\n$ORIGIN sub\n\nb A 192.0.2.9\n");
        let [generate] = &out.generates[..] else {
            panic!("{out:?}")
        };
        assert_eq!(
            (generate.at, &generate.origin[..]),
            (20, &b"sub.example."[..])
        );
        assert_eq!(generate.ttl.as_deref(), Some(&b"3600"[..]));
        assert_eq!(generate.rest, b" 1-2 a$ A 192.0.2.$");
    }

    proptest! {
        #[test]
        fn lines_stay_lines(text in "(KX |LOC |\\$GENERATE |[@a1h \t\n\"();\\\\$]){0,60}") {
            let out = write_out(text.as_bytes(), "example.").text;
            let lines = |text: &[u8]| text.iter().filter(|byte| **byte == b'\n').count();
            prop_assert_eq!(lines(&out), lines(text.as_bytes()));
        }
    }
}
