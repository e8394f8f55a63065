//! The header fields of a message: one buffer, and where each name and value stands in it.
//!
//! Most of them are passed on as they came, so they are neither copied one by one nor hashed: a
//! lookup compares lengths first, and there are few. What is set is written behind the rest.

use std::ops::Range;

use http::{HeaderName, HeaderValue};

/// The header fields of a message, in order, in any case.
#[derive(Clone, Default)]
pub struct Fields {
    text: Vec<u8>,
    fields: Vec<Field>,
}

/// A header field, as ranges of the text that it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name: a token.
    pub name: Range<usize>,
    /// The value, without spaces around it.
    pub value: Range<usize>,
}

/// The value of a header field.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Value<'a>(&'a [u8]);

impl<'a> Value<'a> {
    /// Its bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// As text; none when it has other bytes than visible ASCII, spaces and tabs.
    pub fn to_str(self) -> Option<&'a str> {
        let text = std::str::from_utf8(self.0).ok()?;
        let plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ' || byte == b'\t';
        text.bytes().all(plain).then_some(text)
    }

    /// A copy that can be kept; none when it is no value of a header, which nothing that came over
    /// HTTP is.
    pub fn to_header_value(self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(self.0).ok()
    }
}

impl std::fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl Fields {
    /// Fields that stand in `text`, which may hold more than them.
    pub fn new(text: Vec<u8>, fields: Vec<Field>) -> Self {
        Self { text, fields }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The first value under a name.
    pub fn get(&self, name: &HeaderName) -> Option<Value<'_>> {
        self.get_all(name).next()
    }

    /// Every value under a name, in order.
    pub fn get_all<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = Value<'a>> {
        let name = name.as_str().as_bytes();
        self.fields
            .iter()
            .filter(move |field| self.is_named(field, name))
            .map(|field| self.value(field))
    }

    /// Whether there is a field of this name.
    pub fn contains(&self, name: &HeaderName) -> bool {
        self.get(name).is_some()
    }

    /// Every name, as it was written, with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        let name = |field: &Field| std::str::from_utf8(&self.text[field.name.clone()]);
        self.fields
            .iter()
            .map(move |field| (name(field).unwrap_or_default(), self.value(field)))
    }

    /// The same as bytes.
    pub fn raw(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let text = &self.text;
        let bytes = |range: &Range<usize>| &text[range.clone()];
        self.fields
            .iter()
            .map(move |field| (bytes(&field.name), bytes(&field.value)))
    }

    /// Writes those fields of which this is true as lines of HTTP/1. Lines that stand in the buffer one
    /// after the other as they are to be written, as most do, are copied at once.
    pub fn write_lines(&self, out: &mut Vec<u8>, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        let mut run = 0..0;
        for field in &self.fields {
            let name = &self.text[field.name.clone()];
            let value = &self.text[field.value.clone()];
            if !keep(name, value) {
                continue;
            }
            match self.line(field) {
                Some(line) if line.start == run.end => run.end = line.end,
                line => {
                    out.extend_from_slice(&self.text[run]);
                    run = line.clone().unwrap_or_default();
                    if line.is_none() {
                        for part in [name, b": ", value, b"\r\n"] {
                            out.extend_from_slice(part);
                        }
                    }
                }
            }
        }
        out.extend_from_slice(&self.text[run]);
    }

    /// Where a field stands as a line that can be sent as it is.
    fn line(&self, field: &Field) -> Option<Range<usize>> {
        let Field { name, value } = field;
        let plain = value.start == name.end + 2
            && self.text[name.end..value.start] == *b": "
            && self.text.get(value.end..value.end + 2) == Some(b"\r\n");
        plain.then(|| name.start..value.end + 2)
    }

    /// Sets a field, in place of all of that name.
    pub fn set(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.remove(name);
        self.push(name.as_str().as_bytes(), value.as_bytes());
    }

    /// The same for a text. False, and nothing changes, when it is no value of a header.
    pub fn set_text(&mut self, name: &HeaderName, value: &[u8]) -> bool {
        let sound = is_value(value);
        if sound {
            self.remove(name);
            self.push(name.as_str().as_bytes(), value);
        }
        sound
    }

    /// Adds a field to those of the same name. False, and nothing changes, when the text is no value
    /// of a header.
    pub fn add_text(&mut self, name: &HeaderName, value: &[u8]) -> bool {
        let sound = is_value(value);
        if sound {
            self.push(name.as_str().as_bytes(), value);
        }
        sound
    }

    /// Adds a field to those of the same name.
    pub fn add(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.push(name.as_str().as_bytes(), value.as_bytes());
    }

    /// Adds a field whose value is the first one under another name, if there is one.
    pub fn add_same(&mut self, name: &HeaderName, other: &HeaderName) {
        let other = other.as_str().as_bytes();
        let value = self.fields.iter().find(|field| self.is_named(field, other));
        if let Some(value) = value.map(|field| field.value.clone()) {
            let name = self.write(name.as_str().as_bytes());
            self.fields.push(Field { name, value });
        }
    }

    /// Removes every field of this name.
    pub fn remove(&mut self, name: &HeaderName) {
        self.retain(|one, _| !one.eq_ignore_ascii_case(name.as_str().as_bytes()));
    }

    /// Keeps those of which this is true.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        let Self { text, fields } = self;
        fields.retain(|field| keep(&text[field.name.clone()], &text[field.value.clone()]));
    }

    /// Writes bytes that fields or others can refer to.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.text.len();
        self.text.extend_from_slice(bytes);
        start..self.text.len()
    }

    /// The bytes at a place.
    pub(super) fn bytes(&self, place: &Range<usize>) -> &[u8] {
        &self.text[place.clone()]
    }

    /// The text at a place.
    pub(super) fn text(&self, place: &Range<usize>) -> &str {
        std::str::from_utf8(&self.text[place.clone()]).unwrap_or_default()
    }

    fn push(&mut self, name: &[u8], value: &[u8]) {
        self.text.reserve(name.len() + value.len() + 4);
        let name = self.write(name);
        self.text.extend_from_slice(b": ");
        let value = self.write(value);
        self.text.extend_from_slice(b"\r\n");
        self.fields.push(Field { name, value });
    }

    #[inline]
    fn is_named(&self, field: &Field, name: &[u8]) -> bool {
        field.name.len() == name.len() && self.text[field.name.clone()].eq_ignore_ascii_case(name)
    }

    fn value(&self, field: &Field) -> Value<'_> {
        Value(&self.text[field.value.clone()])
    }
}

/// Whether it can be the value of a header (RFC 9110, section 5.5): no control characters.
fn is_value(text: &[u8]) -> bool {
    let bad = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f;
    // Without an early end, so that many bytes are looked at at once.
    !text.iter().fold(false, |found, byte| found | bad(byte))
}

impl std::fmt::Debug for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
