mod algorithms;

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::unix_seconds;
use crate::testing::{Bench, Seen, build, mistake};

/// An Ed25519 key of a seed of our own, in PKCS 8 (RFC 8410).
fn private(key: usize) -> EncodingKey {
    let mut der = vec![48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];
    der.extend([u8::try_from(key).unwrap() + 1; 32]);
    EncodingKey::from_ed_der(&der)
}

fn jwk(key: usize) -> Jwk {
    let mut jwk = Jwk::from_encoding_key(&private(key), Algorithm::EdDSA).unwrap();
    jwk.common.key_id = Some(format!("k{key}"));
    jwk
}

/// The public half in PEM (RFC 8410).
fn public_pem(key: usize) -> String {
    let AlgorithmParameters::OctetKeyPair(parameters) = jwk(key).algorithm else {
        panic!("an Ed25519 key is an octet key pair");
    };
    let mut der = vec![48, 42, 48, 5, 6, 3, 43, 101, 112, 3, 33, 0];
    der.extend(URL_SAFE_NO_PAD.decode(parameters.x).unwrap());
    let body = STANDARD.encode(der);
    format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
}

fn table() -> String {
    format!(
        "issuer = \"me\"\naudience = \"you\"\nforward = {{ sub = \"x-user-id\" }}\n\
         [[keys]]\nid = \"k0\"\npem = \"\"\"{}\"\"\"",
        public_pem(0)
    )
}

fn now() -> u64 {
    unix_seconds(SystemTime::now())
}

fn good_claims() -> Value {
    json!({ "sub": "42", "iss": "me", "aud": "you", "exp": now() + 60, "role": "admin" })
}

fn sign(key: usize, claims: &Value) -> String {
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some(format!("k{key}"));
    encode(&header, claims, &private(key)).unwrap()
}

fn call(bench: &mut Bench, token: &str) -> Result<Seen, Seen> {
    let authorization = format!("Bearer {token}");
    bench.send(
        "GET",
        "/",
        &[("authorization", &authorization), ("x-user-id", "0")],
    )
}

#[test]
fn a_valid_token_passes_and_tells_the_upstream_who_it_is() {
    let mut bench = Bench::new("jwt", &table());
    let token = sign(0, &good_claims());
    for _ in 0..2 {
        let forwarded = call(&mut bench, &token).unwrap();
        assert_eq!(forwarded.header("x-user-id").unwrap(), "42");
        let identity = bench.exchange.identity.clone().unwrap();
        assert_eq!(identity.subject, "42");
        assert_eq!(identity.claims["role"], "admin");
    }
}

#[test]
fn a_claim_that_is_absent_is_not_the_clients_to_make_up() {
    let forward = "forward = { role = \"x-role\", sub = \"x-user-id\", team = \"x-user-id\" }";
    let table = table().replace("forward = { sub = \"x-user-id\" }", forward);
    let mut bench = Bench::new("jwt", &table);
    let mut claims = good_claims();
    claims.as_object_mut().unwrap().remove("role");
    let authorization = format!("Bearer {}", sign(0, &claims));
    for _ in 0..2 {
        let forwarded = bench.get(
            "/",
            &[("authorization", &authorization), ("x-role", "root")],
        );
        assert_eq!(forwarded.header("x-role"), None);
        assert_eq!(forwarded.header("x-user-id"), Some("42"));
    }
}

