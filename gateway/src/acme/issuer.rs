//! One certificate for a set of names, from now on: what handshakes see of it. The work is in `task`.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use chassis::tls::Certificate;
use rustls::sign::CertifiedKey;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::authority::Authority;
use super::certificate::Issued;
use super::error::OrderError;
use super::names::Names;
use super::renewal::{self, Validity};
use super::task;

/// Has a certificate for a set of names, and keeps it from expiring once it was started.
pub(crate) struct Issuer {
    pub(crate) authority: Arc<Authority>,
    pub(crate) names: Names,
    /// What its certificate is called in storage.
    pub(super) file: String,
    current: ArcSwapOption<Issued>,
    /// A handshake had to do without it, and that was told.
    missed: AtomicBool,
    task: OnceLock<AbortHandle>,
}

impl Issuer {
    /// One that serves what is stored, if anything is.
    pub(crate) fn load(authority: Arc<Authority>, names: Names) -> Self {
        let issuer = Self {
            file: authority.certificate_name(&names),
            authority,
            names,
            current: ArcSwapOption::empty(),
            missed: AtomicBool::new(false),
            task: OnceLock::new(),
        };
        match issuer.stored() {
            Ok(stored) => issuer.current.store(stored.map(Arc::new)),
            Err(error) => {
                let names = issuer.names.to_string();
                tracing::warn!(names, %error, "the stored certificate cannot be used");
            }
        }
        issuer
    }

    /// Whether it is this one.
    pub(crate) fn is(&self, authority: &Arc<Authority>, names: &Names) -> bool {
        Arc::ptr_eq(&self.authority, authority) && self.names == *names
    }

