//! `client_certificate`: takes a client's TLS certificate as its identity, and tells the upstream.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chassis::config::{Diagnostic, Located};
use chassis::problem::Problem;
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::exchange::Identity;
use crate::plugin::{Flow, Plugin, Reply, Request};
use crate::registry::{Registration, Setting};
use crate::tls::ClientCertificate;

pub(crate) const REGISTRATION: Registration =
    Registration::new::<Config>("client_certificate", build);

/// Takes the certificate that a client has shown in the TLS handshake as its identity. The
/// listener says which certificates are accepted (`client_certificates`).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Lets requests of clients without a certificate through; otherwise they get 403.
    #[serde(default)]
    optional: bool,
    /// What becomes the subject in the access log and for other plugins. A certificate without it
    /// is as good as none.
    #[serde(default)]
    identity: Field,
    /// What to tell the upstream, as `field = "header"`. The client's own headers of these names
    /// are removed. Fields: `subject`, `issuer`, `serial`, `fingerprint` (SHA-256), `dns`, `uri`,
    /// `email` (several are joined by commas, those in them are `%2C`), `not_after` (RFC 3339), and `certificate`, the
    /// whole certificate as RFC 9440 has it, for the header `client-cert`.
    #[serde(default)]
    forward: BTreeMap<Located<String>, Located<String>>,
}

/// A part of a certificate.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Field {
    /// The subject's distinguished name.
    #[default]
    Subject,
    /// The issuer's distinguished name.
    Issuer,
    /// The serial number in hexadecimal.
    Serial,
    /// SHA-256 of the certificate in hexadecimal.
    Fingerprint,
    /// Alternative names: DNS names.
    Dns,
    /// Alternative names: URIs.
    Uri,
    /// Alternative names: e-mail addresses.
    Email,
    /// Until when it is valid.
    NotAfter,
    /// The whole certificate (RFC 9440).
    Certificate,
}

struct FromCertificate {
    optional: bool,
    identity: Field,
    forward: Vec<(Field, HeaderName)>,
}

fn build(setting: &Setting<'_>) -> Result<Arc<dyn Plugin>, Diagnostic> {
    let config: Config = setting.config()?;
    let forward = config.forward.iter().map(|(field, name)| {
        let header = HeaderName::try_from(&***name);
        let header = header.map_err(|_| name.wrong("not a name of a header"))?;
        Ok((Field::named(field)?, header))
    });
    Ok(Arc::new(FromCertificate {
        optional: config.optional,
        identity: config.identity,
        forward: forward.collect::<Result<_, Diagnostic>>()?,
    }))
}

impl Plugin for FromCertificate {
    fn request(&self, request: &mut Request<'_>) -> Flow {
        for (_, name) in &self.forward {
            request.head.remove_header(name); // a client must not speak for us
        }
        let certificate = request.exchange.client.certificate();
        let subject = certificate.map(|certificate| self.identity.of(certificate));
        let (Some(certificate), Some(subject)) = (certificate, subject.filter(|it| !it.is_empty()))
        else {
            return match self.optional {
                true => Flow::Continue,
                false => {
                    let title = "A client certificate is needed";
                    Reply::problem(Problem::new(403, "certificate-required", title)).into()
                }
            };
        };
        for (field, name) in &self.forward {
            // What a header cannot hold is left out: better nothing than something else.
            if let Ok(value) = HeaderValue::from_bytes(field.of(certificate).as_bytes()) {
                request.head.set_header(name, value);
            }
        }
        let identity = Identity {
            subject,
            ..Identity::default()
        };
        request.exchange.identity = Some(Arc::new(identity));
        Flow::Continue
    }
}

impl Field {
    const ALL: [(&str, Self); 9] = [
        ("subject", Self::Subject),
        ("issuer", Self::Issuer),
        ("serial", Self::Serial),
        ("fingerprint", Self::Fingerprint),
        ("dns", Self::Dns),
        ("uri", Self::Uri),
        ("email", Self::Email),
        ("not_after", Self::NotAfter),
        ("certificate", Self::Certificate),
    ];

