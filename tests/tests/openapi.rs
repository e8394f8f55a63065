//! The OpenAPI document of the user services, judged by a validator and by a client that a generator makes of it.

use std::fs;

use tempfile::TempDir;
use tidegate_tests::gateway::address;
use tidegate_tests::process::Process;
use tidegate_tests::script;

const CONFIGURATION: &str = r#"admin = { address = "127.0.0.1:0" }
listen = { address = "127.0.0.1:0" }
data = { dir = "data" }
hash = { memory = "8KiB", iterations = 1 }
recovery = { spool = "spool" }
bootstrap = { username = "root", email = "root@example.org", password = "correct horse battery" }
"#;

#[tokio::test]
async fn a_generated_client_can_do_everything() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("users.toml");
    fs::write(&file, CONFIGURATION).unwrap();
    let mut process = Process::start(&["users".into(), "-c".into(), file.into()], &[]);
    let url = format!("http://{}", address(&process.ready().await, "http"));
    let generated = folder.path().join("generated");
    fs::create_dir(&generated).unwrap();
    let spool = folder.path().join("spool");
    let args = [&url, generated.to_str().unwrap(), spool.to_str().unwrap()];
    script::run_packaged("generated_client.py", &args).await;
}
