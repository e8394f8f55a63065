//! A conversation with the gateway, as it is written in a file of `tests/http1/`.
//!
//! ```text
//! ## A comment.
//! @ listener trusted = ["127.0.0.0/8"]      keys of the listener, for the cases below
//!
//! === what is shown when the case fails
//! > POST /sized HTTP/1.1\r\n                 bytes of the client, exactly; lines are joined
//! > Host: a.test\r\n
//! > Content-Length: 3\r\n\r\nabc
//! < 200                                      the answers, in their order
//! <   + content-type: text/plain             a header that it has
//! <   ? date                                 one that it has, with whatever value
//! <   - keep-alive                           one that it has not
//! <   = POST /sized 3 abc                    its body
//! | POST /sized                              the requests that the upstream saw, in their order
//! |   + host: a.test
//! |   - connection
//! |   ! 192.0.2.9                            a text that is nowhere in the head
//! |   = abc
//! . open                                     what becomes of the connection
//! ```
//!
//! Escapes in what is sent and in bodies: `\r` `\n` `\t` `\s` (a space) `\\` `\xHH`, and
//! `\{TEXT*COUNT}`. Bytes after an answer are sent once that answer came. `> \fin`
//! closes the client's side. After `< STATUS` may stand `head` (an answer to
//! HEAD) or `theirs` (the upstream's own, though it is an error); `400|501` is one of
//! both. `cut` after a request means that the upstream must not have got all of it, or nothing.
//! No `|` means that nothing reached the upstream. The connection is `closed` after an
//! error that is the gateway's and after `\fin`, else `open`; `any` is either, `silent` is closed
//! without a word, `gone` is closed after any or no word, and `tunnel TEXT` after this text.

use std::path::Path;

/// One conversation.
#[derive(Clone, Debug)]
pub struct Case {
    /// The line in its file.
    pub line: usize,
    /// What it is about.
    pub name: String,
    /// Keys of the listener that it is for, in TOML.
    pub listener: String,
    /// What is said, in turns.
    pub steps: Vec<Step>,
    /// What the upstream saw.
    pub seen: Vec<Sight>,
    /// What becomes of the connection.
    pub end: End,
}

/// One turn of a conversation.
#[derive(Clone, Debug)]
pub enum Step {
    /// The client sends bytes.
    Send(Vec<u8>),
    /// The client says that nothing more comes.
    Finish,
    /// The gateway answers.
    Answer(Reply),
}

/// An answer as it should be.
#[derive(Clone, Debug)]
pub struct Reply {
    /// It has one of these.
    pub statuses: Vec<u16>,
    /// It is to HEAD.
    pub to_head: bool,
    /// It is the upstream's, though it is an error.
    pub theirs: bool,
    /// What else it must be.
    pub traits: Traits,
}

/// A request as the upstream should have seen it.
#[derive(Clone, Debug)]
pub struct Sight {
    /// Method and target.
    pub first: String,
    /// Not all of it may have arrived, or nothing.
    pub cut: bool,
    /// What else it must be.
    pub traits: Traits,
}

/// What a message must have and must not have.
#[derive(Clone, Debug, Default)]
pub struct Traits {
    /// Fields with these values.
    pub fields: Vec<(String, Vec<u8>)>,
    /// Fields with any value.
    pub present: Vec<String>,
    /// No fields of these names.
    pub absent: Vec<String>,
    /// No such text in the head.
    pub nowhere: Vec<String>,
    /// This body.
    pub body: Option<Vec<u8>>,
}

/// What becomes of the connection after the last answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It serves another request.
    Open,
    /// The gateway closes it, and nothing more comes.
    Closed,
    /// This comes, and then the gateway closes it.
    Tunnel(Vec<u8>),
    /// The gateway closes it, after whatever it has to say.
    Gone,
    /// Either.
    Any,
}

impl Step {
    /// How many bytes the client sends.
    pub fn len(&self) -> usize {
        match self {
            Self::Send(bytes) => bytes.len(),
            _ => 0,
        }
    }

    /// The client sends nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Case {
    /// The gateway refuses what was sent.
    pub fn is_refused(&self) -> bool {
        self.answers().any(Reply::is_refusal)
    }

    /// The answers that are expected.
    pub fn answers(&self) -> impl Iterator<Item = &Reply> {
        self.steps.iter().filter_map(|step| match step {
            Step::Answer(reply) => Some(reply),
            _ => None,
        })
    }

    /// All that the client sends.
    pub fn bytes(&self) -> usize {
        self.steps.iter().map(Step::len).sum()
    }

    /// The client says that nothing more comes.
    pub fn finishes(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Finish))
    }
}

impl Reply {
    /// It is an error, and the gateway's own.
    pub fn is_refusal(&self) -> bool {
        !self.theirs && self.statuses.iter().all(|status| *status >= 400)
    }
}

