//! Challenges that an authority may ask for at this moment.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::sign::CertifiedKey;

use super::challenge::{self, DIGEST};
use super::error::OrderError;
use super::storage::Storage;

/// The pending challenges of an authority: in memory for this process, in storage for another
/// one, which may be the one that is asked during a hand-over.
pub(super) struct Pending {
    storage: Storage,
    known: ArcSwap<Known>,
}

#[derive(Clone, Default)]
struct Known {
    /// Key authorizations by token.
    answers: HashMap<String, Arc<str>>,
    /// Certificates by name.
    certificates: HashMap<String, Arc<CertifiedKey>>,
}

/// A challenge that can be asked for until this is dropped.
pub(super) struct Offered {
    pending: Arc<Pending>,
    what: What,
}

enum What {
    Token(String),
    Name(String),
}

impl Pending {
    pub(super) fn new(storage: Storage) -> Self {
        Self {
            storage,
            known: ArcSwap::default(),
        }
    }

    /// Offers a key authorization at its token.
    pub(super) fn offer_answer(
        self: &Arc<Self>,
        token: &str,
        authorization: &str,
    ) -> Result<Offered, OrderError> {
        if !is_token(token) {
            let why = "the authority's token is not base64url".to_owned();
            return Err(OrderError::Unreachable(why));
        }
        let offered = self.offered(What::Token(token.to_owned()));
        self.change(|known| {
            known.answers.insert(token.to_owned(), authorization.into());
        });
        self.store(&offered, authorization.as_bytes())?;
        Ok(offered)
    }

    /// Offers the certificate of a challenge for a name.
    pub(super) fn offer_certificate(
        self: &Arc<Self>,
        name: &str,
        digest: &[u8; DIGEST],
    ) -> Result<Offered, OrderError> {
        if !is_name(name) {
            let why = "the authority asks about something that is not a DNS name".to_owned();
            return Err(OrderError::Unreachable(why));
        }
        let certificate = challenge::certificate(name, digest)?;
        let offered = self.offered(What::Name(name.to_owned()));
        self.change(|known| {
            known
                .certificates
                .insert(name.to_owned(), certificate.clone());
        });
        self.store(&offered, digest)?;
        Ok(offered)
    }

    /// The key authorization for a token that this process has offered.
    pub(super) fn answer(&self, token: &str) -> Option<Arc<str>> {
        self.known.load().answers.get(token).cloned()
    }

    /// The key authorization for a token that another process may have offered. Reads a file.
    pub(super) fn stored_answer(&self, token: &str) -> Option<Arc<str>> {
        let what = What::Token(is_token(token).then(|| token.to_owned())?);
        let bytes = self.storage.read(&what.entry()).ok()??;
        let answer = std::str::from_utf8(&bytes).ok()?;
        let own = answer.strip_prefix(token)?.starts_with('.');
        own.then(|| answer.into())
    }

    /// The certificate of a challenge for a name, which another process may have offered. Reads
    /// a file then, so it is for those alone who ask for a challenge.
    pub(super) fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        if let Some(known) = self.known.load().certificates.get(name) {
            return Some(known.clone());
        }
        let what = What::Name(is_name(name).then(|| name.to_owned())?);
        let digest = self.storage.read(&what.entry()).ok()??;
        challenge::certificate(name, &digest.try_into().ok()?).ok()
    }

    fn offered(self: &Arc<Self>, what: What) -> Offered {
        Offered {
            pending: self.clone(),
            what,
        }
    }

    fn store(&self, offered: &Offered, bytes: &[u8]) -> Result<(), OrderError> {
        let entry = offered.what.entry();
        let path = self.storage.path(&entry);
        let written = self.storage.write(&entry, bytes);
        written.map_err(|error| OrderError::Storage { path, error })
    }

    fn change(&self, change: impl Fn(&mut Known)) {
        self.known.rcu(|known| {
            let mut known = Known::clone(known);
            change(&mut known);
            known
        });
    }
}

impl What {
    fn entry(&self) -> String {
        match self {
            Self::Token(token) => format!("{HTTP}/{token}"),
            Self::Name(name) => format!("{TLS_ALPN}/{name}"),
        }
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        self.pending.change(|known| match &self.what {
            What::Token(token) => drop(known.answers.remove(token)),
            What::Name(name) => drop(known.certificates.remove(name)),
        });
        self.pending.storage.remove(&self.what.entry());
    }
}

/// The folders of pending challenges.
pub(super) const HTTP: &str = "challenges/http-01";
pub(super) const TLS_ALPN: &str = "challenges/tls-alpn-01";

/// Whether a client's text can be a token: base64url (RFC 8555, section 8.3), so no path either.
pub(super) fn is_token(text: &str) -> bool {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=128).contains(&text.len()) && text.bytes().all(sound)
}

/// Whether a client's text can be a DNS name, and is no path.
fn is_name(text: &str) -> bool {
    !text.starts_with('.') && rustls_pki_types::DnsName::try_from(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending() -> (tempfile::TempDir, Arc<Pending>) {
        let folder = tempfile::TempDir::new().unwrap();
        let storage = Storage::new(folder.path().join("acme"));
        (folder, Arc::new(Pending::new(storage)))
    }

    #[test]
    fn tokens_are_base64url_and_short() {
        for token in ["a", "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA", "_-_"] {
            assert!(is_token(token), "{token}");
        }
        let long = "a".repeat(129);
        for text in [
            "", "..", ".", "a/b", "../a", "a.b", "a%2f", "é", "a\0", &long,
        ] {
            assert!(!is_token(text), "{text}");
        }
    }

    #[test]
    fn a_challenge_can_be_asked_for_until_its_order_ends() {
        let (_folder, pending) = pending();
        let offered = pending.offer_answer("token", "token.thumb").unwrap();
        assert_eq!(pending.answer("token").as_deref(), Some("token.thumb"));
        assert_eq!(pending.answer("other"), None);
        drop(offered);
        assert_eq!(pending.answer("token"), None);
        assert_eq!(pending.stored_answer("token"), None);
    }

    #[test]
    fn another_process_answers_too() {
        let (_folder, pending) = pending();
        let other = Pending::new(pending.storage.clone());
        let _token = pending.offer_answer("token", "token.thumb").unwrap();
        let _name = pending
            .offer_certificate("a.example", &[7; DIGEST])
            .unwrap();
        assert_eq!(other.answer("token"), None);
        assert_eq!(other.stored_answer("token").as_deref(), Some("token.thumb"));
        assert!(other.certificate("a.example").is_some());
        assert!(other.certificate("b.example").is_none());
    }

    #[test]
    fn an_authority_cannot_name_files() {
        let (_folder, pending) = pending();
        for text in ["../a", "a/b", "", "."] {
            assert!(pending.offer_answer(text, "x.y").is_err(), "{text}");
            let offered = pending.offer_certificate(text, &[7; DIGEST]);
            assert!(offered.is_err(), "{text}");
        }
    }

    #[test]
    fn nobody_reads_what_is_no_challenge() {
        let (_folder, pending) = pending();
        pending
            .storage
            .write("challenges/secret", b"secret")
            .unwrap();
        pending
            .storage
            .write("challenges/http-01/odd", b"no answer")
            .unwrap();
        for token in ["../secret", "..%2fsecret", "/secret", "odd"] {
            assert_eq!(pending.stored_answer(token), None, "{token}");
        }
        assert!(pending.certificate("../secret").is_none());
    }
}