    fn named(name: &Located<String>) -> Result<Self, Diagnostic> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name.as_str());
        found.map(|(_, field)| *field).ok_or_else(|| {
            let wrong = name.wrong(format!("a certificate has no field `{}`", **name));
            wrong.suggest(name, Self::ALL.map(|(known, _)| known))
        })
    }

    fn of(self, certificate: &ClientCertificate) -> String {
        match self {
            Self::Subject => certificate.subject.clone(),
            Self::Issuer => certificate.issuer.clone(),
            Self::Serial => certificate.serial.clone(),
            Self::Fingerprint => certificate.fingerprint.clone(),
            Self::Dns => joined(&certificate.dns),
            Self::Uri => joined(&certificate.uris),
            Self::Email => joined(&certificate.emails),
            Self::NotAfter => Timestamp::try_from(certificate.not_after)
                .unwrap_or_default()
                .to_string(),
            // RFC 8941, section 3.3.5: a byte sequence.
            Self::Certificate => format!(":{}:", STANDARD.encode(&certificate.der)),
        }
    }
}

/// No name may look like two.
fn joined(names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|name| name.replace(',', "%2C")).collect();
    names.join(",")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::testing::{Bench, mistake};
    use crate::tls::TlsSession;

    fn session(certificate: Option<ClientCertificate>) -> TlsSession {
        TlsSession {
            version: "1.3",
            cipher: "TLS_AES_128_GCM_SHA256",
            server_name: None,
            resumed: false,
            certificate,
        }
    }

    fn robot() -> ClientCertificate {
        ClientCertificate {
            subject: "CN=robot 7".into(),
            issuer: "CN=robots".into(),
            serial: "0a".into(),
            dns: vec!["a.test".into(), "b.test".into()],
            uris: vec!["spiffe://example.org/robot".into()],
            emails: Vec::new(),
            fingerprint: "ff".repeat(32),
            not_after: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            der: [1, 2, 3].into(),
        }
    }

    #[test]
    fn the_upstream_learns_the_certificate_and_not_what_the_client_says() {
        let table = "forward = { subject = \"x-subject\", dns = \"x-dns\", not_after = \"x-until\", certificate = \"client-cert\" }\nidentity = \"uri\"";
        let mut bench = Bench::new("client_certificate", table);
        bench.over_tls(session(Some(robot())));
        let sent = bench.get("/", &[("x-subject", "CN=root"), ("client-cert", "x")]);
        assert_eq!(sent.header("x-subject"), Some("CN=robot 7"));
        assert_eq!(sent.header("x-dns"), Some("a.test,b.test"));
        assert_eq!(sent.header("x-until"), Some("2023-11-14T22:13:20Z"));
        assert_eq!(sent.header("client-cert"), Some(":AQID:"));
        let identity = bench.exchange.identity.as_ref().unwrap();
        assert_eq!(identity.subject, "spiffe://example.org/robot");
    }

    #[test]
    fn without_a_certificate_nothing_is_forwarded() {
        let forward = "forward = { subject = \"x-subject\" }";
        let mut bench = Bench::new("client_certificate", forward);
        bench.over_tls(session(None));
        assert_eq!(bench.send("GET", "/", &[]).unwrap_err().status, 403);
        let mut bench = Bench::new("client_certificate", &format!("{forward}\noptional = true"));
        let sent = bench.get("/", &[("x-subject", "CN=root")]);
        assert_eq!(sent.header("x-subject"), None);
        assert!(bench.exchange.identity.is_none());
    }

    #[test]
    fn what_a_certificate_lacks_is_no_identity() {
        let mut bench = Bench::new("client_certificate", "identity = \"email\"");
        bench.over_tls(session(Some(robot())));
        assert_eq!(bench.send("GET", "/", &[]).unwrap_err().status, 403);
        assert_eq!(joined(&["a,b".into(), "c".into()]), "a%2Cb,c");
    }

    #[test]
    fn names_of_headers_and_fields_are_judged() {
        let table = "forward = { subject = \"a b\" }";
        assert_eq!(
            mistake("client_certificate", table),
            "not a name of a header"
        );
        let table = "forward = { name = \"x\" }";
        assert_eq!(
            mistake("client_certificate", table),
            "a certificate has no field `name`"
        );
    }
}
