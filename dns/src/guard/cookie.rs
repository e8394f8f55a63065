//! Cookies: how a client shows that it gets what is sent to its address (RFC 7873, RFC 9018).
//!
//! ```text
//! client's part, 8 | version 1, reserved 3, time 4, SipHash-2-4(all that and the address; secret) 8
//! ```
//!
//! A server keeps nothing of its clients: servers with the same secrets take each other's cookies.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use siphasher::sip::SipHasher24;

use crate::wire::cookie::{CLIENT, SERVER};
use crate::wire::{Cookie, ServerPart};

/// What signs cookies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CookieSecret([u8; 16]);

/// The secret of a process, made when the first cookie is, or its predecessor's.
pub(crate) type OwnSecret = Arc<OnceLock<CookieSecret>>;

/// Signs cookies, and tells which are ours.
#[derive(Clone, Debug)]
pub struct Cookies {
    secrets: Secrets,
    /// Whether a client that knows cookies must have one of ours before it is answered over UDP.
    pub(crate) require: bool,
}

#[derive(Clone, Debug)]
enum Secrets {
    Own(OwnSecret),
    /// The first signs; all are known.
    Shared(Box<[CookieSecret]>),
}

/// What is thought of a query's cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CookieState {
    /// There is none, or cookies are not configured.
    #[default]
    Absent,
    /// It has the client's part alone.
    New,
    /// It is ours: whoever sends it gets what is sent to its address.
    Valid,
    /// It is of another server or address, too old, or made up.
    Invalid,
}

/// A whole cookie, as it is sent to a client.
pub type Baked = [u8; CLIENT + SERVER];

/// Cookies are ours for so many seconds (RFC 9018, 4.3).
const LIFE: i32 = 3600;
/// A client gets another after so many seconds.
const FRESH: i32 = 1800;
/// Clocks of servers with the same secrets differ by so many seconds at most.
const AHEAD: i32 = 300;
/// The version of RFC 9018.
const VERSION: u8 = 1;

impl CookieSecret {
    /// A secret that nobody knows.
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }

    /// Reads 32 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.len() != 32 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        u128::from_str_radix(text, 16)
            .ok()
            .map(|number| Self(number.to_be_bytes()))
    }

    /// As 32 hexadecimal digits, for a successor alone.
    pub(crate) fn to_hex(self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }

    /// The signature of a server's part without it.
    fn sign(&self, client: [u8; CLIENT], head: [u8; 8], address: IpAddr) -> [u8; 8] {
        let mut signed = [0; 32];
        signed[..8].copy_from_slice(&client);
        signed[8..16].copy_from_slice(&head);
        let length = match address.to_canonical() {
            IpAddr::V4(v4) => {
                signed[16..20].copy_from_slice(&v4.octets());
                20
            }
            IpAddr::V6(v6) => {
                signed[16..].copy_from_slice(&v6.octets());
                32
            }
        };
        let hash = SipHasher24::new_with_key(&self.0).hash(&signed[..length]);
        hash.to_le_bytes()
    }
}

impl fmt::Debug for CookieSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieSecret(***)")
    }
}

impl Cookies {
    /// Cookies of one process and its successors.
    pub(crate) fn own(secret: OwnSecret, require: bool) -> Self {
        Self {
            secrets: Secrets::Own(secret),
            require,
        }
    }

    /// Cookies of all servers that have these secrets; the first signs. There is one at least.
    pub fn shared(secrets: Vec<CookieSecret>, require: bool) -> Self {
        Self {
            secrets: Secrets::Shared(secrets.into()),
            require,
        }
    }

    /// Judges a cookie at a time, in seconds since 1970, and bakes the one that goes back.
    pub fn judge(&self, cookie: &Cookie, address: IpAddr, now: u32) -> (CookieState, Baked) {
        let secrets = match &self.secrets {
            Secrets::Own(secret) => std::slice::from_ref(secret.get_or_init(CookieSecret::random)),
            Secrets::Shared(secrets) => secrets,
        };
        let mut state = CookieState::Invalid;
        match cookie.server {
            ServerPart::None => state = CookieState::New,
            ServerPart::Other => {}
            ServerPart::Ours(server) => {
                let (head, signature) = halves(&server);
                let signs =
                    |secret: &CookieSecret| secret.sign(cookie.client, head, address) == signature;
                if let Some(age) = age(head, now)
                    && let Some(signer) = secrets.iter().position(signs)
                {
                    state = CookieState::Valid;
                    if signer == 0 && (0..=FRESH).contains(&age) && head[1..4] == [0; 3] {
                        return (state, bake(cookie.client, server));
                    }
                }
            }
        }
        let mut head = [VERSION, 0, 0, 0, 0, 0, 0, 0];
        head[4..].copy_from_slice(&now.to_be_bytes());
        let mut server = [0; SERVER];
        server[..8].copy_from_slice(&head);
        if let Some(first) = secrets.first() {
            server[8..].copy_from_slice(&first.sign(cookie.client, head, address));
        }
        (state, bake(cookie.client, server))
    }
}

fn bake(client: [u8; CLIENT], server: [u8; SERVER]) -> Baked {
    let mut baked = [0; CLIENT + SERVER];
    baked[..CLIENT].copy_from_slice(&client);
    baked[CLIENT..].copy_from_slice(&server);
    baked
}

/// A server's part: what is signed of it, and the signature.
fn halves(server: &[u8; SERVER]) -> ([u8; 8], [u8; 8]) {
    let (mut head, mut signature) = ([0; 8], [0; 8]);
    head.copy_from_slice(&server[..8]);
    signature.copy_from_slice(&server[8..]);
    (head, signature)
}

/// The seconds since a server's part was made; none when it is of another version, too old or from the future.
fn age(head: [u8; 8], now: u32) -> Option<i32> {
    let [VERSION, _, _, _, a, b, c, d] = head else {
        return None;
    };
    // Times are compared as serial numbers: they begin anew in 2106 (RFC 9018, 4.3).
    let made = u32::from_be_bytes([a, b, c, d]);
    let age = now.wrapping_sub(made).cast_signed();
    (-AHEAD..=LIFE).contains(&age).then_some(age)
}

#[cfg(test)]
mod tests;
