//! The files of TLS: read when a configuration is compiled, and watched from then on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;

use super::certificate::{Certificate, Digest, Files, Unusable};
use super::config::{CertificateConfig, TicketsConfig};
use super::tickets::{SHORTEST_SECRET, TicketSettings};
use crate::config::{Diagnostic, Located, Sources};

/// Reads the files of a configuration.
#[derive(Debug)]
pub struct Reader<'a> {
    sources: &'a Sources,
    /// Every file that was asked for, readable or not.
    pub files: &'a mut Vec<PathBuf>,
}

/// A certificate as it is written.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    /// The file of its chain, in PEM.
    pub certificate: &'a Located<PathBuf>,
    /// The file of its private key, in PEM.
    pub key: &'a Located<PathBuf>,
    /// The file of an OCSP response about it, in DER.
    pub ocsp: Option<&'a Located<PathBuf>>,
}

impl<'a> From<&'a CertificateConfig> for Written<'a> {
    fn from(config: &'a CertificateConfig) -> Self {
        Self {
            certificate: &config.certificate,
            key: &config.key,
            ocsp: config.ocsp.as_ref(),
        }
    }
}

impl<'a> Reader<'a> {
    /// Reads files that these sources name, and adds them to `files`.
    pub fn new(sources: &'a Sources, files: &'a mut Vec<PathBuf>) -> Self {
        Self { sources, files }
    }

    /// Where a file is.
    pub fn path(&self, file: &Located<PathBuf>) -> PathBuf {
        self.sources.resolve(file, file.place())
    }

    /// What is in a file; `what` it is, for the mistake.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn content(&mut self, what: &str, file: &Located<PathBuf>) -> Result<Vec<u8>, Diagnostic> {
        let path = self.path(file);
        self.files.push(path.clone());
        crate::files::read(&path).map_err(|error| {
            let what = format!("cannot read {what} {}: {error}", path.display());
            file.wrong(what)
        })
    }

    /// The mistake of a file that can be read and not be used.
    pub fn unusable(&self, what: &str, file: &Located<PathBuf>, why: &str) -> Diagnostic {
        let path = self.path(file);
        file.wrong(format!(
            "{what} {} cannot be used: {why}",
            Path::display(&path)
        ))
    }

    /// A certificate; the one that is `known` already, if nothing in its files has changed.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn certificate(
        &mut self,
        written: Written<'_>,
        provider: &CryptoProvider,
        known: impl Fn(&Digest) -> Option<Arc<Certificate>>,
    ) -> Result<Arc<Certificate>, Diagnostic> {
        let Written {
            certificate,
            key,
            ocsp,
        } = written;
        // All are asked for before the first mistake ends it: each is to be watched.
        let chain = self.content("the certificate", certificate);
        let secret = self.content("the private key", key);
        let ocsp_content = ocsp.map(|ocsp| self.content("the OCSP response", ocsp));
        let files = Files {
            certificate: chain?,
            key: secret?,
            ocsp: ocsp_content.transpose()?,
        };
        if let Some(same) = known(&files.digest()) {
            return Ok(same);
        }
        let read = Certificate::read(files, provider).map(Arc::new);
        read.map_err(|unusable| match unusable {
            Unusable::Certificate(why) => self.unusable("the certificate", certificate, &why),
            Unusable::Key(why) => self.unusable("the private key", key, &why),
            Unusable::Ocsp(why) => {
                self.unusable("the OCSP response", ocsp.unwrap_or(certificate), &why)
            }
        })
    }

    /// What the tickets of a listener are made with; none when there are to be none. `scope` is who may take them.
    ///
    /// # Errors
    /// Every mistake.
    pub fn ticket_settings(
        &mut self,
        config: &TicketsConfig,
        scope: Vec<u8>,
    ) -> Result<Option<TicketSettings>, Vec<Diagnostic>> {
        let mut mistakes = Vec::new();
        let mut secrets = Vec::new();
        for file in &config.keys {
            match self.content("the ticket key", file) {
                Ok(secret) if secret.len() < SHORTEST_SECRET => {
                    let why = format!("it has less than {SHORTEST_SECRET} bytes");
                    mistakes.push(self.unusable("the ticket key", file, &why));
                }
                Ok(secret) => secrets.push(secret),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        let rotate = &config.rotate;
        // RFC 8446, section 4.6.1: no ticket is older than seven days.
        if !(60..=7 * 24 * 60 * 60).contains(&rotate.as_secs()) {
            mistakes.push(rotate.wrong("must be from 1m to 7d"));
        }
        let settings = config.enabled.then_some(TicketSettings {
            rotate: ***rotate,
            secrets,
            scope,
        });
        mistakes.is_empty().then_some(settings).ok_or(mistakes)
    }
}
