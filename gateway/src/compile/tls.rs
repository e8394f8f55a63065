//! How a listener speaks TLS, as it is compiled.

use std::path::PathBuf;
use std::sync::Arc;

use chassis::config::{Diagnostic, Located};
use chassis::tls::{Certificate, Digest, Reader, TlsVersion, Twice, Written};
use rustc_hash::FxHashMap;
use rustls::SupportedProtocolVersion;
use rustls::crypto::{CryptoProvider, ring};
use rustls::version::{TLS12, TLS13};

use super::{Compiler, Findings};
use crate::acme::{Acme, Authority};
use crate::config::{Challenge, TlsConfig};
use crate::tls::{
    Challenges, Dates, GROUPS, Handshakes, Parts, Resolver, Source, Terminator, group, suite,
    suite_names,
};

/// Certificates by what is in their files.
type Known = FxHashMap<Digest, Arc<Certificate>>;

impl Compiler<'_> {
    pub(super) fn terminator(
        &self,
        listener: &str,
        tls: &Located<TlsConfig>,
        acme: &mut Acme,
        findings: &mut Findings,
    ) -> Option<Terminator> {
        let provider = findings.keep(provider(tls));
        let versions = findings.keep(versions(tls));
        let standard = Arc::new(ring::default_provider());
        let certificates = self.certificates(tls, acme, &standard, findings);
        let clients = self.clients(tls.client_certificates.as_ref(), &standard, findings);
        let (provider, versions) = (Arc::new(provider?), versions?);
        let (clients, (resolver, certificates)) = (clients?, certificates?);
        let tickets = self.tickets(listener, &tls.tickets, clients.auth.as_ref(), findings)?;
        let before = self.previous.and_then(|state| state.listener(listener));
        let before = before.and_then(|listener| listener.tls.as_ref());
        let parts = Parts {
            provider,
            versions,
            own_order: !tls.suites.is_empty(),
            resolver,
            unknown_names: tls.unknown_names,
            client_auth: clients.auth,
            tickets,
            alpn: match tls.h2 {
                true => &[b"h2", b"http/1.1"],
                false => &[b"http/1.1"],
            },
            challenges: challenges(&certificates),
            handshakes: match before {
                Some(before) => before.handshakes.clone(),
                None => Arc::new(Handshakes::new(listener.into())),
            },
            dates: Dates {
                certificates,
                lists: clients.lists,
                warn_before: *tls.warn_before,
            },
        };
        let terminator = Terminator::new(parts);
        findings.keep(terminator.map_err(|error| tls.wrong(format!("this cannot be: {error}"))))
    }

    fn certificates(
        &self,
        tls: &Located<TlsConfig>,
        acme: &mut Acme,
        provider: &CryptoProvider,
        findings: &mut Findings,
    ) -> Option<(Resolver, Vec<(PathBuf, Source)>)> {
        let written = findings.keep(written(tls))?;
        let known = self.known();
        let mut files = Vec::new();
        let mut places = Vec::new();
        for (at, one) in written.iter().enumerate() {
            let mut reader = self.reader(findings);
            let known = |digest: &Digest| known.get(digest).cloned();
            let certificate = reader.certificate(*one, provider, known);
            let Some(certificate) = findings.keep(certificate) else {
                continue;
            };
            if at > 0 && certificate.names.is_empty() {
                let nameless = one.certificate.wrong("nobody would get this certificate");
                let why = "it has no DNS name, and only the first is the default";
                findings.mistakes.push(nameless.help(why));
            }
            files.push((self.path(one.certificate), Source::File(certificate)));
            places.push(one.certificate.place());
        }
        for one in &tls.acme.0 {
            if let Some(issuer) = self.issuer(one, acme, findings) {
                files.push((issuer.path(), Source::Issued(issuer)));
                places.push(one.names.place());
            }
        }
        if files.len() < written.len() + tls.acme.0.len() {
            return None;
        }
        let sources = files.iter().map(|(_, source)| source.clone()).collect();
        let resolver = Resolver::new(sources).map_err(
            |Twice {
                 name,
                 first,
                 second,
             }| {
                let what = format!("two certificates are made out to `{name}`");
                self.with_first(Diagnostic::new(places[second], what), places[first])
            },
        );
        Some((findings.keep(resolver)?, files))
    }

    /// The certificates that are served now: those that did not change need not be read again.
    fn known(&self) -> Known {
        let listeners = self.previous.iter().flat_map(|state| &state.listeners);
        let all = listeners.filter_map(|listener| listener.tls.as_ref());
        let sources = all.flat_map(|tls| &tls.dates.certificates);
        let certificates = sources.filter_map(|(_, source)| match source {
            Source::File(certificate) => Some((certificate.digest, certificate.clone())),
            Source::Issued(_) => None,
        });
        certificates.collect()
    }

    pub(super) fn path(&self, file: &Located<PathBuf>) -> PathBuf {
        self.sources.resolve(file, file.place())
    }

    /// Reads files, and has them watched.
    pub(super) fn reader<'a>(&'a self, findings: &'a mut Findings) -> Reader<'a> {
        Reader::new(self.sources, &mut findings.files)
    }
}

