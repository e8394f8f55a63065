//! A real nginx, with a configuration of the test's own.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

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

/// An address that was free a moment ago.
///
/// # Panics
/// When no port is free.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    listener.local_addr().expect("it is bound")
}
