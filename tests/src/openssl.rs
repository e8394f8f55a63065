//! TLS clients of other makes: openssl and curl.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// What a command has said, standard output and standard error.
#[derive(Clone, Debug)]
pub struct Said {
    /// Everything.
    pub text: String,
    /// Whether it has succeeded.
    pub success: bool,
}

impl Said {
    fn of(output: &Output) -> Self {
        let parts = [&output.stdout, &output.stderr];
        let parts = parts.map(|part| String::from_utf8_lossy(part).into_owned());
        Self {
            text: parts.join("\n"),
            success: output.status.success(),
        }
    }

    /// Whether it has said this.
    pub fn has(&self, wanted: &str) -> bool {
        self.text.contains(wanted)
    }

    /// What it has said, if this is part of it.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn expect(self, wanted: &str) -> Self {
        assert!(self.has(wanted), "{wanted:?} is not in\n{}", self.text);
        self
    }
}

/// Asks for `/` with `openssl s_client`, with more of its arguments, and reads until the end.
///
/// # Panics
/// When openssl is not installed.
pub async fn s_client(address: SocketAddr, folder: &Path, args: &str) -> Said {
    let mut child = Command::new("openssl")
        .args(["s_client", "-ign_eof", "-connect", &address.to_string()])
        .args(args.split_whitespace())
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("openssl is installed");
    let mut stdin = child.stdin.take().expect("it is piped");
    let request = b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n";
    // It may have ended already.
    let _ = stdin.write_all(request).await;
    let output = child.wait_with_output().await.expect("it ends");
    drop(stdin);
    Said::of(&output)
}

/// Runs a program with these arguments to its end.
///
/// # Panics
/// When it is not installed.
pub async fn run(program: &str, folder: &Path, args: &str) -> Said {
    let mut command = Command::new(program);
    let command = command.args(args.split_whitespace()).current_dir(folder);
    let output = command.stdin(Stdio::null()).output().await;
    Said::of(&output.expect("the program is installed"))
}
