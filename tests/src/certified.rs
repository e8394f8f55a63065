//! A certificate authority, and gateways that have certificates from it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::eventually::eventually;
use crate::gateway::Gateway;
use crate::openssl::{Said, s_client};
use crate::pebble::Pebble;

/// An order takes a second; on a busy machine, longer.
pub const AN_ORDER: Duration = Duration::from_secs(30);

/// An authority, and a folder for gateways that have certificates from it.
#[derive(Debug)]
pub struct Site {
    /// The folder of configurations and of what is stored.
    pub folder: TempDir,
    /// The authority.
    pub pebble: Pebble,
}

impl Site {
    /// Starts the authority with these settings.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(settings: &Value) -> Self {
        let folder = TempDir::new().expect("temporary folders can be made");
        let pebble = Pebble::start(settings).await;
        Self { folder, pebble }
    }

    /// A configuration with listeners where Pebble asks, and these keys for TLS.
    pub fn configuration(&self, authority: &str, tls: &str) -> String {
        let Pebble {
            http, tls: https, ..
        } = self.pebble;
        format!(
            r#"
threads = 2
admin = {{ address = "127.0.0.1:0" }}
listener = [
  {{ name = "http", address = "{http}" }},
  {{ name = "https", address = "{https}", tls = {{ {tls} }} }},
]

[acme.pebble]
directory = "{}"
contact = ["mailto:ops@a.test"]
storage = "acme"
terms_agreed = true
root = "{}"
{authority}
"#,
            self.pebble.directory(),
            self.pebble.certificate().display(),
        )
    }

    /// Writes that configuration to a file.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, authority: &str, tls: &str) -> PathBuf {
        let file = self.folder.path().join("gateway.toml");
        fs::write(&file, self.configuration(authority, tls)).expect("files can be written");
        file
    }

    /// Starts a gateway with that configuration.
    pub async fn gateway(&self, authority: &str, tls: &str) -> Gateway {
        Gateway::of(&self.write(authority, tls)).await
    }

    /// The certificate that a client gets for a name, if it was issued below the authority's root.
    pub async fn trusted(&self, name: &str) -> Option<String> {
        let said = self.ask(name).await;
        let sound = said.has("Verify return code: 0 (ok)");
        sound.then(|| leaf(&said)).flatten()
    }

    /// Waits for a certificate for a name.
    ///
    /// # Panics
    /// When there is none in time.
    pub async fn issued(&self, name: &str) -> String {
        fs::write(
            self.folder.path().join("root.pem"),
            self.pebble.root().await,
        )
        .expect("files can be written");
        eventually(&format!("a certificate for {name}"), AN_ORDER, async || {
            self.trusted(name).await
        })
        .await
    }

    async fn ask(&self, name: &str) -> Said {
        let args = format!("-servername {name} -verify_hostname {name} -CAfile root.pem");
        s_client(self.pebble.tls, self.folder.path(), &args).await
    }

    /// Where gateways keep what they got.
    pub fn storage(&self) -> PathBuf {
        self.folder.path().join("acme")
    }
}

/// Keys for TLS: one certificate for `a.test`.
pub const A_TEST: &str = r#"acme = { issuer = "pebble", names = ["a.test"] }"#;
/// A key for the authority: it asks over HTTP.
pub const HTTP: &str = r#"challenge = "http-01""#;

/// The certificate that `openssl s_client` shows.
pub fn leaf(said: &Said) -> Option<String> {
    let from = said.text.find("-----BEGIN CERTIFICATE-----")?;
    let to = said.text.find("-----END CERTIFICATE-----")?;
    Some(said.text[from..to].to_owned())
}

/// How many orders of a gateway ended like this.
pub async fn orders(gateway: &Gateway, outcome: &str) -> f64 {
    let labels = format!("{{issuer=\"pebble\",outcome=\"{outcome}\"}}");
    let metric = format!("tidegate_gateway_acme_orders_total{labels}");
    gateway.admin.metric(&metric).await.unwrap_or(0.0)
}

/// Everything in a folder and in the folders below.
///
/// # Panics
/// When it is not there.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("it is there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        }
        found.push(path);
    }
    found
}
