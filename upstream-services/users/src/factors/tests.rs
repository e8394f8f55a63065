//! What a device does, for tests.

use super::*;

/// The bytes of a secret in base32.
pub(crate) fn bytes(secret: &str) -> Vec<u8> {
    let mut bits = 0u64;
    let mut count = 0;
    let mut bytes = Vec::new();
    for letter in secret.bytes() {
        let five = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'2'..=b'7' => letter - b'2' + 26,
            _ => panic!("{secret} is not base32"),
        };
        bits = bits << 5 | u64::from(five);
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

/// The code so many steps from now.
pub(crate) fn code(secret: &str, steps: i64) -> String {
    let secret = Secret::from_bytes(&bytes(secret)).unwrap();
    secret.code(Time::now().as_secs().div_euclid(30) + steps)
}
