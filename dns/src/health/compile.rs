//! Checks, judged.

use std::collections::BTreeMap;
use std::time::Duration;

use chassis::config::{Diagnostic, Located, Sources};
use chassis::health::probe::{DnsProbe, HttpProbe, Probe, RecordType, TlsProbe, UdpProbe};
use chassis::health::{Damping, Thresholds};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

use super::config::{
    CheckConfig, CheckedType, DnsCheckConfig, HttpCheckConfig, Start, TlsCheckConfig,
};

/// A check, ready to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    pub(super) probe: Probe,
    /// The port to probe at the address of an endpoint.
    pub(super) port: u16,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) thresholds: Thresholds,
    pub(super) start: Start,
}

/// All checks by name.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    pub(super) all: BTreeMap<String, Check>,
}

impl Checks {
    /// Judges the checks. The files that they name become sources too.
    ///
    /// # Errors
    /// Every mistake, with its place.
    pub fn compile(
        configs: &BTreeMap<Located<String>, CheckConfig>,
        sources: &mut Sources,
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut checks = Self::default();
        let mut mistakes = Vec::new();
        for (name, config) in configs {
            match compile(name, config, sources) {
                Ok(check) => {
                    checks.all.insert(name.to_string(), check);
                }
                Err(mistake) => mistakes.push(mistake),
            }
        }
        match mistakes.is_empty() {
            true => Ok(checks),
            false => Err(mistakes),
        }
    }

    /// A check that a configuration names.
    ///
    /// # Errors
    /// When there is no such check.
    pub fn named(&self, name: &Located<String>) -> Result<&Check, Diagnostic> {
        let unknown = || Self::unknown(name, self.all.keys().map(String::as_str));
        self.all.get(&**name).ok_or_else(unknown)
    }

    /// That there is no such check, and which one may be meant.
    pub(crate) fn unknown<'a>(
        name: &Located<String>,
        known: impl Iterator<Item = &'a str>,
    ) -> Diagnostic {
        name.wrong(format!("there is no check `{}`", **name))
            .suggest(name, known)
    }
}

fn compile(
    name: &Located<String>,
    config: &CheckConfig,
    sources: &mut Sources,
) -> Result<Check, Diagnostic> {
    let (probe, port) = match (&config.http, &config.tcp, &config.udp, &config.dns) {
        (Some(http), None, None, None) => http_probe(http, sources)?,
        (None, Some(tcp), None, None) => (Probe::Tcp, tcp.port),
        (None, None, Some(udp), None) => {
            if udp.send.len() > LONGEST_DATAGRAM {
                let limit = format!("at most {LONGEST_DATAGRAM} bytes");
                return Err(udp.send.wrong(limit));
            }
            let probe = UdpProbe {
                send: udp.send.as_bytes().to_vec(),
                expect: udp.expect.as_bytes().to_vec(),
            };
            (Probe::Udp(probe), udp.port)
        }
        (None, None, None, Some(dns)) => (dns_probe(dns)?, dns.port),
        _ => {
            return Err(name
                .wrong(format!("what does the check `{}` ask?", **name))
                .help("write exactly one of `http`, `tcp`, `udp` and `dns`"));
        }
    };
    if *port == 0 {
        return Err(port.wrong("a port is from 1 to 65535"));
    }
    if config.interval.as_millis() < 10 {
        return Err(config.interval.wrong("must be at least 10ms"));
    }
    if config.timeout.is_zero() {
        return Err(config.timeout.wrong("must be more than nothing"));
    }
    if config.damping && config.calm.is_zero() {
        let wrong = config.calm.wrong("must be more than nothing");
        return Err(wrong.help("`damping = false` forgets falls at once"));
    }
    for threshold in [&config.rise, &config.fall] {
        if !(1..=1000).contains(&**threshold) {
            return Err(threshold.wrong("must be from 1 to 1000"));
        }
    }
    Ok(Check {
        probe,
        port: *port,
        interval: **config.interval,
        timeout: **config.timeout,
        thresholds: Thresholds {
            rise: *config.rise,
            fall: *config.fall,
            damping: config.damping.then_some(Damping {
                calm: **config.calm,
            }),
        },
        start: config.start,
    })
}

/// What fits into a datagram on every way (RFC 8085, section 3.2).
const LONGEST_DATAGRAM: usize = 1200;

fn http_probe(
    config: &HttpCheckConfig,
    sources: &mut Sources,
) -> Result<(Probe, Located<u16>), Diagnostic> {
    let odd = |text: &str| text.contains(|c: char| c.is_whitespace() || c.is_control());
    if !config.path.starts_with('/') || odd(&config.path) {
        return Err(config
            .path
            .wrong("a path begins with `/` and has no spaces"));
    }
    if let Some(host) = &config.host
        && (host.is_empty() || odd(host) || !host.is_ascii())
    {
        return Err(host.wrong("not a host name"));
    }
    let bad = config
        .status
        .iter()
        .find(|status| !(200..=599).contains(&***status));
    if let Some(bad) = bad {
        return Err(bad.wrong("a status is from 200 to 599"));
    }
    let statuses = match config.status.as_slice() {
        [] => vec![200..=399],
        listed => listed.iter().map(|status| **status..=**status).collect(),
    };
    let tls = config.tls.as_ref().map(|tls| tls_probe(tls, sources));
    let tls = tls.transpose()?;
    let usual = if tls.is_some() { 443 } else { 80 };
    let probe = HttpProbe {
        path: config.path.to_string(),
        host: config.host.clone().map(Located::into_inner),
        statuses,
        tls,
    };
    let port = config.port.unwrap_or_else(|| Located::nowhere(usual));
    Ok((Probe::Http(probe), port))
}

fn tls_probe(config: &TlsCheckConfig, sources: &mut Sources) -> Result<TlsProbe, Diagnostic> {
    let name = &config.server_name;
    let server = ServerName::try_from(name.to_string());
    let server = server.map_err(|_| name.wrong("not a host name"))?;
    let Some(ca) = &config.ca else {
        return Ok(TlsProbe::new(server, None));
    };
    let path = sources.resolve(ca, ca.place());
    // Also a file that is missing is one to watch: it may come back.
    sources.add(path.clone(), "");
    let read =
        CertificateDer::pem_file_iter(&path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let wrong = |why: String| ca.wrong(format!("cannot read {}: {why}", path.display()));
    let authorities = read.map_err(|error| wrong(error.to_string()))?;
    if authorities.is_empty() {
        return Err(wrong("no certificate in it".into()));
    }
    Ok(TlsProbe::new(server, Some(authorities)))
}

fn dns_probe(config: &DnsCheckConfig) -> Result<Probe, Diagnostic> {
    let kind = match config.kind {
        CheckedType::A => RecordType::A,
        CheckedType::Aaaa => RecordType::Aaaa,
        CheckedType::Mx => RecordType::Mx,
        CheckedType::Ns => RecordType::Ns,
        CheckedType::Soa => RecordType::Soa,
        CheckedType::Txt => RecordType::Txt,
    };
    let probe = DnsProbe::new(&config.name, kind, config.answers);
    Ok(Probe::Dns(
        probe.map_err(|error| config.name.wrong(error.to_string()))?,
    ))
}