/// Every certificate, the default one first.
fn written(tls: &Located<TlsConfig>) -> Result<Vec<Written<'_>>, Diagnostic> {
    let mut all = Vec::new();
    match (&tls.certificate, &tls.key, &tls.ocsp) {
        (Some(certificate), Some(key), ocsp) => all.push(Written {
            certificate,
            key,
            ocsp: ocsp.as_ref(),
        }),
        (Some(alone), None, _) => return Err(alone.wrong("a certificate needs its `key`")),
        (None, Some(alone), _) => return Err(alone.wrong("a key needs its `certificate`")),
        (None, None, Some(alone)) => {
            return Err(alone.wrong("an OCSP response needs its `certificate`"));
        }
        (None, None, None) => {}
    }
    all.extend(tls.certificates.iter().map(Written::from));
    match all.is_empty() && tls.acme.0.is_empty() {
        true => Err(tls
            .wrong("TLS needs a certificate")
            .help("tls = { certificate = \"cert.pem\", key = \"key.pem\" }")),
        false => Ok(all),
    }
}

/// The authorities that ask at the listener with these certificates.
fn challenges(certificates: &[(PathBuf, Source)]) -> Challenges {
    let mut authorities: Vec<Arc<Authority>> = Vec::new();
    for (_, source) in certificates {
        if let Source::Issued(issuer) = source
            && issuer.authority.challenge() == Challenge::TlsAlpn01
            && !authorities
                .iter()
                .any(|one| Arc::ptr_eq(one, &issuer.authority))
        {
            authorities.push(issuer.authority.clone());
        }
    }
    Challenges(authorities)
}

/// Suites and groups that may be used, in order.
fn provider(tls: &TlsConfig) -> Result<CryptoProvider, Diagnostic> {
    let mut provider = ring::default_provider();
    let chosen = tls.suites.iter().map(|name| {
        let unknown = || {
            let what = format!("there is no cipher suite `{}`", **name);
            name.wrong(what).suggest(name, suite_names())
        };
        suite(name).ok_or_else(unknown)
    });
    let chosen: Vec<_> = chosen.collect::<Result<_, _>>()?;
    if !chosen.is_empty() {
        provider.cipher_suites = chosen;
        for version in &**tls.versions {
            let wanted = rustls_version(*version);
            let mut suites = provider.cipher_suites.iter();
            if !suites.any(|suite| suite.version() == wanted) {
                let name = version_name(*version);
                let wrong = tls.suites.wrong(format!("there is no suite of TLS {name}"));
                return Err(wrong.help("add one, or leave the version out of `versions`"));
            }
        }
    }
    let groups = tls.groups.iter().map(|name| {
        let unknown = || {
            let what = format!("there is no key exchange group `{}`", **name);
            name.wrong(what).suggest(name, GROUPS)
        };
        group(name).ok_or_else(unknown)
    });
    let groups: Vec<_> = groups.collect::<Result<_, _>>()?;
    if !groups.is_empty() {
        provider.kx_groups = groups;
    }
    Ok(provider)
}

fn versions(tls: &TlsConfig) -> Result<Vec<&'static SupportedProtocolVersion>, Diagnostic> {
    match tls.versions.is_empty() {
        true => Err(tls.versions.wrong("at least one version is needed")),
        false => Ok(tls
            .versions
            .iter()
            .map(|one| rustls_version(*one))
            .collect()),
    }
}

fn rustls_version(version: TlsVersion) -> &'static SupportedProtocolVersion {
    match version {
        TlsVersion::V12 => &TLS12,
        TlsVersion::V13 => &TLS13,
    }
}

fn version_name(version: TlsVersion) -> &'static str {
    match version {
        TlsVersion::V12 => "1.2",
        TlsVersion::V13 => "1.3",
    }
}
