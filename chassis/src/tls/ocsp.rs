//! OCSP responses from files (RFC 6960), as far as a mistake in them can be seen cheaply.
//!
//! They are passed on as they are, and clients verify them: the signature is not checked here.
//! This only keeps a wrong file from being noticed by clients first.

use std::time::SystemTime;

use x509_parser::prelude::{ASN1Time, FromDer};

use super::certificate::time;

/// Judges a response about the certificate with this serial number; until when it holds, if it says so.
///
/// # Errors
/// Why it cannot be served.
pub(super) fn judge(response: &[u8], serial: &[u8]) -> Result<Option<SystemTime>, &'static str> {
    const MALFORMED: &str = "it is not an OCSP response in DER";
    let mut response = Der(response).inside(SEQUENCE).ok_or(MALFORMED)?;
    if response.inside(ENUMERATED).ok_or(MALFORMED)?.0 != [SUCCESSFUL] {
        return Err("the responder has answered with an error");
    }
    let mut responses = responses(&mut response).ok_or(MALFORMED)?;
    while !responses.0.is_empty() {
        let mut single = responses.inside(SEQUENCE).ok_or(MALFORMED)?;
        if single.serial().ok_or(MALFORMED)? == serial {
            let (status, _) = single.next().ok_or(MALFORMED)?;
            return match status {
                GOOD => Ok(single.next_update()),
                REVOKED => Err("it says that the certificate is revoked"),
                _ => Err("it says that the certificate is unknown"),
            };
        }
    }
    Err("it is about another certificate")
}

/// From OCSPResponse to the list of SingleResponse.
fn responses<'a>(response: &mut Der<'a>) -> Option<Der<'a>> {
    let mut bytes = response.inside(EXPLICIT_0)?.inside(SEQUENCE)?;
    bytes.inside(OBJECT_IDENTIFIER)?;
    let mut data = bytes
        .inside(OCTET_STRING)?
        .inside(SEQUENCE)?
        .inside(SEQUENCE)?;
    if data.0.first() == Some(&EXPLICIT_0) {
        data.next()?; // the version
    }
    data.next()?; // who has responded
    data.inside(GENERALIZED_TIME)?;
    data.inside(SEQUENCE)
}

/// What is left of an encoding, element by element.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element's tag and content. No tag here is longer than a byte.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first > 0x7f {
            let count = usize::from(first & 0x7f);
            if count > 3 {
                return None;
            }
            let (bytes, after) = rest.split_at_checked(count)?;
            length = bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            rest = after;
        }
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The content of the next element, if it has this tag.
    fn inside(&mut self, wanted: u8) -> Option<Der<'a>> {
        let (tag, content) = self.next()?;
        (tag == wanted).then_some(Der(content))
    }

    /// The serial number in the CertID at the beginning of a SingleResponse.
    fn serial(&mut self) -> Option<&'a [u8]> {
        let mut id = self.inside(SEQUENCE)?;
        id.inside(SEQUENCE)?;
        id.inside(OCTET_STRING)?;
        id.inside(OCTET_STRING)?;
        Some(id.inside(INTEGER)?.0)
    }

    /// The `nextUpdate` of a SingleResponse, after its status.
    fn next_update(&mut self) -> Option<SystemTime> {
        self.inside(GENERALIZED_TIME)?; // thisUpdate
        let next = self.inside(EXPLICIT_0)?;
        let (_, moment) = ASN1Time::from_der(next.0).ok()?;
        Some(time(moment))
    }
}

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const ENUMERATED: u8 = 0x0a;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const EXPLICIT_0: u8 = 0xa0;
const GOOD: u8 = 0x80;
const REVOKED: u8 = 0xa1;
const SUCCESSFUL: u8 = 0;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = u8::try_from(content.len()).unwrap();
        let mut all = vec![tag];
        match length {
            0..0x80 => all.push(length),
            _ => all.extend([0x81, length]),
        }
        all.extend(content);
        all
    }

    fn response(serial: &[u8], status: u8) -> Vec<u8> {
        let algorithm = element(SEQUENCE, &[]);
        let hash = element(OCTET_STRING, &[&[1; 20]]);
        let id = element(
            SEQUENCE,
            &[&algorithm, &hash, &hash, &element(INTEGER, &[serial])],
        );
        let moment = element(GENERALIZED_TIME, &[b"20300102030405Z"]);
        let next = element(EXPLICIT_0, &[&moment]);
        let single = element(SEQUENCE, &[&id, &element(status, &[]), &moment, &next]);
        let responder = element(0xa2, &[&hash]);
        let data = element(
            SEQUENCE,
            &[&responder, &moment, &element(SEQUENCE, &[&single])],
        );
        let basic = element(SEQUENCE, &[&data]);
        let bytes = element(
            SEQUENCE,
            &[
                &element(OBJECT_IDENTIFIER, &[b"x"]),
                &element(OCTET_STRING, &[&basic]),
            ],
        );
        let explicit = element(EXPLICIT_0, &[&bytes]);
        element(SEQUENCE, &[&element(ENUMERATED, &[&[0]]), &explicit])
    }

    #[test]
    fn responses_are_about_one_certificate() {
        let until = judge(&response(&[7, 8], GOOD), &[7, 8]).unwrap().unwrap();
        let since = until.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(since.as_secs(), 1_893_553_445);
        for (serial, status, wrong) in [
            (&[7, 9], GOOD, "another certificate"),
            (&[7, 8], REVOKED, "revoked"),
            (&[7, 8], 0x82, "unknown"),
        ] {
            let why = judge(&response(serial, status), &[7, 8]).unwrap_err();
            assert!(why.contains(wrong), "{why}");
        }
        assert!(
            judge(&[0x30, 3, 0x0a, 1, 6], &[7])
                .unwrap_err()
                .contains("error")
        );
        assert!(
            judge(b"-----BEGIN", &[7])
                .unwrap_err()
                .contains("not an OCSP")
        );
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(at in 0usize..100, byte: u8, end in 0usize..200) {
            let mut bytes = response(&[7, 8], GOOD);
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(end);
            let _ = judge(&bytes, &[7, 8]);
        }
    }
}
