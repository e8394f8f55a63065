//! A real nginx, with a configuration of the test's own.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use crate::eventually::{SOON, eventually};

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
    folder: TempDir,
}

impl Nginx {
    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts one whose `http` block holds this, with `ADDRESS` for where it is to listen and
    /// `FOLDER` for its folder, in which `prepare` may put files.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    pub async fn start(http: &str, prepare: impl FnOnce(&Path)) -> Self {
        let folder = TempDir::new().expect("temporary folders can be made");
        prepare(folder.path());
        let here = folder.path().display().to_string();
        let address = free_address();
        let http = http
            .replace("ADDRESS", &address.to_string())
            .replace("FOLDER", &here);
        let configuration = format!(
            "daemon off;\nerror_log {here}/error.log info;\npid {here}/pid;\nevents {{}}\n\
             http {{ access_log {here}/access.log;\nclient_body_temp_path {here}/body;\n{http}\n}}\n"
        );
        fs::write(folder.path().join("nginx.conf"), configuration).expect("the folder is new");
        let child = Command::new("nginx")
            .args(["-p", &here, "-c", "nginx.conf", "-e", "error.log"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is installed: make setup-tests");
        let mut nginx = Self {
            address,
            child,
            folder,
        };
        eventually("nginx listens", SOON, async || {
            if let Ok(Some(status)) = nginx.child.try_wait() {
                panic!("nginx ended with {status}: {}", nginx.errors());
            }
            TcpStream::connect(address).ok()
        })
        .await;
        nginx
    }

    /// What it complains about.
    pub fn errors(&self) -> String {
        fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- nginx\n{}", self.errors());
        }
        crate::process::send(self.child.id(), rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

/// An address that was free a moment ago, and that nobody gets who takes any port.
///
/// # Panics
/// When no port is free.
pub fn free_address() -> SocketAddr {
    // Linux gives out ports from 32768 on. Each test process begins somewhere else below that.
    static FIRST: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let ports = std::iter::repeat_with(|| {
        let next = FIRST.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        10_000 + u16::try_from(next % 22_000).expect("it is less than 22,000")
    });
    let mut addresses = ports
        .take(22_000)
        .map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let free = addresses.find(|address| TcpListener::bind(address).is_ok());
    free.expect("a port is free")
}
