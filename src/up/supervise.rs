//! Keeps the roles running, and stops them together.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::UpError;
use super::addresses::Addresses;
use super::child::{Role, terminate};
use super::data::{DataServers, ENVIRONMENT};
use super::folder::Folder;

/// What keeps a role running, and how to tell it to stop.
type Keeper = (watch::Sender<bool>, JoinHandle<()>);

/// How long roles may drain after a stop.
const STOP: Duration = Duration::from_secs(40);
/// A role that ran so long is restarted at once.
const STEADY: Duration = Duration::from_secs(10);

pub(super) async fn run(
    folder: &Folder,
    addresses: &Addresses,
    data: Option<&mut DataServers>,
    ready_file: Option<&Path>,
    began: Instant,
) -> Result<(), UpError> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let start = async {
        let mut keepers = Vec::new();
        // In this order: the gateway asks the user services for their keys.
        let users = match &data {
            Some(data) => {
                let role = Role::new("users", "users-servers", 36, folder, addresses);
                role.environment(data.environment())
            }
            None => Role::new("users", "users", 36, folder, addresses),
        };
        for role in [
            users,
            Role::new("gateway", "gateway", 35, folder, addresses),
            Role::new("l4", "l4", 34, folder, addresses),
            // Last: names lead to what serves.
            Role::new("dns", "dns", 33, folder, addresses),
        ] {
            let name = role.name;
            let mut child = role.start()?;
            if !role.ready(&mut child).await {
                let _ = child.kill().await;
                tokio::time::sleep(Duration::from_millis(50)).await; // its last words
                return Err(UpError::Child(name));
            }
            let (stop, stopping) = watch::channel(false);
            keepers.push((stop, tokio::spawn(keep(role, child, stopping))));
        }
        Ok::<Vec<Keeper>, UpError>(keepers)
    };
    let keepers = tokio::select! {
        keepers = start => keepers?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminated.recv() => return Ok(()),
    };
    announce(folder, addresses, data.as_deref(), began.elapsed());
    if let Some(path) = ready_file {
        write_ready_file(path, addresses)?;
    }
    tokio::select! {
        () = keep_servers(data) => {}
        _ = interrupt.recv() => {}
        _ = terminated.recv() => {}
    }
    println!("\nstopping; once more to stop at once");
    let all_ended = async {
        // The balancer before the gateway, and that before the services: it still needs them for what is in flight.
        for (stop, keeper) in keepers.into_iter().rev() {
            stop.send_replace(true);
            let _ = keeper.await;
        }
    };
    tokio::select! {
        () = all_ended => {}
        _ = interrupt.recv() => {}
        _ = terminated.recv() => {}
    }
    println!("stopped; the data stays in {}", folder.root().display());
    Ok(())
}

/// Never ends.
async fn keep_servers(data: Option<&mut DataServers>) {
    match data {
        Some(data) => data.keep().await,
        None => std::future::pending().await,
    }
}

/// Restarts a role whenever it ends, until it is to stop.
async fn keep(role: Role, mut child: Child, mut stopping: watch::Receiver<bool>) {
    let mut pause = Duration::ZERO;
    loop {
        let started = Instant::now();
        let ended = tokio::select! {
            ended = child.wait() => ended,
            () = told_to_stop(&mut stopping) => {
                terminate(&child);
                if tokio::time::timeout(STOP, child.wait()).await.is_err() {
                    let _ = child.kill().await;
                }
                return;
            }
        };
        let status = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
        pause = match started.elapsed() > STEADY {
            true => Duration::ZERO,
            false => (pause * 2).clamp(Duration::from_millis(100), Duration::from_secs(5)),
        };
        println!(
            "{:>7} | ended ({status}); starts again in {pause:?}",
            role.name
        );
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = told_to_stop(&mut stopping) => return,
            }
            match role.start() {
                Ok(again) => {
                    child = again;
                    break;
                }
                Err(error) => {
                    println!("{:>7} | cannot start: {error}", role.name);
                    pause = Duration::from_secs(5);
                }
            }
        }
    }
}

async fn told_to_stop(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

fn write_ready_file(path: &Path, addresses: &Addresses) -> Result<(), UpError> {
    let all = addresses
        .0
        .iter()
        .map(|one| (one.name, one.address.to_string()));
    let all: std::collections::BTreeMap<_, _> = all.collect();
    let body = serde_json::json!({ "role": "up", "pid": std::process::id(), "addresses": all });
    let unfinished = path.with_extension("tmp");
    let write = || {
        std::fs::write(&unfinished, format!("{body}\n"))?;
        std::fs::rename(&unfinished, path)
    };
    write().map_err(|error| UpError::File(path.display().to_string(), error))
}

/// Says what runs where, and what to try.
fn announce(folder: &Folder, addresses: &Addresses, data: Option<&DataServers>, took: Duration) {
    let http = addresses.of("l4 http");
    let https = addresses.of("l4 https");
    let admin = addresses.of("gateway admin");
    let dns = addresses.of("dns");
    let mut text = format!("\nTidegate is up after {:.1} s.\n\n", took.as_secs_f64());
    for address in &addresses.0 {
        text += &format!("  {:<14} {}\n", address.name, address.address);
    }
    for (name, port, what) in data.iter().flat_map(|data| data.places()) {
        text += &format!("  {name:<14} 127.0.0.1:{port} ({what})\n");
    }
    let cert = folder.path("tls/cert.pem");
    let status = data.map_or_else(String::new, |_| status_command(folder));
    text += &format!(
        r#"  {:<14} {}

Try:

  curl -s http://{http}/v1/register -H 'content-type: application/json' \
    -d '{{"username":"ada","email":"ada@example.com","password":"correct horse battery"}}'

  TOKEN=$(curl -s http://{http}/v1/login -H 'content-type: application/json' \
    -d '{{"username":"ada","password":"correct horse battery"}}' | sed 's/.*"access_token":"\([^"]*\)".*/\1/')

  curl -s http://{http}/v1/me -H "authorization: Bearer $TOKEN"

  curl -s --cacert {} https://localhost:{}/v1/me -H "authorization: Bearer $TOKEN"

  dig @{} -p {} api.tidegate.test

  curl -s http://{admin}/metrics
{status}
Ctrl-C stops everything.

"#,
        "files",
        folder.root().display(),
        cert.display(),
        https.port(),
        dns.ip(),
        dns.port(),
    );
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// How to ask how the servers do, as a line to paste.
fn status_command(folder: &Folder) -> String {
    let program = std::env::current_exe();
    let program = program.map_or("tidegate".to_owned(), |path| path.display().to_string());
    format!(
        "\n  (set -a; . '{}'; '{program}' store status -c '{}')\n",
        folder.path(ENVIRONMENT).display(),
        folder.path("conf/users-servers.toml").display()
    )
}
