//! Two balancers with keepalived beside each (`conf/examples/l4-pair`): one dies, the other goes on.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidegate_tests::binary::{self, repository};
use tidegate_tests::byte_peers::Server;
use tidegate_tests::lab::{Host, Lab};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

const VIP: &str = "10.9.0.200";

/// A machine with a balancer and a keepalived. Both end with it.
struct Machine<'a> {
    host: &'a Host,
    folder: TempDir,
    balancer: Child,
    keepalived: Child,
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        // It ends its own children, and gives the address away.
        let id = self.keepalived.id().to_string();
        let _ = std::process::Command::new("kill").arg(&id).status();
        let _ = self.keepalived.wait();
        let _ = self.balancer.kill();
        let _ = self.balancer.wait();
        if thread::panicking() {
            for log in ["keepalived.log", "l4.log"] {
                let text = fs::read_to_string(self.folder.path().join(log));
                eprintln!(
                    "--- {} {log}\n{}",
                    self.host.name(),
                    text.unwrap_or_default()
                );
            }
        }
    }
}

/// A file of the example, at the addresses of the laboratory.
fn example(name: &str) -> String {
    let path = repository().join("conf/examples/l4-pair").join(name);
    let text = fs::read_to_string(path).expect("the example is there");
    text.replace("192.0.2.1", VIP).replace("10.0.0.", "10.9.0.")
}

impl<'a> Machine<'a> {
    fn start(host: &'a Host, name: &str, priority: u8) -> Self {
        host.run("sysctl -q -w net.ipv4.ip_nonlocal_bind=1");
        let folder = TempDir::new().expect("temporary folders can be made");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("the folder is new");
            path
        };
        let l4 = write("l4.toml", &example("l4.toml"));
        let pair = example("keepalived.conf");
        let pair = pair.replace("balancer-a", name);
        let pair = pair.replace("priority 150", &format!("priority {priority}"));
        let pair = write("keepalived.conf", &pair);
        let balancer = {
            let mut command = host.command(&binary::path().display().to_string());
            let log = fs::File::create(folder.path().join("l4.log")).expect("the folder is new");
            command.arg("l4").arg("-c").arg(l4).stderr(log);
            command.stdout(Stdio::null()).spawn().expect("it starts")
        };
        let file = |name: &str| folder.path().join(name);
        let keepalived = {
            let mut command = host.command("keepalived");
            let log = fs::File::create(file("keepalived.log")).expect("the folder is new");
            let own: [(&str, PathBuf); 3] = [
                ("-f", pair),
                ("-p", file("keepalived.pid")),
                ("-r", file("vrrp.pid")),
            ];
            command.args(["-n", "-l", "-P"]);
            for (key, path) in own {
                command.arg(key).arg(path);
            }
            let other = log.try_clone().expect("there are descriptors");
            command.stdout(log).stderr(other);
            command
                .spawn()
                .expect("keepalived is installed: see CONTRIBUTING.md")
        };
        Self {
            host,
            folder,
            balancer,
            keepalived,
        }
    }

    fn has_vip(&self) -> bool {
        let addresses = self.host.run("ip -o address show dev eth0");
        addresses.contains(&format!("{VIP}/"))
    }

    /// The endpoint that the balancer of this machine says it chooses.
    fn chooses(&self, client: SocketAddr) -> SocketAddr {
        let program = binary::path().display().to_string();
        let mut command = self.host.command(&program);
        command.args(["l4", "explain", "-c"]);
        command.arg(self.folder.path().join("l4.toml"));
        command.args(["--admin", "http://127.0.0.1:9904", "--from"]);
        let output = command.arg(client.to_string()).output();
        let output = output.expect("it starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut lines = said.lines();
        let line = lines.find_map(|line| line.strip_prefix("endpoint  "));
        let line =
            line.unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)));
        let address = line.split(',').next().expect("a line has a beginning");
        address.parse().unwrap_or_else(|_| panic!("{said}"))
    }
}

/// Who answers a connection from this port of the client.
fn who(client: &Host, port: u16) -> io::Result<String> {
    let own = SocketAddr::new(client.address(), port);
    client.on(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let asking = async {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            socket.bind(own)?;
            let vip = format!("{VIP}:443").parse().expect("it is an address");
            let mut stream = socket.connect(vip).await?;
            stream.write_all(b"who\n").await?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await?;
            let name = text.split_whitespace().next();
            name.map(str::to_owned)
                .ok_or(io::ErrorKind::UnexpectedEof.into())
        };
        let patience = Duration::from_millis(200);
        runtime.block_on(async { tokio::time::timeout(patience, asking).await })?
    })
}

fn until(what: &str, within: Duration, mut is: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < within, "not within {within:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
    began.elapsed()
}

#[test]
fn when_one_balancer_is_killed_the_other_takes_its_address_and_chooses_alike() {
    let lab = Lab::segment(3);
    let partner = lab.plug("p", 3);
    for (endpoint, name) in lab.endpoints().iter().zip(["e1", "e2", "e3"]) {
        Server::start(endpoint, name, SocketAddr::new(endpoint.address(), 443));
    }
    let mut first = Machine::start(lab.balancer(), "balancer-a", 150);
    let second = Machine::start(&partner, "balancer-b", 100);
    until("the first has the address", Duration::from_secs(20), || {
        first.has_vip() && !second.has_vip()
    });
    let client = lab.client();
    let ports = 40_001..40_013u16;
    let mut before = Vec::new();
    for port in ports.clone() {
        let own = SocketAddr::new(client.address(), port);
        let chosen = first.chooses(own);
        assert_eq!(second.chooses(own), chosen, "both choose alike");
        let name = who(client, port).expect("the first serves");
        let at = lab.endpoints().iter().zip(["e1", "e2", "e3"]);
        let mut at = at.filter(|(host, _)| host.address() == chosen.ip());
        assert_eq!(at.next().map(|(_, name)| name), Some(&*name), "as it said");
        before.push(name);
    }
    first.balancer.kill().expect("it runs");
    let mut port = 41_000;
    let took = until("connections go on", Duration::from_secs(2), || {
        port += 1;
        who(client, port).is_ok()
    });
    assert!(second.has_vip() && !first.has_vip(), "after {took:?}");
    // Other ports of the client for the same hashes there are not: the same ports, once more.
    let after: Vec<_> = ports
        .map(|port| who(client, port).expect("the second serves"))
        .collect();
    assert_eq!(after, before);
}
