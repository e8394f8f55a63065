//! A client's certificate, as plugins see it.

use std::fmt::Write;
use std::time::SystemTime;

use chassis::tls::time;
use plugins::ClientCertificate;
use ring::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Name};
use x509_parser::x509::AttributeTypeAndValue;

/// What a certificate says about its owner; none when it cannot be read.
pub(super) fn read(der: &CertificateDer<'_>) -> Option<ClientCertificate> {
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    let mut certificate = ClientCertificate {
        subject: distinguished(parsed.subject()),
        issuer: distinguished(parsed.issuer()),
        serial: hexadecimal(parsed.raw_serial()),
        dns: Vec::new(),
        uris: Vec::new(),
        emails: Vec::new(),
        fingerprint: hexadecimal(digest(&SHA256, der).as_ref()),
        not_after: time(parsed.validity().not_after),
        der: der.as_ref().into(),
    };
    let names = parsed.subject_alternative_name().ok()?;
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        match name {
            GeneralName::DNSName(name) => certificate.dns.push(name.to_ascii_lowercase()),
            GeneralName::URI(uri) => certificate.uris.push((*uri).to_owned()),
            GeneralName::RFC822Name(email) => certificate.emails.push((*email).to_owned()),
            _ => {}
        }
    }
    Some(certificate)
}

/// Until when the certificate is valid that stands somewhere in these bytes, the first if there
/// are several.
///
/// rustls puts a session into a ticket as it is, the client's certificate in DER with it, but does
/// not tell where. A test with a real client holds it to that.
pub(super) fn not_after_within(session: &[u8]) -> Option<SystemTime> {
    let starts = memchr::memchr_iter(SEQUENCE, session);
    let mut parsed = starts.filter_map(|at| X509Certificate::from_der(&session[at..]).ok());
    parsed
        .next()
        .map(|(_, certificate)| time(certificate.validity().not_after))
}

/// What a certificate begins with.
const SEQUENCE: u8 = 0x30;

/// A name as a string (RFC 4514): the last part first, what separates parts escaped, so that no
/// value can look like another part.
fn distinguished(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let parts: Vec<_> = name.iter().collect();
    for (at, part) in parts.iter().rev().enumerate() {
        if at > 0 {
            text.push(',');
        }
        for (at, attribute) in part.iter().enumerate() {
            if at > 0 {
                text.push('+');
            }
            append(&mut text, attribute);
        }
    }
    text
}

fn append(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    match oid2abbrev(attribute.attr_type(), oid_registry()) {
        Ok(short) => text.push_str(short),
        Err(_) => text.push_str(&attribute.attr_type().to_id_string()),
    }
    text.push('=');
    match attribute.as_str() {
        Ok(value) => escape(text, value),
        Err(_) => {
            text.push('#');
            text.push_str(&hexadecimal(attribute.as_slice()));
        }
    }
}

fn escape(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (at, character) in value.chars().enumerate() {
        let escaped = match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=' => true,
            ' ' => at == 0 || at == last,
            '#' => at == 0,
            _ => false,
        };
        if escaped {
            text.push('\\');
        }
        match character.is_ascii_control() {
            true => {
                let _ = write!(text, "\\{:02X}", u32::from(character));
            }
            false => text.push(character),
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType, SerialNumber, string::Ia5String};

    use super::*;

    #[test]
    fn a_name_cannot_pretend_to_have_more_parts() {
        let mut params = CertificateParams::new(["A.test".to_owned()]).unwrap();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Ex, Inc");
        params
            .distinguished_name
            .push(DnType::CommonName, " a\n,O=b+c\\ ");
        params.serial_number = Some(SerialNumber::from(vec![0x0a, 0xff]));
        let text = |text: &str| Ia5String::try_from(text).unwrap();
        params.subject_alt_names.extend([
            SanType::URI(text("spiffe://x/y")),
            SanType::Rfc822Name(text("a@b.test")),
        ]);
        let signed = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let read = read(signed.der()).unwrap();
        assert_eq!(read.subject, r"O=Ex\, Inc,CN=\ a\0A\,O\=b\+c\\\ ");
        assert_eq!(read.subject, read.issuer);
        assert_eq!(read.serial, "0aff");
        assert_eq!(read.dns, ["a.test"]);
        assert_eq!(read.uris, ["spiffe://x/y"]);
        assert_eq!(read.emails, ["a@b.test"]);
        assert_eq!(read.fingerprint.len(), 64);
        assert_eq!(&*read.der, signed.der().as_ref());

        let session = [b"0\x82\x01", signed.der().as_ref(), b"0more"].concat();
        assert_eq!(not_after_within(&session), Some(read.not_after));
        assert_eq!(not_after_within(&session[..session.len() - 6]), None);
    }
}
