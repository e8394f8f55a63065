//! What zone files may hold beyond what their reader knows: `@` in data, and times with units.
//!
//! Text goes in and out, line by line the same: `@` becomes the origin, `1h30m` becomes `5400`.

/// Writes out `@` in data and times with units. `origin` is as in a zone file, with a dot at its end.
pub(super) fn write_out(text: &[u8], origin: &str) -> Vec<u8> {
    let mut writer = Writer {
        out: Vec::with_capacity(text.len() + 64),
        origin: origin.as_bytes().to_vec(),
        stage: Stage::Start,
        depth: 0,
    };
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += match byte {
            b';' => copy(&mut writer.out, &text[at..], |byte| byte == b'\n'),
            b'"' => writer.quoted(&text[at..]),
            b'\n' => writer.line_end(),
            b'(' | b')' => writer.parenthesis(*byte),
            b' ' | b'\t' | b'\r' => writer.blank(*byte),
            _ => writer.token(&text[at..]),
        };
    }
    writer.out
}

struct Writer {
    out: Vec<u8>,
    origin: Vec<u8>,
    stage: Stage,
    /// Open parentheses: within them a line does not end an entry.
    depth: u32,
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

impl Writer {
    fn token(&mut self, text: &[u8]) -> usize {
        let length = token_length(text);
        let token = &text[..length];
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
            Stage::Data(_) | Stage::Origin if token == b"@" => self.out.extend(&self.origin),
            Stage::Origin => {
                self.origin = absolute(token, &self.origin);
                self.out.extend(token);
            }
            _ => match seconds(token).filter(|_| is_time) {
                Some(seconds) => self.out.extend(seconds.to_string().bytes()),
                None => self.out.extend(token),
            },
        }
        self.stage = next;
        length
    }

    fn quoted(&mut self, text: &[u8]) -> usize {
        let mut escaped = false;
        let inside = text[1..].iter().position(|byte| {
            let ends = matches!(byte, b'"' | b'\n') && !escaped;
            escaped = *byte == b'\\' && !escaped;
            ends
        });
        // What no quote closes goes on to the line's end; the reader says so.
        let length = match inside.map(|at| at + 1) {
            Some(end) if text[end] == b'"' => end + 1,
            Some(end) => end,
            None => text.len(),
        };
        self.out.extend(&text[..length]);
        if let Stage::Start | Stage::Head = self.stage {
            self.stage = Stage::Head;
        }
        length
    }

    fn blank(&mut self, byte: u8) -> usize {
        self.out.push(byte);
        if self.stage == Stage::Start {
            // Without an owner: the last one's.
            self.stage = Stage::Head;
        }
        1
    }

    fn line_end(&mut self) -> usize {
        self.out.push(b'\n');
        if self.depth == 0 {
            self.stage = Stage::Start;
        }
        1
    }

    fn parenthesis(&mut self, byte: u8) -> usize {
        self.out.push(byte);
        self.depth = match byte {
            b'(' => self.depth.saturating_add(1),
            _ => self.depth.saturating_sub(1),
        };
        1
    }
}

fn copy(out: &mut Vec<u8>, text: &[u8], ends: impl Fn(u8) -> bool) -> usize {
    let length = text
        .iter()
        .position(|byte| ends(*byte))
        .unwrap_or(text.len());
    out.extend(&text[..length]);
    length
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

fn absolute(name: &[u8], origin: &[u8]) -> Vec<u8> {
    match (name.ends_with(b"."), origin) {
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
        String::from_utf8(write_out(text.as_bytes(), "example.")).unwrap()
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

    proptest! {
        #[test]
        fn lines_stay_lines(text in "[@a1h \t\n\"();\\\\$]{0,60}") {
            let out = write_out(text.as_bytes(), "example.");
            let lines = |text: &[u8]| text.iter().filter(|byte| **byte == b'\n').count();
            prop_assert_eq!(lines(&out), lines(text.as_bytes()));
        }
    }
}
