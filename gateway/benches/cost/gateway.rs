//! The gateway with the policies that are measured.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use tidegate_gateway::{Gateway, RoleArgs};

/// An Ed25519 key for this benchmark only, in PKCS 8 (RFC 8410).
fn key() -> EncodingKey {
    let mut der = vec![48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];
    der.extend([7; 32]);
    EncodingKey::from_ed_der(&der)
}

fn public_pem() -> String {
    let jwk = Jwk::from_encoding_key(&key(), Algorithm::EdDSA).expect("the key is sound");
    let AlgorithmParameters::OctetKeyPair(parameters) = jwk.algorithm else {
        panic!("an Ed25519 key is an octet key pair");
    };
    let mut der = vec![48, 42, 48, 5, 6, 3, 43, 101, 112, 3, 33, 0];
    der.extend(
        URL_SAFE_NO_PAD
            .decode(parameters.x)
            .expect("a JWK is base64url"),
    );
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        STANDARD.encode(der)
    )
}

/// An access token that the gateway accepts.
pub(super) fn token() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let expires = now.expect("the clock is past 1970").as_secs() + 3600;
    let claims = serde_json::json!({
        "sub": "200229694490755072", "sid": "9b2f6a2c", "iss": "tidegate", "aud": "tidegate",
        "exp": expires,
    });
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some("bench".into());
    encode(&header, &claims, &key()).expect("the key is sound")
}

/// The folder of the gateway with this process id.
pub(super) fn folder(pid: u32) -> PathBuf {
    std::env::temp_dir().join(format!("tidegate-cost-{pid}"))
}

pub(super) fn serve(origin: &str) {
    let folder = folder(std::process::id());
    std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
    let config = folder.join("gateway.toml");
    std::fs::write(&config, configuration(origin)).expect("the temporary folder is writable");
    let ready = folder.join("ready.json");
    let args = RoleArgs {
        config,
        ready_file: Some(ready.clone()),
        ..RoleArgs::default()
    };
    std::thread::spawn(move || print_address(&ready));
    Gateway::default().main(&args);
}

fn configuration(origin: &str) -> String {
    format!(
        r#"
threads = 1
plugins = ["request_id", "access_log"]
admin = {{ address = "127.0.0.1:0" }}
listener = [{{ name = "http", address = "127.0.0.1:0" }}]
cluster.origin.endpoints = [{{ address = "{origin}" }}]

[plugin.request_id]
[plugin.access_log]
file = "access.log"
[plugin.limit]
kind = "rate_limit"
requests = 10_000_000
[plugin.token]
kind = "jwt"
issuer = "tidegate"
audience = "tidegate"
forward = {{ sub = "x-user-id" }}
keys = [{{ id = "bench", pem = """{}""" }}]

[[route]]
name = "me"
hosts = ["bench.example.com"]
path = "/v1/users/{{id}}"
methods = ["GET"]
cluster = "origin"
plugins = ["limit", "token"]
"#,
        public_pem()
    )
}

fn print_address(ready: &Path) {
    loop {
        if let Ok(text) = std::fs::read_to_string(ready) {
            let ready: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
            println!(
                "{}",
                ready["addresses"]["http"].as_str().expect("it is text")
            );
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
