//! Session tickets (RFC 8446, section 4.6.1; RFC 5077), which all threads can read.
//!
//! Keys are replaced as time passes: whoever makes the first ticket after that
//! moment does it. Nobody waits for a lock. Keys derived from files are never
//! replaced here.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::server::ProducesTickets;
use rustls_pki_types::UnixTime;

/// What tickets are made with. Tickets made with other settings are not taken.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketSettings {
    /// How often a random key is replaced.
    pub rotate: Duration,
    /// Secrets from files; the first encrypts. None are there when keys are random.
    pub secrets: Vec<Vec<u8>>,
    /// Who may take a ticket: the listener, and what it demands of clients. A session that began
    /// where no certificate was asked for must not go on where one is.
    pub scope: Vec<u8>,
}

/// The tickets of a listener.
pub struct Tickets {
    settings: TicketSettings,
    keys: ArcSwap<Keys>,
    /// When the next key is due, in Unix seconds.
    due: AtomicU64,
    random: SystemRandom,
}

/// The first encrypts, all decrypt.
type Keys = Vec<Arc<Key>>;

struct Key {
    /// Stands before each ticket, so that its key is found.
    name: [u8; NAME],
    sealing: LessSafeKey,
}

const NAME: usize = 16;
const SECRET: usize = 32;

/// The secret of a file is at least this long, in bytes.
pub(super) const SHORTEST_SECRET: usize = 32;

impl Tickets {
    /// Tickets with keys from the secrets, or else with a random one.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn new(settings: TicketSettings) -> Result<Self, ring::error::Unspecified> {
        let random = SystemRandom::new();
        let mut keys = Vec::new();
        for secret in &settings.secrets {
            keys.push(Arc::new(Key::derive(secret, &settings.scope)?));
        }
        let due = match keys.is_empty() {
            true => now().saturating_add(settings.rotate.as_secs()),
            false => u64::MAX,
        };
        if keys.is_empty() {
            keys.push(Arc::new(Key::random(&random, &settings.scope)?));
        }
        Ok(Self {
            settings,
            keys: ArcSwap::from_pointee(keys),
            due: AtomicU64::new(due),
            random,
        })
    }

    /// Whether they are made with these settings.
    pub fn are(&self, settings: &TicketSettings) -> bool {
        self.settings == *settings
    }

    /// Replaces the key if that is due.
    fn rotate(&self, now: u64) -> Result<(), ring::error::Unspecified> {
        let due = self.due.load(Relaxed);
        if now < due {
            return Ok(());
        }
        let rotate = self.settings.rotate.as_secs();
        let next = now.saturating_add(rotate);
        if self
            .due
            .compare_exchange(due, next, Relaxed, Relaxed)
            .is_err()
        {
            return Ok(()); // another thread does it
        }
        let mut keys = vec![Arc::new(Key::random(&self.random, &self.settings.scope)?)];
        if now < due.saturating_add(rotate) {
            keys.extend(self.keys.load().first().cloned());
        }
        self.keys.store(Arc::new(keys));
        Ok(())
    }

    fn seal(&self, plain: &[u8], now: u64) -> Result<Vec<u8>, ring::error::Unspecified> {
        self.rotate(now)?;
        let keys = self.keys.load();
        let key = keys.first().ok_or(ring::error::Unspecified)?;
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce)?;
        let mut ticket = Vec::with_capacity(HEAD + plain.len() + AES_256_GCM.tag_len());
        ticket.extend_from_slice(&key.name);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = &mut ticket[HEAD..];
        let tag = key
            .sealing
            .seal_in_place_separate_tag(nonce, Aad::from(&key.name), sealed)?;
        ticket.extend_from_slice(tag.as_ref());
        Ok(ticket)
    }

    fn open(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        self.rotate(now).ok()?;
        let (name, rest) = ticket.split_at_checked(NAME)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let keys = self.keys.load();
        // The name is no secret: finding the key may take as long as it does.
        let key = keys.iter().find(|key| key.name == name)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut plain = sealed.to_vec();
        let aad = Aad::from(&key.name);
        let length = key
            .sealing
            .open_in_place(nonce, aad, &mut plain)
            .ok()?
            .len();
        plain.truncate(length);
        Some(plain)
    }
}

