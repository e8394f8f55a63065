//! The head of an HTTP/1.1 message, as far as the load and the origin look at it.

use memchr::memmem;

/// A head that has arrived in full.
pub(crate) struct Head<'a> {
    /// Its bytes without the empty line.
    bytes: &'a [u8],
    /// Its length with the empty line.
    pub(crate) length: usize,
}

impl<'a> Head<'a> {
    /// The head that these bytes begin with; `None` while its end is missing.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let end = memmem::find(bytes, b"\r\n\r\n")?;
        Some(Self {
            bytes: &bytes[..end],
            length: end + 4,
        })
    }

    /// The second word of the first line of a request.
    pub(crate) fn target(&self) -> &'a [u8] {
        let mut words = self.bytes.split(|byte| *byte == b' ');
        words.nth(1).unwrap_or_default()
    }

    /// The status of an answer; 0 when it is none.
    pub(crate) fn status(&self) -> u16 {
        let digits = self
            .bytes
            .get(9..12)
            .filter(|_| self.bytes.starts_with(b"HTTP/1."));
        let text = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        text.and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// The value of a header; the name in lower case.
    pub(crate) fn header(&self, name: &[u8]) -> Option<&'a [u8]> {
        let mut lines = self.bytes.split(|byte| *byte == b'\n');
        lines.find_map(|line| {
            let (start, value) = line.split_at_checked(name.len())?;
            let value = value.strip_prefix(b":")?;
            start.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
        })
    }

    /// How long the body is; `None` when the head does not say.
    pub(crate) fn content_length(&self) -> Option<usize> {
        let value = std::str::from_utf8(self.header(b"content-length")?).ok()?;
        value.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_there_when_its_empty_line_is() {
        let bytes = b"HTTP/1.1 204 No Content\r\nserver: a\r\nContent-LENGTH:  7 \r\n\r\nbody";
        assert!(Head::parse(&bytes[..30]).is_none());
        let head = Head::parse(bytes).expect("it is whole");
        assert_eq!((head.status(), head.content_length()), (204, Some(7)));
        assert_eq!(&bytes[head.length..], b"body");
        assert_eq!(head.header(b"serve"), None);
    }

    #[test]
    fn a_request_has_a_target_and_no_status() {
        let head = Head::parse(b"GET /a HTTP/1.1\r\n\r\n").expect("it is whole");
        assert_eq!((head.target(), head.status()), (&b"/a"[..], 0));
        assert_eq!(head.content_length(), None);
    }
}
