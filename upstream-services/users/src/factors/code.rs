//! Codes that change every thirty seconds (TOTP, RFC 6238), and codes on paper.

use std::fmt::Write;

use ring::hmac;
use sha2::{Digest, Sha256};
use store::{Id, Time};

/// What a user's device and this service share.
#[derive(Clone)]
pub(super) struct Secret([u8; LENGTH]);

impl Secret {
    pub(super) fn new() -> Self {
        Self(rand::random())
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(super) const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The secret for people who type it.
    pub(super) fn reveal(&self) -> String {
        base32(&self.0)
    }

    /// What devices read from a picture: <https://github.com/google/google-authenticator/wiki/Key-Uri-Format>.
    pub(super) fn uri(&self, issuer: &str, account: &str) -> String {
        let (issuer, account) = (percent(issuer), percent(account));
        let secret = self.reveal();
        format!(
            "otpauth://totp/{issuer}:{account}?secret={secret}&issuer={issuer}&algorithm=SHA1&digits=6&period={PERIOD}"
        )
    }

    /// The step whose code this is: now or a step to either side (RFC 6238, section 5.2), and after
    /// the one that was used last.
    pub(super) fn step_of(&self, code: &str, last: i64, now: Time) -> Option<i64> {
        let step = now.as_secs().div_euclid(PERIOD);
        (step - 1..=step + 1).find(|&step| step > last && self.code(step) == code)
    }

    /// The code of a step (RFC 4226, section 5.3): SHA-1 is what devices can do.
    pub(super) fn code(&self, step: i64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0);
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let tag = tag.as_ref();
        let at = usize::from(tag[tag.len() - 1] & 0xf);
        let word = tag[at..at + 4]
            .iter()
            .fold(0, |word, byte| word << 8 | u32::from(*byte));
        format!("{:06}", (word & 0x7fff_ffff) % 1_000_000)
    }
}

/// A code for when the device is lost: 80 random bits, as four groups of four.
#[derive(Clone)]
pub(super) struct PaperCode(String);

impl PaperCode {
    pub(super) fn new() -> Self {
        Self(base32(&rand::random::<[u8; 10]>()))
    }

    /// Reads what somebody typed: case, spaces and hyphens do not matter. `None` if it cannot be one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let kept = text.chars().filter(|c| !matches!(c, '-' | ' '));
        let text: String = kept.take(17).collect();
        (text.len() == 16).then(|| Self(text.to_ascii_uppercase()))
    }

    pub(super) fn reveal(&self) -> String {
        let (text, mut shown) = (&self.0, String::new());
        for (number, letter) in text.chars().enumerate() {
            if number > 0 && number % 4 == 0 {
                shown.push('-');
            }
            shown.push(letter);
        }
        shown
    }

    /// What is stored. Nobody guesses 80 bits, so a fast hash is enough.
    pub(super) fn hash(&self, user: Id) -> Vec<u8> {
        let hash = Sha256::new()
            .chain_update(user.as_i64().to_be_bytes())
            .chain_update(&self.0);
        hash.finalize().to_vec()
    }
}

/// RFC 4648, section 6, without padding: `bytes` is a multiple of five long.
fn base32(bytes: &[u8]) -> String {
    let mut text = String::new();
    for five in bytes.chunks(5) {
        let bits = five
            .iter()
            .fold(0, |bits, byte| bits << 8 | u64::from(*byte));
        for place in (0..8).rev() {
            text.push(char::from(ALPHABET[(bits >> (5 * place)) as usize & 31]));
        }
    }
    text
}

/// RFC 3986, section 2.1: all but unreserved characters escaped.
fn percent(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => drop(write!(escaped, "%{byte:02X}")),
        }
    }
    escaped
}

/// Bytes of a secret: as long as the hash (RFC 4226, section 4).
const LENGTH: usize = 20;
/// Seconds of a step.
const PERIOD: i64 = 30;
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Secret {
        Secret(*b"12345678901234567890")
    }

    #[test]
    fn codes_follow_rfc_6238() {
        // Appendix B, the last six of its eight digits.
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(secret().code(seconds / 30), code);
        }
    }

    #[test]
    fn a_code_holds_for_a_step_to_either_side_and_after_the_last() {
        let (secret, now) = (secret(), Time::from_millis(1_000_000_000));
        let step = now.as_secs() / 30;
        for (of, expected) in [(-2, false), (-1, true), (0, true), (1, true), (2, false)] {
            let found = secret.step_of(&secret.code(step + of), 0, now);
            assert_eq!(found, expected.then_some(step + of), "{of}");
        }
        let code = secret.code(step);
        assert_eq!(secret.step_of(&code, step, now), None, "used");
        assert_eq!(secret.step_of(&code, step - 1, now), Some(step));
        for wrong in ["", "1", "00000a", &format!("{code}0"), &format!(" {code}")] {
            assert_eq!(secret.step_of(wrong, 0, now), None, "{wrong}");
        }
    }

    #[test]
    fn secrets_are_written_as_devices_read_them() {
        // RFC 4648, section 10.
        assert_eq!(base32(b"fooba"), "MZXW6YTB");
        let uri = secret().uri("Tide & Gate", "anna");
        assert_eq!(
            uri,
            "otpauth://totp/Tide%20%26%20Gate:anna?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
             &issuer=Tide%20%26%20Gate&algorithm=SHA1&digits=6&period=30"
        );
    }

    #[test]
    fn paper_codes_read_back_however_they_are_typed() {
        let (user, code) = ("1".parse().unwrap(), PaperCode::new());
        let shown = code.reveal();
        assert_eq!(shown.len(), 19);
        for typed in [
            &*shown,
            &shown.to_lowercase(),
            &shown.replace('-', ""),
            &shown.replace('-', " "),
        ] {
            let read = PaperCode::parse(typed).unwrap();
            assert_eq!(read.hash(user), code.hash(user));
        }
        assert_ne!(code.hash(user), code.hash("2".parse().unwrap()));
        for wrong in ["", "123456", &shown[1..], &format!("{shown}A")] {
            assert!(PaperCode::parse(wrong).is_none(), "{wrong}");
        }
    }
}
