//! What a listener with TLS demands of clients, and which sessions may go on, as it is compiled.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use chassis::tls::{Tickets, TicketsConfig};
use rustls::crypto::CryptoProvider;

use super::{Compiler, Findings};
use crate::config::{ClientCertificates, ClientCertificatesConfig};
use crate::tls::{ClientAuth, Untrusted};

/// Who is asked for certificates, and until when revocation lists hold.
#[derive(Default)]
pub(super) struct Clients {
    pub(super) auth: Option<ClientAuth>,
    pub(super) lists: Vec<(PathBuf, SystemTime)>,
}

impl Compiler<'_> {
    /// None when there is a mistake.
    pub(super) fn clients(
        &self,
        config: Option<&ClientCertificatesConfig>,
        provider: &Arc<CryptoProvider>,
        findings: &mut Findings,
    ) -> Option<Clients> {
        let config = config.filter(|config| config.mode != ClientCertificates::Off);
        let Some(ClientCertificatesConfig { mode, ca, crl }) = config else {
            return Some(Clients::default());
        };
        let what = "the certificates of authorities";
        let authorities = self.reader(findings).content(what, ca);
        let authorities = findings.keep(authorities);
        let mut lists = Vec::new();
        for list in crl {
            let content = self.reader(findings).content("the revocation list", list);
            lists.push(findings.keep(content));
        }
        let lists: Vec<Vec<u8>> = lists.into_iter().collect::<Option<_>>()?;
        let optional = *mode == ClientCertificates::Optional;
        let auth = ClientAuth::new(&authorities?, &lists, optional, provider);
        let reader = self.reader(findings);
        let auth = auth.map_err(|untrusted| match untrusted {
            Untrusted::Authorities(why) => reader.unusable(what, ca, &why),
            Untrusted::List(at, why) => {
                reader.unusable("the revocation list", crl.get(at).unwrap_or(ca), &why)
            }
        });
        let auth = findings.keep(auth)?;
        let lists = auth.lists_until.iter().filter_map(|(at, until)| {
            let file = self.path(crl.get(*at)?);
            Some((file, *until))
        });
        Some(Clients {
            lists: lists.collect(),
            auth: Some(auth),
        })
    }

    /// None when there is a mistake; none inside when there are to be none.
    pub(super) fn tickets(
        &self,
        listener: &str,
        config: &TicketsConfig,
        auth: Option<&ClientAuth>,
        findings: &mut Findings,
    ) -> Option<Option<Arc<Tickets>>> {
        let settings = self
            .reader(findings)
            .ticket_settings(config, scope(listener, auth));
        let Some(settings) = settings
            .map_err(|mistakes| findings.mistakes.extend(mistakes))
            .ok()?
        else {
            return Some(None);
        };
        let before = self.previous.and_then(|state| state.listener(listener));
        let before = before.and_then(|listener| listener.tls.as_ref()?.tickets());
        if let Some(same) = before.filter(|tickets| tickets.are(&settings)) {
            return Some(Some(same.clone()));
        }
        let tickets = Tickets::new(settings);
        let tickets = tickets.map_err(|_| config.rotate.wrong("the system has no randomness"));
        findings
            .keep(tickets)
            .map(|tickets| Some(Arc::new(tickets)))
    }
}

/// Who may take a ticket of whom.
fn scope(listener: &str, auth: Option<&ClientAuth>) -> Vec<u8> {
    let mut scope = auth.map_or_else(Vec::new, |auth| auth.digest.to_vec());
    scope.push(0);
    scope.extend_from_slice(listener.as_bytes());
    scope
}
