//! Certificate authorities, and who is to have certificates from them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chassis::config::{Diagnostic, Located, Place, Secret};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::{Compiler, Findings};
use crate::acme::{Acme, Authority, ExternalAccount, Issuer, Names, Settings, decode_key};
use crate::config::{AcmeConfig, Challenge, Config, ExternalAccountConfig, IssueConfig};

impl Compiler<'_> {
    /// The authorities; issuers are added for each listener that wants some.
    pub(super) fn acme(&self, config: &Config, findings: &mut Findings) -> Acme {
        let mut acme = Acme::default();
        for (name, authority) in &config.acme {
            acme.names.push(name.to_string());
            findings.keep(reachable(authority, config));
            if let Some(authority) = self.authority(name, authority, findings) {
                acme.authorities.push(authority);
            }
        }
        acme
    }

    fn authority(
        &self,
        name: &Located<String>,
        config: &AcmeConfig,
        findings: &mut Findings,
    ) -> Option<Arc<Authority>> {
        findings.keep(agreed(name, config))?;
        findings.keep(judge_directory(&config.directory))?;
        for contact in &config.contact {
            findings.keep(judge_contact(contact))?;
        }
        let root = match &config.root {
            Some(root) => {
                let path = self.sources.resolve(root, root.place());
                findings.files.push(path.clone());
                Some(findings.keep(certificates(root, &path))?)
            }
            None => None,
        };
        let external = config.external_account.as_ref().map(external_account);
        let settings = Settings {
            directory: config.directory.to_string(),
            contact: config.contact.iter().map(|one| one.to_string()).collect(),
            storage: self.absolute(&config.storage, config.storage.place()),
            root,
            challenge: *config.challenge,
            renew_before: config.renew_before.map(|before| **before),
            external_account: findings.keep(external.transpose())?,
        };
        let before = self.previous.map(|state| &state.acme.authorities);
        let mut before = before.into_iter().flatten();
        let kept = before.find(|one| one.is(name, &settings)).cloned();
        let authority = kept.unwrap_or_else(|| Arc::new(Authority::new(name, settings)));
        findings.keep(self.prepare(&authority, &config.storage))?;
        Some(authority)
    }

    /// Makes the storage, unless this only judges the configuration.
    fn prepare(&self, authority: &Authority, storage: &Located<PathBuf>) -> Result<(), Diagnostic> {
        if self.runtime.is_none() {
            return Ok(());
        }
        authority.prepare().map_err(|error| {
            storage
                .wrong(format!("certificates cannot be stored there: {error}"))
                .help("it must be a folder that the gateway's user may write to, and nobody else")
        })
    }

    /// The issuer of a certificate for a listener.
    pub(super) fn issuer(
        &self,
        wanted: &IssueConfig,
        acme: &mut Acme,
        findings: &mut Findings,
    ) -> Option<Arc<Issuer>> {
        let names = findings.keep(names(&wanted.names));
        let issuer = &wanted.issuer;
        if !acme.names.contains(issuer) {
            findings.mistakes.push(unknown(issuer, &acme.names));
        }
        // When there is a table, and no authority, its mistake was told.
        let mut authorities = acme.authorities.iter();
        let authority = authorities.find(|one| one.name == **issuer)?.clone();
        let names = names?;
        let before = self.previous.iter().flat_map(|state| &state.acme.issuers);
        let mut known = acme.issuers.iter().chain(before);
        if let Some(known) = known.find(|one| one.is(&authority, &names)).cloned() {
            if !acme.issuers.iter().any(|one| Arc::ptr_eq(one, &known)) {
                acme.issuers.push(known.clone());
            }
            return Some(known);
        }
        let issuer = Arc::new(Issuer::load(authority, names));
        acme.issuers.push(issuer.clone());
        Some(issuer)
    }
}

fn unknown(issuer: &Located<String>, known: &[String]) -> Diagnostic {
    let unknown = issuer.wrong(format!("there is no authority `{}`", **issuer));
    match known {
        [] => unknown.help(format!("add a table `acme.{}`", **issuer)),
        known => unknown.suggest(issuer, known.iter().map(String::as_str)),
    }
}

fn agreed(name: &Located<String>, config: &AcmeConfig) -> Result<(), Diagnostic> {
    let agreed = &config.terms_agreed;
    if **agreed {
        return Ok(());
    }
    let place = match agreed.place() == Place::default() {
        true => name.place(),
        false => agreed.place(),
    };
    let message =
        "certificates are issued only to those who agree to the authority's terms of service";
    let help = "read them (the directory names them as `termsOfService`), then write `terms_agreed = true`";
    Err(Diagnostic::new(place, message).help(help))
}

/// An authority that asks over HTTP must find somebody.
fn reachable(authority: &AcmeConfig, config: &Config) -> Result<(), Diagnostic> {
    let challenge = &authority.challenge;
    let plain = || {
        config
            .listener
            .iter()
            .any(|listener| listener.tls.is_none())
    };
    match **challenge == Challenge::Http01 && !plain() {
        true => Err(challenge
            .wrong("a listener without TLS answers `http-01`, and there is none")
            .help("add one for port 80, or write \"tls-alpn-01\"")),
        false => Ok(()),
    }
}

fn judge_directory(directory: &Located<String>) -> Result<(), Diagnostic> {
    let uri = directory.parse::<http::Uri>().ok();
    let sound = uri.is_some_and(|uri| uri.scheme_str() == Some("https") && uri.host().is_some());
    match sound {
        true => Ok(()),
        false => Err(directory.wrong("the URL of a directory begins with `https://`")),
    }
}

fn judge_contact(contact: &Located<String>) -> Result<(), Diagnostic> {
    match contact.strip_prefix("mailto:") {
        Some(address) if address.contains('@') && !address.contains(char::is_whitespace) => Ok(()),
        _ => Err(contact
            .wrong("not an address of mail")
            .help("write \"mailto:ops@example.com\"")),
    }
}

fn certificates(root: &Located<PathBuf>, path: &Path) -> Result<Vec<Vec<u8>>, Diagnostic> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read =
        read.map_err(|error| root.wrong(format!("cannot read {}: {error}", path.display())))?;
    if read.is_empty() {
        return Err(root.wrong(format!("no certificate in {}", path.display())));
    }
    Ok(read.iter().map(|der| der.to_vec()).collect())
}

fn external_account(config: &ExternalAccountConfig) -> Result<ExternalAccount, Diagnostic> {
    let key = &config.hmac_key;
    if decode_key(key.expose()).is_none() {
        return Err(key.wrong("the key is not in base64url"));
    }
    Ok(ExternalAccount {
        key_id: config.key_id.clone(),
        hmac_key: Secret::clone(key),
    })
}

fn names(written: &Located<Vec<Located<String>>>) -> Result<Names, Diagnostic> {
    for name in written.iter() {
        Names::judge(name).map_err(|why| name.wrong(format!("`{}`: {why}", **name)))?;
    }
    if written.len() > MOST_NAMES {
        return Err(written.wrong(format!("a certificate has at most {MOST_NAMES} names")));
    }
    let names = Names::new(written.iter().map(|name| name.as_str()));
    names.ok_or_else(|| {
        written
            .wrong("a certificate for no name")
            .help("write `names = [\"www.example.com\"]`")
    })
}

/// What Let's Encrypt and others allow.
const MOST_NAMES: usize = 100;
