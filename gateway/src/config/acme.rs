//! Certificate authorities that issue over ACME, as they are written.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use chassis::config::{Located, Secret};
use chassis::units::Period;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A certificate authority that issues over ACME (RFC 8555), and our account there.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcmeConfig {
    /// URL of its directory. Let's Encrypt has
    /// `"https://acme-staging-v02.api.letsencrypt.org/directory"` to try things out.
    #[serde(default = "default_directory")]
    pub directory: Located<String>,
    /// Where it reaches the operator, such as `"mailto:ops@example.com"`. It is told when the account is made.
    #[serde(default)]
    pub contact: Vec<Located<String>>,
    /// Folder for the account, certificates and their keys; made when it is missing. Processes of one
    /// machine may share it. Whoever can read it can pass for the gateway.
    pub storage: Located<PathBuf>,
    /// That the operator agrees to the authority's terms of service: nothing is ordered otherwise.
    #[serde(default)]
    pub terms_agreed: Located<bool>,
    /// File with the certificates that the authority's own is verified with, in PEM, for private
    /// authorities; the system's when it is not set.
    #[serde(default)]
    pub root: Option<Located<PathBuf>>,
    /// How the authority makes sure that the names lead here.
    #[serde(default)]
    pub challenge: Located<Challenge>,
    /// How long before its end a certificate is renewed, and with half of its life left at the earliest; a third of
    /// its life when it is not set. Sooner if the authority asks for it (RFC 9773).
    #[serde(default)]
    pub renew_before: Option<Located<Period>>,
    /// The account that the operator has with the authority otherwise, if it asks for one.
    #[serde(default)]
    pub external_account: Option<ExternalAccountConfig>,
}

/// An account with the authority that was made otherwise (external account binding).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExternalAccountConfig {
    /// The identifier of its key.
    pub key_id: String,
    /// The key for HMAC, in base64url as the authority hands it out. Write `"${VARIABLE}"` or `"${file:PATH}"`.
    pub hmac_key: Located<Secret>,
}

/// How an authority makes sure that a name leads here.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum Challenge {
    /// By a TLS handshake with port 443 of the name (RFC 8737).
    #[default]
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// By a request to port 80 of the name, which a listener without TLS answers.
    #[serde(rename = "http-01")]
    Http01,
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Http01 => "http-01",
        })
    }
}

/// A certificate that an authority issues.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IssueConfig {
    /// The name of the authority, of a table `[acme.NAME]`.
    pub issuer: Located<String>,
    /// The names that it is made out to, at most 100. `*` is not possible.
    pub names: Located<Vec<Located<String>>>,
}

/// One table, or a list of them.
#[derive(Clone, Debug)]
pub struct OneOrMore<T>(pub Vec<T>);

impl<T> Default for OneOrMore<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMore<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tables<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Tables<T> {
            type Value = OneOrMore<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table or a list of tables")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let one = T::deserialize(MapAccessDeserializer::new(map))?;
                Ok(OneOrMore(vec![one]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(OneOrMore)
            }
        }
        deserializer.deserialize_any(Tables(std::marker::PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMore<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMore{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

fn default_directory() -> Located<String> {
    Located::nowhere(instant_acme::LetsEncrypt::Production.url().into())
}
