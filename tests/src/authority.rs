//! An authority that makes certificates, for servers and for clients.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_RSA_SHA256, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use tempfile::TempDir;

use crate::tokens::unix_now;

/// An authority with a folder. `ca.pem` and `ca.key` in it are its own.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate to be made.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// DNS names.
    pub names: &'a [&'a str],
    /// The common name.
    pub common_name: &'a str,
    /// One URI, if it is not empty.
    pub uri: &'a str,
    /// The serial number.
    pub serial: u64,
    /// Days from now until it expires; negative when it has.
    pub days: i64,
    /// Seconds more.
    pub seconds: u64,
    /// An RSA key in place of one on P-256.
    pub rsa: bool,
}

impl Default for Order<'_> {
    fn default() -> Self {
        Self {
            names: &[],
            common_name: "x",
            uri: "",
            serial: 7,
            days: 90,
            seconds: 0,
            rsa: false,
        }
    }
}

impl Authority {
    /// A new one of this name.
    ///
    /// # Panics
    /// When its files cannot be written.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a key can sign");
        let this = Self {
            folder: TempDir::new().expect("temporary folders can be made"),
            issuer,
        };
        this.write("ca.pem", this.issuer.pem());
        this.write("ca.key", this.issuer.key().serialize_pem());
        this
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file of its folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into its folder, at one stroke.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let next = self.file(&format!(".{name}.next"));
        fs::write(&next, content).expect("the folder can be written");
        fs::rename(&next, self.file(name)).expect("a file can replace a file");
    }

    /// Makes a certificate for servers: `NAME.pem` with the key `NAME.key`.
    pub fn server(&self, name: &str, names: &[&str]) {
        self.make(
            name,
            Order {
                names,
                ..Order::default()
            },
        );
    }

    /// Makes a certificate: `NAME.pem` with the key `NAME.key`.
    ///
    /// # Panics
    /// When the order cannot be met.
    pub fn make(&self, name: &str, order: Order<'_>) {
        let names: Vec<String> = order.names.iter().map(|&name| name.into()).collect();
        let mut params = CertificateParams::new(names).expect("these are names");
        params
            .distinguished_name
            .push(DnType::CommonName, order.common_name);
        params.serial_number = Some(SerialNumber::from(order.serial));
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        if !order.uri.is_empty() {
            let uri = Ia5String::try_from(order.uri).expect("a URI is ASCII");
            params.subject_alt_names.push(SanType::URI(uri));
        }
        let day = Duration::from_secs(24 * 60 * 60);
        let now = date_time_ymd(1970, 1, 1) + Duration::from_secs(unix_now());
        params.not_before = now - 90 * day;
        let days = day * u32::try_from(order.days.unsigned_abs()).expect("not that many days");
        params.not_after = match order.days < 0 {
            true => now - days,
            false => now + days + Duration::from_secs(order.seconds),
        };
        let key = match order.rsa {
            true => rsa_key(),
            false => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("P-256 is known"),
        };
        let signed = params
            .signed_by(&key, &self.issuer)
            .expect("the authority can sign");
        self.write(&format!("{name}.key"), key.serialize_pem());
        self.write(&format!("{name}.pem"), signed.pem());
    }

    /// Makes a revocation list that holds for long, in PEM.
    pub fn revoke(&self, file: &str, serials: &[u64]) {
        self.revoke_until(file, serials, 2124);
    }

    /// Makes a revocation list that holds until a year begins, in PEM.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn revoke_until(&self, file: &str, serials: &[u64], year: i32) {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let signed = list
            .signed_by(&self.issuer)
            .expect("the authority can sign");
        self.write(file, signed.pem().expect("it has a text"));
    }

    /// Makes an OCSP response that says that the certificate `NAME.pem` is good.
    ///
    /// # Panics
    /// When openssl does not make it.
    pub fn ocsp(&self, name: &str, file: &str) {
        self.write("index", "V\t491231000000Z\t\t07\tunknown\t/CN=x\n");
        let args = format!(
            "ocsp -index index -CA ca.pem -rsigner ca.pem -rkey ca.key -issuer ca.pem -cert {name}.pem -ndays 3 -respout {file}"
        );
        openssl(self.folder(), &args);
    }
}

/// Writes one of everything that a configuration with TLS can name, as the documentation does.
///
/// # Panics
/// When the folder cannot be written.
pub fn write_all(folder: &Path) {
    let authority = Authority::new("authority");
    authority.server("api", &["api.example.com"]);
    authority.server("wild", &["*.example.com"]);
    authority.ocsp("api", "api.ocsp");
    authority.revoke("robots.crl", &[1]);
    authority.write("tickets.new", [1; 48]);
    authority.write("tickets.old", [2; 48]);
    authority.write("robots.pem", authority.issuer.pem());
    let files = fs::read_dir(authority.folder()).expect("the folder is there");
    for file in files.flatten() {
        fs::copy(file.path(), folder.join(file.file_name())).expect("the folder can be written");
    }
}

/// Runs openssl.
fn openssl(folder: &Path, args: &str) -> Vec<u8> {
    let output = Command::new("openssl")
        .args(args.split_whitespace())
        .current_dir(folder)
        .output()
        .expect("openssl is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    output.stdout
}

/// From openssl: rcgen makes none on ring.
fn rsa_key() -> KeyPair {
    let make = "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048";
    let pem = openssl(Path::new("."), make);
    let pem = String::from_utf8(pem).expect("PEM is ASCII");
    KeyPair::from_pem_and_sign_algo(&pem, &PKCS_RSA_SHA256).expect("it is an RSA key")
}
