//! Every algorithm that the configuration allows, with its key in PEM and as a JWK.

use std::time::Duration;

use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};

use super::super::keys::Keys;
use super::super::token::Checks;
use super::{call, good_claims};
use crate::testing::{Bench, mistake};

const P256: &[u8] = include_bytes!("p256.private.pem");
const P384: &[u8] = include_bytes!("p384.private.pem");
const RSA: &[u8] = include_bytes!("rsa.private.pem");

fn with_pem(pem: &str) -> String {
    format!("[[keys]]\nid = \"k\"\npem = \"\"\"{pem}\"\"\"")
}

fn check(algorithm: Algorithm, private: &EncodingKey, public: &str) {
    let mut header = Header::new(algorithm);
    header.kid = Some("k".into());
    let token = encode(&header, &good_claims(), private).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    let changed = format!("{signed}.{other}{}", &signature[1..]);

    let mut bench = Bench::new("jwt", &with_pem(public));
    assert!(call(&mut bench, &token).is_ok(), "{algorithm:?}");
    assert!(call(&mut bench, &changed).is_err(), "{algorithm:?}");

    let mut jwk = Jwk::from_encoding_key(private, algorithm).unwrap();
    jwk.common.key_id = Some("k".into());
    let keys = Keys::from_jwks(&JwkSet { keys: vec![jwk] });
    let checks = Checks::new(None, None, Duration::ZERO);
    assert!(
        checks.verify(token.as_bytes(), &keys).is_ok(),
        "{algorithm:?}"
    );
    assert!(
        checks.verify(changed.as_bytes(), &keys).is_err(),
        "{algorithm:?}"
    );
}

#[test]
fn elliptic_curves() {
    let p256 = EncodingKey::from_ec_pem(P256).unwrap();
    check(Algorithm::ES256, &p256, include_str!("p256.public.pem"));
    // A point may be written compressed (RFC 5480, section 2.2).
    let compressed = include_str!("p256.compressed.pem");
    check(Algorithm::ES256, &p256, compressed);
    let p384 = EncodingKey::from_ec_pem(P384).unwrap();
    check(Algorithm::ES384, &p384, include_str!("p384.public.pem"));
    check(Algorithm::EdDSA, &super::private(0), &super::public_pem(0));
}

#[test]
fn rsa() {
    let private = EncodingKey::from_rsa_pem(RSA).unwrap();
    for algorithm in [
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
    ] {
        check(algorithm, &private, include_str!("rsa.public.pem"));
    }
}

#[test]
fn an_rsa_key_of_1024_bits_is_refused() {
    let short = "-----BEGIN PUBLIC KEY-----\n\
        MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC//xffrYpm6v5HTejk4MAoAXKq\n\
        4PmeU1LrVBQYq2wKAdqPbHPZTZP/UiyxNVOxXxc76wgB38LIzfANHijnDa1ZgwsD\n\
        bIfTPAAH0H7AsUaohSmLkoyJIzHX636qMOCQUW316UlqbjWm6wDLPved8BhA2jwD\n\
        5j4PdwtuQbDHIYhSLwIDAQAB\n-----END PUBLIC KEY-----\n";
    let found = mistake("jwt", &with_pem(short));
    assert_eq!(found, "an RSA key must have 2048 to 8192 bits");
}