    /// What a handshake is to be answered with; none before the first was issued, which is told once.
    pub(crate) fn key(&self) -> Option<Arc<CertifiedKey>> {
        let current = self.current.load();
        let key = current
            .as_ref()
            .map(|issued| issued.certificate.key.clone());
        if key.is_none() && !self.missed.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                issuer = self.authority.name,
                names = %self.names,
                "a client asks for a name whose certificate was not issued yet"
            );
        }
        key
    }

    /// The certificate that is served.
    pub(crate) fn certificate(&self) -> Option<Arc<Certificate>> {
        let current = self.current.load();
        current.as_ref().map(|issued| issued.certificate.clone())
    }

    /// Where it is stored.
    pub(crate) fn path(&self) -> PathBuf {
        self.authority.storage.path(&self.entry())
    }

    /// From when to when its certificate can be used.
    pub(super) fn validity(&self) -> Option<Validity> {
        self.current.load().as_ref().map(|issued| issued.validity)
    }

    /// Sees to the certificate from now on, until the issuer is dropped. Does so once.
    pub(crate) fn start(self: &Arc<Self>, runtime: &Handle) {
        self.task.get_or_init(|| {
            let task = runtime.spawn(task::keep_fresh(Arc::downgrade(self)));
            task.abort_handle()
        });
    }

    pub(super) fn current(&self) -> Option<Arc<Issued>> {
        self.current.load_full()
    }

    /// Serves this from now on.
    pub(super) fn serve(&self, issued: Issued) {
        self.current.store(Some(Arc::new(issued)));
    }

    /// What is stored, if it can be used.
    fn stored(&self) -> Result<Option<Issued>, OrderError> {
        let entry = self.entry();
        let read = self.authority.storage.read(&entry);
        let pem = read.map_err(|error| self.storage_failed(error))?;
        pem.map(|pem| Issued::from_pem(&pem)).transpose()
    }

    /// What another process has stored, if that is better than what is served and not due itself.
    pub(super) fn newer_in_storage(&self, now: SystemTime) -> Result<Option<Issued>, OrderError> {
        let newer = |stored: &Issued| {
            let due = renewal::due(stored.validity, self.authority.settings.renew_before);
            let current = self.validity().map(|validity| validity.not_after);
            due > now && current.is_none_or(|current| current < stored.validity.not_after)
        };
        match self.stored() {
            Ok(stored) => Ok(stored.filter(newer)),
            // What cannot be used is replaced.
            Err(OrderError::Unusable(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts a certificate and its key into storage. Waits for the disk.
    pub(super) async fn store(&self, pem: String) -> Result<(), OrderError> {
        let (storage, entry) = (self.authority.storage.clone(), self.entry());
        let write = move || storage.write(&entry, pem.as_bytes());
        let written = tokio::task::spawn_blocking(write).await;
        let written = written.unwrap_or_else(|error| Err(error.into()));
        written.map_err(|error| self.storage_failed(error))
    }

    fn entry(&self) -> String {
        format!("certificates/{}.pem", self.file)
    }

    fn storage_failed(&self, error: std::io::Error) -> OrderError {
        OrderError::Storage {
            path: self.path(),
            error,
        }
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Issuer").field(&self.names).finish()
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use rustls::SignatureScheme;

    use super::*;
    use chassis::tls::Files;

    use crate::tls::{Resolver, Source};

    const NAME: &str = "a.example";

    /// A key and its certificate until then, in one file.
    fn pem(last_year: i32) -> String {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([NAME.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(last_year, 1, 1);
        key.serialize_pem() + &params.self_signed(&key).unwrap().pem()
    }

    fn issuer(folder: &tempfile::TempDir) -> Arc<Issuer> {
        let authority = Authority::for_tests("https://ca.example", folder.path());
        let names = Names::new([NAME]).unwrap();
        Arc::new(Issuer::load(Arc::new(authority), names))
    }

    #[tokio::test]
    async fn what_is_stored_is_served_by_the_next_process() {
        let folder = tempfile::TempDir::new().unwrap();
        let first = issuer(&folder);
        assert!(first.key().is_none());
        first.store(pem(2100)).await.unwrap();
        assert!(issuer(&folder).key().is_some());
    }

    #[tokio::test]
    async fn only_what_is_better_is_taken_from_another_process() {
        let folder = tempfile::TempDir::new().unwrap();
        let one = issuer(&folder);
        let now = SystemTime::now();
        assert!(one.newer_in_storage(now).unwrap().is_none());
        // Due itself.
        one.store(pem(2021)).await.unwrap();
        assert!(one.newer_in_storage(now).unwrap().is_none());
        one.store(pem(2100)).await.unwrap();
        let newer = one.newer_in_storage(now).unwrap();
        one.serve(newer.unwrap());
        assert!(one.newer_in_storage(now).unwrap().is_none());
        // Broken: to be replaced.
        one.store("no certificate".into()).await.unwrap();
        assert!(one.newer_in_storage(now).unwrap().is_none());
    }

    #[test]
    fn a_file_stands_in_until_it_is_issued() {
        let folder = tempfile::TempDir::new().unwrap();
        let issuer = issuer(&folder);
        let own = pem(2100);
        let files = Files {
            certificate: own.clone().into(),
            key: own.into(),
            ocsp: None,
        };
        let provider = rustls::crypto::ring::default_provider();
        let own = Arc::new(Certificate::read(files, &provider).unwrap());
        let sources = vec![Source::File(own.clone()), Source::Issued(issuer.clone())];
        let resolver = Resolver::new(sources).unwrap();
        let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256];
        let chosen = || resolver.choose(Some(NAME), &schemes).ok();
        assert!(Arc::ptr_eq(&chosen().unwrap(), &own.key));
        issuer.serve(Issued::from_pem(pem(2100).as_bytes()).unwrap());
        let issued = issuer.certificate().unwrap();
        assert!(Arc::ptr_eq(&chosen().unwrap(), &issued.key));
        // Who asks for no name gets the default all the same.
        let nameless = resolver.choose(None, &schemes).ok();
        assert!(Arc::ptr_eq(&nameless.unwrap(), &own.key));

        let alone = super::tests::issuer(&folder);
        let resolver = Resolver::new(vec![Source::Issued(alone)]).unwrap();
        assert!(resolver.choose(Some(NAME), &schemes).is_err());
    }
}