#[test]
fn tokens_that_must_be_refused() {
    let mut bench = Bench::new("jwt", &table());
    let with = |key: &str, value: Value| {
        let mut claims = good_claims();
        claims[key] = value;
        sign(0, &claims)
    };
    let without = |key: &str| {
        let mut claims = good_claims();
        claims.as_object_mut().unwrap().remove(key);
        sign(0, &claims)
    };
    let good = sign(0, &good_claims());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let payload = signed.split_once('.').unwrap().1;
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    let changed = format!("{signed}.{other}{}", &signature[1..]);
    // {"alg":"none","typ":"JWT"}
    let none = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{payload}.");
    let mut hmac = Header::new(Algorithm::HS256);
    hmac.kid = Some("k0".into());
    let public_as_secret = EncodingKey::from_secret(public_pem(0).as_bytes());
    let cases = [
        ("expired", with("exp", json!(now() - 1)), "has expired"),
        ("not yet", with("nbf", json!(now() + 100)), "not valid"),
        ("issuer", with("iss", json!("other")), "not valid"),
        ("audience", with("aud", json!("other")), "not valid"),
        ("no expiry", without("exp"), "not valid"),
        ("no issuer", without("iss"), "not valid"),
        ("no audience", without("aud"), "not valid"),
        ("unknown key", sign(1, &good_claims()), "not valid"),
        ("none", none, "not valid"),
        (
            "hmac",
            encode(&hmac, &good_claims(), &public_as_secret).unwrap(),
            "not valid",
        ),
        ("no signature", format!("{signed}."), "not valid"),
        ("changed", changed, "not valid"),
        ("garbage", "a.b.c".into(), "not valid"),
        ("long", "x".repeat(9000), "not valid"),
    ];
    for (name, token, detail) in cases {
        let reply = call(&mut bench, &token).expect_err(name);
        assert_eq!(reply.status, 401, "{name}");
        assert!(reply.body.contains(detail), "{name}: {}", reply.body);
        let challenge = reply.header("www-authenticate").unwrap();
        assert_eq!(challenge, "Bearer error=\"invalid_token\"", "{name}");
    }
    let missing = bench.send("GET", "/", &[]).unwrap_err();
    assert_eq!(missing.header("www-authenticate"), Some("Bearer"));
    let basic = bench
        .send("GET", "/", &[("authorization", "Basic eDp5")])
        .unwrap_err();
    assert_eq!(basic.status, 401);
    let twice = [
        ("authorization", &*format!("Bearer {good}")),
        ("authorization", "Bearer x"),
    ];
    assert_eq!(bench.send("GET", "/", &twice).unwrap_err().status, 401);
}

#[test]
fn a_remembered_token_expires_too() {
    let mut bench = Bench::new("jwt", &table());
    let mut claims = good_claims();
    claims["exp"] = json!(now() + 2);
    let token = sign(0, &claims);
    assert!(call(&mut bench, &token).is_ok());
    std::thread::sleep(std::time::Duration::from_millis(2100));
    assert_eq!(call(&mut bench, &token).unwrap_err().status, 401);
}

#[test]
fn an_optional_token_may_be_absent_but_not_wrong() {
    let mut bench = Bench::new("jwt", &format!("optional = true\n{}", table()));
    let forwarded = bench.get("/", &[("x-user-id", "0")]);
    assert_eq!(
        forwarded.header("x-user-id"),
        None,
        "a client must not speak for us"
    );
    assert!(call(&mut bench, "a.b.c").is_err());
}

#[test]
fn tables_that_must_be_refused() {
    assert_eq!(
        mistake("jwt", "issuer = \"me\""),
        "needs either `jwks` or `keys`"
    );
    assert_eq!(
        mistake("jwt", "jwks = \"ftp://x\""),
        "not an http or https URL"
    );
    let found = mistake("jwt", "[[keys]]\nid = \"a\"\npem = \"x\"");
    assert_eq!(found, "not a public key in PEM");
}

/// Serves a key set with the first `keys()` keys, one request a connection.
async fn key_server(keys: impl Fn() -> usize + Send + 'static) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 2048];
            let _ = stream.read(&mut buffer).await;
            let set: Vec<Jwk> = (0..keys()).map(jwk).collect();
            let body = json!({ "keys": set }).to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_without_a_reload() {
    static KEYS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(1);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = key_server(|| KEYS.load(std::sync::atomic::Ordering::SeqCst)).await;
    let table = format!("jwks = \"{url}\"\nissuer = \"me\"\naudience = \"you\"");
    let plugin = build(&super::REGISTRATION, &table, None).unwrap();
    tokio::task::spawn_blocking(move || {
        let mut bench = Bench::of(plugin.clone());
        let (first, second) = (sign(0, &good_claims()), sign(1, &good_claims()));
        assert!(
            call(&mut bench, &first).is_ok(),
            "the first request waits for the keys"
        );
        KEYS.store(2, std::sync::atomic::Ordering::SeqCst);
        std::thread::sleep(std::time::Duration::from_millis(1100));
        assert!(
            call(&mut bench, &second).is_ok(),
            "an unknown key is looked up"
        );
        assert!(call(&mut bench, &first).is_ok());
        let kept = build(&super::REGISTRATION, &table, Some(&plugin)).unwrap();
        assert!(
            call(&mut Bench::of(kept), &second).is_ok(),
            "a reload keeps the keys"
        );
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_server_the_fault_is_ours() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let table = "jwks = \"http://127.0.0.1:1/\"";
    let plugin = build(&super::REGISTRATION, table, None).unwrap();
    let reply = tokio::task::spawn_blocking(move || {
        call(&mut Bench::of(plugin), &sign(0, &good_claims())).unwrap_err()
    });
    assert_eq!(reply.await.unwrap().status, 503);
}
