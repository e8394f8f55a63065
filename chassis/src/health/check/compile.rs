//! Checks, judged.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

use super::config::{
    CheckConfig, CheckedType, DnsCheckConfig, HttpCheckConfig, Start, TlsCheckConfig,
};
use crate::config::{Diagnostic, Located, Sources};
use crate::health::probe::{DnsProbe, HttpProbe, Probe, RecordType, TlsProbe, UdpProbe};
use crate::health::{Damping, Judgement, Thresholds};

/// A check, ready to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// What is asked.
    pub probe: Probe,
    /// The port to probe at the address of an endpoint; its own when none is set.
    pub port: Option<u16>,
    /// The port of what is asked, where the endpoint has none; none when there is no usual one.
    pub usual: Option<u16>,
    /// From one check to the next.
    pub interval: Duration,
    /// For an answer.
    pub timeout: Duration,
    /// How many outcomes change the verdict.
    pub thresholds: Thresholds,
    /// What an endpoint is before its first check.
    pub start: Start,
}

impl Check {
    /// What is thought of an endpoint before its first check has ended.
    pub fn judgement(&self) -> Judgement {
        match self.start {
            Start::Unknown => Judgement::default(),
            Start::Up => Judgement::presumed(true),
            Start::Down => Judgement::presumed(false),
        }
    }
}

/// All checks by name.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    /// By their names.
    pub all: BTreeMap<String, Check>,
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
    pub fn unknown<'a>(name: &Located<String>, known: impl Iterator<Item = &'a str>) -> Diagnostic {
        name.wrong(format!("there is no check `{}`", **name))
            .suggest(name, known)
    }
}

fn compile(
    name: &Located<String>,
    config: &CheckConfig,
    sources: &mut Sources,
) -> Result<Check, Diagnostic> {
    let (probe, port, usual) = asked(name, config, sources)?;
    if let Some(port) = port.filter(|port| ***port == 0) {
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
        port: port.map(|port| **port),
        usual,
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

/// What is asked, at which port, and at which one where neither this nor the endpoint says.
type Asked<'a> = (Probe, Option<&'a Located<u16>>, Option<u16>);

fn asked<'a>(
    name: &Located<String>,
    config: &'a CheckConfig,
    sources: &mut Sources,
) -> Result<Asked<'a>, Diagnostic> {
    let CheckConfig {
        http,
        tcp,
        tls,
        udp,
        dns,
        ..
    } = config;
    Ok(match (http, tcp, tls, udp, dns) {
        (Some(http), None, None, None, None) => {
            let usual = if http.tls.is_some() { 443 } else { 80 };
            (http_probe(http, sources)?, http.port.as_ref(), Some(usual))
        }
        (None, Some(tcp), None, None, None) => (Probe::Tcp, tcp.port.as_ref(), None),
        (None, None, Some(tls), None, None) => {
            let probe = tls_probe(&tls.server_name, tls.ca.as_ref(), sources)?;
            (Probe::Tls(probe), tls.port.as_ref(), Some(443))
        }
        (None, None, None, Some(udp), None) => {
            if udp.send.len() > LONGEST_DATAGRAM {
                let limit = format!("at most {LONGEST_DATAGRAM} bytes");
                return Err(udp.send.wrong(limit));
            }
            let probe = UdpProbe {
                send: udp.send.as_bytes().to_vec(),
                expect: udp.expect.as_bytes().to_vec(),
            };
            (Probe::Udp(probe), udp.port.as_ref(), None)
        }
        (None, None, None, None, Some(dns)) => (dns_probe(dns)?, dns.port.as_ref(), Some(53)),
        _ => {
            return Err(name
                .wrong(format!("what does the check `{}` ask?", **name))
                .help("write exactly one of `http`, `tcp`, `tls`, `udp` and `dns`"));
        }
    })
}

/// What fits into a datagram on every way (RFC 8085, section 3.2).
const LONGEST_DATAGRAM: usize = 1200;

fn http_probe(config: &HttpCheckConfig, sources: &mut Sources) -> Result<Probe, Diagnostic> {
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
    let tls = config.tls.as_ref();
    let tls =
        tls.map(|TlsCheckConfig { server_name, ca }| tls_probe(server_name, ca.as_ref(), sources));
    let tls = tls.transpose()?;
    Ok(Probe::Http(HttpProbe {
        path: config.path.to_string(),
        host: config.host.clone().map(Located::into_inner),
        statuses,
        tls,
    }))
}

fn tls_probe(
    name: &Located<String>,
    ca: Option<&Located<PathBuf>>,
    sources: &mut Sources,
) -> Result<TlsProbe, Diagnostic> {
    let server = ServerName::try_from(name.to_string());
    let server = server.map_err(|_| name.wrong("not a host name"))?;
    let Some(ca) = ca else {
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
