//! How TLS is to be spoken, compiled.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::SupportedProtocolVersion;
use rustls::crypto::ring;
use rustls::version::{TLS12, TLS13};

use super::terminator::Parts;
use super::{
    Certificate, CertificateConfig, Handshakes, Reader, Resolver, Terminator, Tickets,
    TicketsConfig, TlsVersion, Twice, Written,
};
use crate::config::{Diagnostic, Located, Place, Sources};

/// How TLS is to be spoken by one listener, or for one set of names, as it is written.
#[derive(Debug)]
pub struct Terms<'a> {
    /// What it is known by over reloads. Tickets are good within it alone.
    pub scope: &'a str,
    /// Where it is written.
    pub place: Place,
    /// The file of the default certificate and its chain, in PEM.
    pub certificate: &'a Located<PathBuf>,
    /// The file of its private key, in PEM.
    pub key: &'a Located<PathBuf>,
    /// More certificates.
    pub certificates: &'a [CertificateConfig],
    /// The versions that are spoken.
    pub versions: &'a Located<Vec<TlsVersion>>,
    /// How sessions go on.
    pub tickets: &'a TicketsConfig,
    /// Application protocols, in the order in which they are chosen (RFC 7301).
    pub alpn: Vec<Vec<u8>>,
    /// Where handshakes are counted.
    pub handshakes: Arc<Handshakes>,
}

/// What certificates are read with.
#[derive(Debug)]
pub struct Reading<'a> {
    sources: &'a Sources,
    /// Every file that was asked for.
    pub files: Vec<PathBuf>,
    /// What makes it impossible.
    pub mistakes: Vec<Diagnostic>,
    /// What is sound, but probably not meant.
    pub warnings: Vec<Diagnostic>,
}

/// Certificates, and which of them a client gets.
type Certificates = (Vec<Arc<Certificate>>, Resolver<Arc<Certificate>>);

impl<'a> Reading<'a> {
    /// With the files that these sources name.
    pub fn new(sources: &'a Sources) -> Self {
        Self {
            sources,
            files: Vec::new(),
            mistakes: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// How TLS is spoken on these terms; none when there is a mistake. What is the same as `before` goes on.
    pub fn terminator(
        &mut self,
        terms: &Terms<'_>,
        before: Option<&Terminator>,
    ) -> Option<Terminator> {
        let versions = self.keep(versions(terms.versions));
        let certificates = self.certificates(terms, before);
        let tickets = self.tickets(terms, before)?;
        let (certificates, resolver) = certificates?;
        let terminator = Terminator::new(Parts {
            scope: terms.scope.into(),
            provider: Arc::new(ring::default_provider()),
            versions: versions?,
            certificates,
            resolver,
            tickets,
            alpn: terms.alpn.clone(),
            handshakes: terms.handshakes.clone(),
        });
        let wrong = |error| Diagnostic::new(terms.place, format!("this cannot be: {error}"));
        self.keep(terminator.map_err(wrong))
    }

    fn keep<T>(&mut self, outcome: Result<T, Diagnostic>) -> Option<T> {
        outcome.map_err(|mistake| self.mistakes.push(mistake)).ok()
    }

    fn certificates(
        &mut self,
        tls: &Terms<'_>,
        before: Option<&Terminator>,
    ) -> Option<Certificates> {
        let provider = ring::default_provider();
        let default = Written {
            certificate: tls.certificate,
            key: tls.key,
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
        tls: &Terms<'_>,
        before: Option<&Terminator>,
    ) -> Option<Option<Arc<Tickets>>> {
        let scope = tls.scope.as_bytes().to_vec();
        let mut reader = Reader::new(self.sources, &mut self.files);
        let settings = match reader.ticket_settings(tls.tickets, scope) {
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

fn versions(
    wanted: &Located<Vec<TlsVersion>>,
) -> Result<Vec<&'static SupportedProtocolVersion>, Diagnostic> {
    let versions = wanted.iter().map(|version| match version {
        TlsVersion::V12 => &TLS12,
        TlsVersion::V13 => &TLS13,
    });
    match wanted.is_empty() {
        true => Err(wanted.wrong("at least one version is needed")),
        false => Ok(versions.collect()),
    }
}
