//! A certificate authority and our account there.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chassis::config::Secret;
use instant_acme::Account;
use ring::digest::{Context, SHA256};
use rustls::sign::CertifiedKey;
use tokio::sync::{Mutex, Semaphore};

use super::account;
use super::client::RetryAfter;
use super::error::OrderError;
use super::names::Names;
use super::pending::{Pending, is_token};
use super::storage::{Lock, Storage};
use crate::config::Challenge;

/// What an authority is asked for, and how.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    /// URL of its directory.
    pub(crate) directory: String,
    /// URLs such as `mailto:` addresses.
    pub(crate) contact: Vec<String>,
    pub(crate) storage: PathBuf,
    /// Certificates in DER that its own certificate is verified with; the system's when it is none.
    pub(crate) root: Option<Vec<Vec<u8>>>,
    pub(crate) challenge: Challenge,
    /// How long before its end a certificate is renewed.
    pub(crate) renew_before: Option<Duration>,
    pub(crate) external_account: Option<ExternalAccount>,
}

/// An account that the operator has with the authority otherwise (RFC 8555, section 7.3.4).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExternalAccount {
    pub(crate) key_id: String,
    /// Base64url, as authorities hand it out.
    pub(crate) hmac_key: Secret,
}

/// An authority of one configuration, carried over while its settings are the same.
pub(crate) struct Authority {
    pub(crate) name: String,
    pub(super) settings: Settings,
    pub(super) storage: Storage,
    pub(super) pending: Arc<Pending>,
    pub(super) told: Arc<RetryAfter>,
    /// Orders at a time.
    pub(super) orders: Semaphore,
    /// Once it was needed.
    account: Mutex<Option<Account>>,
    /// Files that requests may have read at a time.
    reads: Semaphore,
}

impl Authority {
    pub(crate) fn new(name: &str, settings: Settings) -> Self {
        let storage = Storage::new(settings.storage.clone());
        Self {
            name: name.to_owned(),
            pending: Arc::new(Pending::new(storage.clone())),
            storage,
            settings,
            told: Arc::default(),
            orders: Semaphore::new(ORDERS),
            account: Mutex::default(),
            reads: Semaphore::new(READS),
        }
    }

    /// Whether it is this one, asked in the same way.
    pub(crate) fn is(&self, name: &str, settings: &Settings) -> bool {
        self.name == name && self.settings == *settings
    }

    /// Makes sure that its storage can be used.
    ///
    /// # Errors
    /// Why it cannot.
    pub(crate) fn prepare(&self) -> std::io::Result<()> {
        self.storage.prepare()
    }

    /// How it makes sure that we have a name.
    pub(crate) fn challenge(&self) -> Challenge {
        self.settings.challenge
    }

    /// The certificate of a challenge for a name, while the authority waits for it. It may read
    /// a file: for clients alone that ask for a challenge and nothing else.
    pub(crate) fn challenge_certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.pending.certificate(name)
    }

    /// The answer at a token, while the authority waits for it.
    pub(super) async fn answer(self: &Arc<Self>, token: &str) -> Option<Arc<str>> {
        if self.challenge() != Challenge::Http01 || !is_token(token) {
            return None;
        }
        if let Some(answer) = self.pending.answer(token) {
            return Some(answer);
        }
        // Another process may have offered it. Who asks for tokens in masses gets no more files read.
        let _reading = self.reads.try_acquire().ok()?;
        let (pending, token) = (self.pending.clone(), token.to_owned());
        let read = tokio::task::spawn_blocking(move || pending.stored_answer(&token));
        read.await.ok().flatten()
    }

    /// Our account, from storage, or a new one.
    pub(super) async fn account(&self) -> Result<Account, OrderError> {
        let mut known = self.account.lock().await;
        if let Some(account) = &*known {
            return Ok(account.clone());
        }
        let account = account::open(self).await?;
        *known = Some(account.clone());
        Ok(account)
    }

    /// Forgets an account that the authority does not know.
    pub(super) async fn forget_account(&self) {
        *self.account.lock().await = None;
        self.storage.remove(&account::entry(&self.settings));
    }

    /// Waits for a lock that another process, or another order of this one, may hold.
    pub(super) async fn lock(&self, name: &str) -> Result<Lock, OrderError> {
        loop {
            match self.storage.try_lock(name) {
                Ok(Some(lock)) => return Ok(lock),
                Ok(None) => tokio::time::sleep(LOCK_PAUSE).await,
                Err(error) => {
                    let path = self.storage.path(name);
                    return Err(OrderError::Storage { path, error });
                }
            }
        }
    }

    /// What a certificate with these names is called in storage.
    pub(super) fn certificate_name(&self, names: &Names) -> String {
        let mut text = vec![self.settings.directory.as_str()];
        text.extend(names.iter());
        let first: String = names.first().chars().take(100).collect();
        format!("{first}-{}", short_hash(&text))
    }
}

/// Enough of a hash to tell these texts from others.
pub(super) fn short_hash(texts: &[&str]) -> String {
    let mut hash = Context::new(&SHA256);
    for text in texts {
        hash.update(text.as_bytes());
        hash.update(&[0]);
    }
    let hash = hash.finish();
    hash.as_ref()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Enough that one order that hangs does not hold up the others.
const ORDERS: usize = 4;
const READS: usize = 16;
const LOCK_PAUSE: Duration = Duration::from_millis(500);

#[cfg(test)]
impl Authority {
    /// One that nobody asks.
    pub(super) fn for_tests(directory: &str, storage: &std::path::Path) -> Self {
        let settings = Settings {
            directory: directory.into(),
            contact: Vec::new(),
            storage: storage.into(),
            root: None,
            challenge: Challenge::Http01,
            renew_before: None,
            external_account: None,
        };
        Self::new("one", settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(directory: &str) -> Authority {
        Authority::for_tests(directory, "/nowhere".as_ref())
    }

    #[test]
    fn each_set_of_names_and_each_directory_has_a_file_of_its_own() {
        let names = |text: &[&str]| Names::new(text.iter().copied()).unwrap();
        let production = authority("https://ca.example/directory");
        let one = production.certificate_name(&names(&["a.example"]));
        assert!(one.starts_with("a.example-"), "{one}");
        assert_eq!(one, production.certificate_name(&names(&["A.example"])));
        let more = production.certificate_name(&names(&["a.example", "b.example"]));
        assert_ne!(one, more);
        let staging = authority("https://staging.ca.example/directory");
        assert_ne!(one, staging.certificate_name(&names(&["a.example"])));
    }
}
