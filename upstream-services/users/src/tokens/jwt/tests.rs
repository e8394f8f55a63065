//! Which tokens are refused.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

const ACCESS: fn() -> Access = || Access {
    user: "12".parse().unwrap(),
    session: "34".parse().unwrap(),
};

fn issuer(dir: &TempDir) -> Issuer {
    let mut config = Config::default();
    config.data.dir = dir.path().to_owned();
    Issuer::open(&config, Time::now()).unwrap()
}

/// A token with any header and claims, signed with the issuer's own key.
fn forge(issuer: &Issuer, alter: impl Fn(&mut Value)) -> String {
    let keys = issuer.keys.load();
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some(keys.kid.clone());
    let now = Time::now().as_secs();
    let mut claims = json!({
        "iss": "tidegate", "aud": "tidegate", "sub": "12", "sid": "34",
        "iat": now, "nbf": now, "exp": now + 60, "jti": "j",
    });
    alter(&mut claims);
    jsonwebtoken::encode(&header, &claims, &keys.signing).unwrap()
}

#[test]
fn a_token_names_its_user_and_session() {
    let dir = TempDir::new().unwrap();
    let issuer = issuer(&dir);
    let token = issuer.issue(ACCESS(), Role::User, Time::now()).unwrap();
    assert_eq!(issuer.verify(&token), Some(ACCESS()));
    assert_eq!(issuer.verify(&forge(&issuer, |_| {})), Some(ACCESS()));
}

#[test]
fn every_claim_is_checked() {
    let dir = TempDir::new().unwrap();
    let issuer = issuer(&dir);
    let now = Time::now().as_secs();
    for (claim, value) in [
        ("iss", json!("other")),
        ("aud", json!("other")),
        ("exp", json!(now - 5)),
        ("nbf", json!(now + 60)),
        ("iat", json!(now + 60)),
        ("sub", json!(12)),
        ("sid", json!("x")),
    ] {
        let wrong = forge(&issuer, |claims| claims[claim] = value.clone());
        assert_eq!(issuer.verify(&wrong), None, "{claim} = {value}");
        let missing = forge(&issuer, |claims| {
            claims.as_object_mut().unwrap().remove(claim);
        });
        assert_eq!(issuer.verify(&missing), None, "no {claim}");
    }
}

#[test]
fn an_old_token_is_refused() {
    let dir = TempDir::new().unwrap();
    let issuer = issuer(&dir);
    let then = Time::now().minus(Duration::from_secs(3600));
    assert_eq!(
        issuer.verify(&issuer.issue(ACCESS(), Role::User, then).unwrap()),
        None
    );
}

#[test]
fn a_token_of_a_clock_that_is_ahead_is_taken_and_an_expired_one_is_not() {
    let dir = TempDir::new().unwrap();
    let issuer = issuer(&dir);
    let ahead = Time::now().plus(Duration::from_secs(25));
    let token = issuer.issue(ACCESS(), Role::User, ahead).unwrap();
    assert_eq!(issuer.verify(&token), Some(ACCESS()));
    let now = Time::now().as_secs();
    let expired = forge(&issuer, |claims| claims["exp"] = json!(now - 3));
    assert_eq!(issuer.verify(&expired), None);
}

#[test]
fn extensions_that_have_to_be_understood_are_refused() {
    let dir = TempDir::new().unwrap();
    let issuer = issuer(&dir);
    let token = issuer.issue(ACCESS(), Role::User, Time::now()).unwrap();
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap());
    let claims: Value = serde_json::from_slice(&claims.unwrap()).unwrap();
    let keys = issuer.keys.load();
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some(keys.kid.clone());
    let plain = jsonwebtoken::encode(&header, &claims, &keys.signing).unwrap();
    assert_eq!(issuer.verify(&plain), Some(ACCESS()));
    header.crit = Some(vec!["b64".to_owned()]);
    let critical = jsonwebtoken::encode(&header, &claims, &keys.signing).unwrap();
    assert_eq!(issuer.verify(&critical), None);
}

#[test]
fn other_algorithms_are_refused() {
    let dir = TempDir::new().unwrap();
    let issuer = issuer(&dir);
    let token = issuer.issue(ACCESS(), Role::User, Time::now()).unwrap();
    let payload = token.split('.').nth(1).unwrap();
    let kid = issuer.keys.load().kid.clone();

    let none = URL_SAFE_NO_PAD.encode(json!({ "alg": "none", "kid": kid }).to_string());
    assert_eq!(issuer.verify(&format!("{none}.{payload}.")), None);

    // The public key is no secret: as an HMAC key it must be worth nothing.
    let jwks: Value = serde_json::from_str(&issuer.jwks()).unwrap();
    let public = URL_SAFE_NO_PAD
        .decode(jwks["keys"][0]["x"].as_str().unwrap())
        .unwrap();
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(kid);
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    let hmac = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&public)).unwrap();
    assert_eq!(issuer.verify(&hmac), None);
}

#[test]
fn a_changed_or_foreign_token_is_refused() {
    let (dir, other_dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (issuer, other) = (issuer(&dir), issuer(&other_dir));
    let token = issuer.issue(ACCESS(), Role::User, Time::now()).unwrap();
    assert_eq!(other.verify(&token), None);
    let parts: Vec<_> = token.split('.').collect();
    let claims = json!({ "sub": "13" }).to_string();
    let changed = format!(
        "{}.{}.{}",
        parts[0],
        URL_SAFE_NO_PAD.encode(claims),
        parts[2]
    );
    for wrong in ["", "a.b.c", &token[..token.len() - 4], &changed] {
        assert_eq!(issuer.verify(wrong), None, "{wrong}");
    }
}

#[test]
fn another_process_s_new_key_is_found() {
    let dir = TempDir::new().unwrap();
    let (one, two) = (issuer(&dir), issuer(&dir));
    let other_dir = TempDir::new().unwrap();
    issuer(&other_dir);
    let keys = std::fs::read_dir(other_dir.path().join("keys")).unwrap();
    let key = keys.last().unwrap().unwrap().path();
    std::fs::copy(key, dir.path().join("keys/99990101T000000Z-00000000.pem")).unwrap();
    two.reload().unwrap();
    let token = two.issue(ACCESS(), Role::User, Time::now()).unwrap();
    assert_eq!(one.verify(&token), None, "looked less than ten seconds ago");
    one.read_at.store(0, Ordering::Relaxed);
    assert_eq!(one.verify(&token), Some(ACCESS()));
}
