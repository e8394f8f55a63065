//! How a listener speaks TLS, as it is compiled.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use chassis::config::{Diagnostic, Located, Place, Sources};
use chassis::tls::{
    Certificate, Handshakes, Reader, Resolver, Tickets, TlsVersion, Twice, Written,
};
use rustls::SupportedProtocolVersion;
use rustls::crypto::ring;
use rustls::version::{TLS12, TLS13};

use super::{Memory, Parts, Terminator};
use crate::config::TlsConfig;

/// What certificates are read with.
pub(crate) struct Reading<'a> {
    sources: &'a Sources,
    /// What serves now.
    memory: &'a Memory,
    /// Every file that was asked for.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) mistakes: Vec<Diagnostic>,
    pub(crate) warnings: Vec<Diagnostic>,
}

/// The certificates of a listener, and which of them a client gets.
type Certificates = (Vec<Arc<Certificate>>, Resolver<Arc<Certificate>>);

/// How a listener speaks TLS; none when there is a mistake.
pub(crate) fn terminator(
    listener: &str,
    tls: &Located<TlsConfig>,
    alpn: &'static [&'static [u8]],
    reading: &mut Reading<'_>,
) -> Option<Terminator> {
    let before = reading.memory.of(listener);
    let versions = reading.keep(versions(tls));
    let certificates = reading.certificates(tls, before.as_deref());
    let tickets = reading.tickets(listener, tls, before.as_deref())?;
    let (certificates, resolver) = certificates?;
    let parts = Parts {
        provider: Arc::new(ring::default_provider()),
        versions: versions?,
        certificates,
        resolver,
        tickets,
        alpn,
        patience: **tls.handshake,
        handshakes: match before {
            Some(before) => before.handshakes.clone(),
            None => Arc::new(Handshakes::new(listener.into())),
        },
    };
    let terminator = Terminator::new(parts);
    reading.keep(terminator.map_err(|error| tls.wrong(format!("this cannot be: {error}"))))
}

impl<'a> Reading<'a> {
    /// With the files that these sources name; `memory` has the listeners that serve now.
    pub(crate) fn new(sources: &'a Sources, memory: &'a Memory) -> Self {
        Self {
            sources,
            memory,
            files: Vec::new(),
            mistakes: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn keep<T>(&mut self, outcome: Result<T, Diagnostic>) -> Option<T> {
        outcome.map_err(|mistake| self.mistakes.push(mistake)).ok()
    }

    fn certificates(
        &mut self,
        tls: &TlsConfig,
        before: Option<&Terminator>,
    ) -> Option<Certificates> {
        let provider = ring::default_provider();
        let default = Written {
            certificate: &tls.certificate,
            key: &tls.key,
            ocsp: None,
        };
        let others = tls.certificates.iter().map(Written::from);
        let mut certificates = Vec::new();
        let mut places = Vec::new();
        for (at, written) in std::iter::once(default).chain(others).enumerate() {
            let known = |digest: &_| {
                let mut known = before?.certificates.iter();
                known.find(|one| one.digest == *digest).cloned()
            };
            let mut reader = Reader::new(self.sources, &mut self.files);
            let certificate = reader.certificate(written, &provider, known);
            let Some(certificate) = self.keep(certificate) else {
                continue;
            };
            if at > 0 && certificate.names.is_empty() {
                let nameless = written
                    .certificate
                    .wrong("nobody would get this certificate");
                let why = "it has no DNS name, and only the first is the default";
                self.mistakes.push(nameless.help(why));
            }
            let place = written.certificate.place();
            self.warnings.extend(old(&certificate, place));
            certificates.push(certificate);
            places.push(place);
        }
        if certificates.len() <= tls.certificates.len() {
            return None;
        }
        let resolver = Resolver::new(certificates.clone());
        let resolver = resolver.map_err(|Twice { name, second, .. }| {
            let what = format!("two certificates are made out to `{name}`");
            Diagnostic::new(places[second], what)
        });
        Some((certificates, self.keep(resolver)?))
    }

    /// None when there is a mistake; none inside when there are to be none.
    fn tickets(
        &mut self,
        listener: &str,
        tls: &TlsConfig,
        before: Option<&Terminator>,
    ) -> Option<Option<Arc<Tickets>>> {
        let scope = format!("dns {listener}").into_bytes();
        let mut reader = Reader::new(self.sources, &mut self.files);
        let settings = match reader.ticket_settings(&tls.tickets, scope) {
            Ok(Some(settings)) => settings,
            Ok(None) => return Some(None),
            Err(mistakes) => {
                self.mistakes.extend(mistakes);
                return None;
            }
        };
        let same = before.and_then(|before| before.tickets.clone());
        if let Some(same) = same.filter(|tickets| tickets.are(&settings)) {
            return Some(Some(same));
        }
        let tickets = Tickets::new(settings);
        let place = &tls.tickets.rotate;
        self.keep(tickets.map_err(|_| place.wrong("the system has no randomness")))
            .map(|tickets| Some(Arc::new(tickets)))
    }
}

/// Days before the end of a certificate from which on somebody has to look.
const LAST_DAYS: u64 = 14;

/// A warning of a certificate that is not valid, or soon will not be.
fn old(certificate: &Certificate, place: Place) -> Option<Diagnostic> {
    const DAY: u64 = 24 * 60 * 60;
    let now = SystemTime::now();
    let title = &certificate.title;
    let what = match certificate.not_after.duration_since(now) {
        _ if now < certificate.not_before => {
            format!("the certificate of `{title}` is not valid yet")
        }
        Err(_) => format!("the certificate of `{title}` has expired"),
        // Those that live for less are renewed in the last third of their lives.
        Ok(left) if left.as_secs() < LAST_DAYS * DAY && left < certificate.lifetime() / 3 => {
            let hours = left.as_secs() / 3600;
            format!("the certificate of `{title}` expires in {hours} hours")
        }
        Ok(_) => return None,
    };
    Some(Diagnostic::new(place, what))
}

fn versions(tls: &TlsConfig) -> Result<Vec<&'static SupportedProtocolVersion>, Diagnostic> {
    let versions: Vec<_> = tls
        .versions
        .iter()
        .map(|version| match version {
            TlsVersion::V12 => &TLS12,
            TlsVersion::V13 => &TLS13,
        })
        .collect();
    match versions.is_empty() {
        true => Err(tls.versions.wrong("at least one version is needed")),
        false => Ok(versions),
    }
}