const HEAD: usize = NAME + NONCE_LEN;

impl Key {
    fn random(random: &SystemRandom, scope: &[u8]) -> Result<Self, ring::error::Unspecified> {
        let mut secret = [0; SECRET];
        random.fill(&mut secret)?;
        Self::derive(&secret, scope)
    }

    /// One secret makes different keys for different scopes.
    fn derive(secret: &[u8], scope: &[u8]) -> Result<Self, ring::error::Unspecified> {
        let secret = Salt::new(HKDF_SHA256, b"tidegate session tickets").extract(secret);
        let (mut name, mut key) = ([0; NAME], [0; SECRET]);
        secret
            .expand(&[b"name", scope], Length(NAME))?
            .fill(&mut name)?;
        secret
            .expand(&[b"key", scope], Length(SECRET))?
            .fill(&mut key)?;
        let sealing = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key)?);
        Ok(Self { name, sealing })
    }
}

/// How many bytes to derive.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(self.settings.rotate.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, now()).ok()
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.open(ticket, now())
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The rest is secret.
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

fn now() -> u64 {
    UnixTime::now().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    fn settings(secrets: &[&[u8]], scope: &[u8]) -> TicketSettings {
        TicketSettings {
            rotate: Duration::from_secs(HOUR),
            secrets: secrets.iter().map(|&secret| secret.to_vec()).collect(),
            scope: scope.to_vec(),
        }
    }

    fn tickets(secrets: &[&[u8]], scope: &[u8]) -> Tickets {
        Tickets::new(settings(secrets, scope)).unwrap()
    }

    #[test]
    fn a_ticket_outlives_one_rotation_and_not_two() {
        let tickets = tickets(&[], b"l");
        let begun = now();
        let ticket = tickets.seal(b"session", begun).unwrap();
        let opened = |at| tickets.open(&ticket, begun + at);
        assert_eq!(opened(0).unwrap(), b"session");
        assert_eq!(opened(HOUR + 5).unwrap(), b"session");
        let later = tickets.seal(b"later", begun + HOUR + 6).unwrap();
        assert_ne!(later[..NAME], ticket[..NAME], "the key is another");
        assert_eq!(opened(2 * HOUR + 10), None);
        assert_eq!(
            tickets.open(&later, begun + 2 * HOUR + 11).unwrap(),
            b"later"
        );
        // Nobody came for a long time: no key is left to grow old.
        assert_eq!(tickets.open(&later, begun + 20 * HOUR), None);
    }

    #[test]
    fn secrets_are_shared_but_not_between_scopes() {
        let (old, new) = ([1; 32], [2; 32]);
        let here = tickets(&[&old], b"l");
        let there = tickets(&[&new, &old], b"l");
        let ticket = here.encrypt(b"session").unwrap();
        assert_eq!(there.decrypt(&ticket).unwrap(), b"session");
        let theirs = there.encrypt(b"session").unwrap();
        assert_eq!(here.decrypt(&theirs), None);
        assert_eq!(tickets(&[&old], b"other").decrypt(&ticket), None);
        assert!(here.are(&settings(&[&old], b"l")) && !here.are(&settings(&[&new], b"l")));
        assert!(!format!("{here:?}").contains('1'));
    }

    #[test]
    fn what_was_changed_is_no_ticket() {
        let tickets = tickets(&[], b"l");
        let ticket = tickets.encrypt(b"session").unwrap();
        for at in 0..ticket.len() {
            let mut forged = ticket.clone();
            forged[at] ^= 1;
            assert_eq!(tickets.decrypt(&forged), None, "{at}");
            assert_eq!(tickets.decrypt(&ticket[..at]), None, "{at}");
        }
    }
}