/// The cases of a file.
///
/// # Panics
/// When it cannot be read, or a line is not as it should be.
pub fn read(path: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(path);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let (mut cases, mut listener) = (Vec::new(), String::new());
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with("##") {
            continue;
        }
        if let Some(keys) = line.strip_prefix("@ listener") {
            keys.trim().clone_into(&mut listener);
        } else if let Some(name) = line.strip_prefix("=== ") {
            cases.push(Draft::new(number + 1, name, &listener));
        } else {
            let case = cases.last_mut();
            let understood = case.and_then(|case: &mut Draft| case.add(line));
            understood.unwrap_or_else(|| panic!("{file}:{}: not understood: {line}", number + 1));
        }
    }
    cases.into_iter().map(Draft::finish).collect()
}

/// A case of which more lines come.
struct Draft {
    case: Case,
    end: Option<End>,
}

impl Draft {
    fn new(line: usize, name: &str, listener: &str) -> Self {
        Self {
            case: Case {
                line,
                name: name.to_owned(),
                listener: listener.to_owned(),
                steps: Vec::new(),
                seen: Vec::new(),
                end: End::Open,
            },
            end: None,
        }
    }

    /// Takes one line.
    fn add(&mut self, line: &str) -> Option<()> {
        let (sign, rest) = line.split_at_checked(1)?;
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        let inner = rest.strip_prefix("  ");
        match (sign, inner) {
            (">", _) if rest == "\\fin" => self.case.steps.push(Step::Finish),
            (">", _) => self.send(unescape(rest)?),
            ("<", None) => self.case.steps.push(Step::Answer(reply(rest)?)),
            ("|", None) => self.case.seen.push(sight(rest)?),
            ("<", Some(inner)) => match self.case.steps.last_mut()? {
                Step::Answer(reply) => reply.traits.add(inner)?,
                _ => return None,
            },
            ("|", Some(inner)) => self.case.seen.last_mut()?.traits.add(inner)?,
            (".", _) => self.end = Some(end(rest)?),
            _ => return None,
        }
        Some(())
    }

    fn send(&mut self, bytes: Vec<u8>) {
        match self.case.steps.last_mut() {
            Some(Step::Send(before)) => before.extend(bytes),
            _ => self.case.steps.push(Step::Send(bytes)),
        }
    }

    fn finish(mut self) -> Case {
        let closes = self.case.is_refused() || self.case.finishes();
        let usual = if closes { End::Closed } else { End::Open };
        self.case.end = self.end.unwrap_or(usual);
        self.case
    }
}

impl Traits {
    fn add(&mut self, line: &str) -> Option<()> {
        let (sign, rest) = line.split_once(' ').unwrap_or((line, ""));
        match sign {
            "+" => {
                let (name, value) = rest.split_once(':')?;
                self.fields.push((name.to_owned(), unescape(value.trim())?));
            }
            "?" => self.present.push(rest.to_owned()),
            "-" => self.absent.push(rest.to_owned()),
            "!" => self.nowhere.push(rest.to_owned()),
            "=" => self.body = Some(unescape(rest)?),
            _ => return None,
        }
        Some(())
    }
}

fn reply(text: &str) -> Option<Reply> {
    let mut words = text.split_whitespace();
    let statuses: Result<_, _> = words.next()?.split('|').map(str::parse).collect();
    let mut reply = Reply {
        statuses: statuses.ok()?,
        to_head: false,
        theirs: false,
        traits: Traits::default(),
    };
    for word in words {
        match word {
            "head" => reply.to_head = true,
            "theirs" => reply.theirs = true,
            _ => return None,
        }
    }
    Some(reply)
}

fn sight(text: &str) -> Option<Sight> {
    let all = text.strip_suffix(" cut");
    Some(Sight {
        first: String::from_utf8(unescape(all.unwrap_or(text))?).ok()?,
        cut: all.is_some(),
        traits: Traits::default(),
    })
}

fn end(text: &str) -> Option<End> {
    if let Some(text) = text.strip_prefix("tunnel ") {
        return unescape(text).map(End::Tunnel);
    }
    match text {
        "open" => Some(End::Open),
        "closed" | "silent" => Some(End::Closed),
        "gone" => Some(End::Gone),
        "any" => Some(End::Any),
        _ => None,
    }
}

/// The bytes that a text with escapes stands for.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        let sign = rest.chars().next()?;
        rest = &rest[sign.len_utf8()..];
        match sign {
            'r' => bytes.push(b'\r'),
            'n' => bytes.push(b'\n'),
            't' => bytes.push(b'\t'),
            's' => bytes.push(b' '),
            '\\' => bytes.push(b'\\'),
            'x' => {
                bytes.push(u8::from_str_radix(rest.get(..2)?, 16).ok()?);
                rest = &rest[2..];
            }
            '{' => {
                let (inner, after) = rest.split_once('}')?;
                let (what, count) = inner.rsplit_once('*')?;
                bytes.extend(unescape(what)?.repeat(count.parse().ok()?));
                rest = after;
            }
            _ => return None,
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn escapes() {
        let bytes = unescape(r"a\r\n\x00\xff\s\\\{b\t*2}").unwrap();
        assert_eq!(bytes, b"a\r\n\0\xff \\b\tb\t");
        for wrong in [r"\", r"\x0", r"\xzz", r"\q", r"\{a", r"\{a*b}"] {
            assert_eq!(unescape(wrong), None, "{wrong}");
        }
    }
}
