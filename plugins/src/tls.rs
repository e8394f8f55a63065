//! What a plugin can know of a client's TLS connection with the gateway.

use std::time::SystemTime;

/// A TLS connection that the gateway has agreed on with a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSession {
    /// The version: `"1.2"` or `"1.3"`.
    pub version: &'static str,
    /// The cipher suite by its IANA name, such as `"TLS_AES_128_GCM_SHA256"`.
    pub cipher: &'static str,
    /// The host name that the client asked for (SNI), in lower case; none when it named none.
    pub server_name: Option<Box<str>>,
    /// Whether an earlier session went on, with a ticket.
    pub resumed: bool,
    /// The client's certificate, which was verified; none when it has shown none.
    pub certificate: Option<ClientCertificate>,
}

/// A client's certificate, verified against the listener's `ca` and `crl` files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The subject's distinguished name, such as `"CN=robot 7,O=Example"` (RFC 4514).
    pub subject: String,
    /// The issuer's distinguished name.
    pub issuer: String,
    /// The serial number in hexadecimal, lower case, without separators.
    pub serial: String,
    /// Alternative names: DNS names.
    pub dns: Vec<String>,
    /// Alternative names: URIs, such as SPIFFE ids.
    pub uris: Vec<String>,
    /// Alternative names: e-mail addresses.
    pub emails: Vec<String>,
    /// SHA-256 of the whole certificate in hexadecimal, lower case, without separators.
    pub fingerprint: String,
    /// Until when it is valid.
    pub not_after: SystemTime,
    /// The certificate itself, in DER.
    pub der: Box<[u8]>,
}
