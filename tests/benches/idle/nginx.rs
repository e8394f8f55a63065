//! nginx in front of the origin.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command};

use rustix::process::Signal;
use tempfile::TempDir;
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::process::send;

/// A running nginx.
pub(crate) struct Nginx {
    pub(crate) address: SocketAddr,
    pub(crate) process: Child,
    _folder: TempDir,
}

impl Nginx {
    /// Starts it and waits until it accepts.
    pub(crate) async fn start(origin: SocketAddr) -> Self {
        let folder = TempDir::new().expect("temporary folders can be made");
        let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|socket| socket.local_addr());
        let address = free.expect("a port is free");
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, configuration(address, origin)).expect("the folder is new");
        let process = Command::new("nginx")
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(&file)
            .spawn()
            .expect("nginx is installed (`make setup-tests`)");
        eventually("nginx accepts", SOON, async || {
            tokio::net::TcpStream::connect(address).await.ok()
        })
        .await;
        Self {
            address,
            process,
            _folder: folder,
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        send(self.process.id(), Signal::QUIT); // killing the master would leave the workers
        send(self.process.id(), Signal::TERM);
        let _ = self.process.wait();
    }
}

fn configuration(address: SocketAddr, origin: SocketAddr) -> String {
    format!(
        "daemon off;
user root;
worker_processes 2;
worker_rlimit_nofile 20000;
pid nginx.pid;
error_log stderr crit;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    upstream origin {{ server {origin}; keepalive 64; }}
    server {{
        listen {address};
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
        }}
    }}
}}
"
    )
}
