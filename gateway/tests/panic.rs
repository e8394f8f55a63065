//! A plugin that panics costs one request, not the process.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_gateway::plugins::{
    Diagnostic, Flow, Later, Plugin, Registration, Request, Response, Setting,
};
use tidegate_gateway::{Gateway, RoleArgs};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {}

/// Panics where the path says.
struct Fragile;

impl Plugin for Fragile {
    fn request(&self, request: &mut Request<'_>) -> Flow {
        match request.head.path() {
            "/request" => panic!("as asked"),
            "/later" => Flow::Later,
            _ => Flow::Continue,
        }
    }

    fn request_later<'a>(&'a self, _: &'a mut Request<'_>) -> Later<'a> {
        Box::pin(async { panic!("as asked") })
    }

    fn response(&self, response: &mut Response<'_>) {
        assert_ne!(response.request.path(), "/response", "as asked");
    }

    fn finished(&self, finished: &tidegate_gateway::plugins::Finished<'_>) {
        assert_ne!(finished.request.path(), "/finished", "as asked");
    }
}

fn build(setting: &Setting<'_>) -> Result<Arc<dyn Plugin>, Diagnostic> {
    let Config {} = setting.config()?;
    Ok(Arc::new(Fragile))
}

/// A gateway in this process; its addresses by name.
fn start(folder: &std::path::Path) -> serde_json::Value {
    let config = folder.join("gateway.toml");
    let text = r#"
        threads = 1
        plugins = ["request_id", "fragile"]
        admin = { address = "127.0.0.1:0" }
        listener = [{ name = "http", address = "127.0.0.1:0" }]
        plugin = { request_id = {}, fragile = {} }
    "#;
    std::fs::write(&config, text).expect("the folder is writable");
    let ready = folder.join("ready.json");
    let args = RoleArgs {
        config,
        ready_file: Some(ready.clone()),
        ..RoleArgs::default()
    };
    let gateway = Gateway::builder()
        .plugin(Registration::new::<Config>("fragile", build))
        .build();
    std::thread::spawn(move || gateway.main(&args));
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Ok(text) = std::fs::read_to_string(&ready) {
            let ready: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
            return ready["addresses"].clone();
        }
        assert!(Instant::now() < deadline, "the gateway does not start");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn get(address: &serde_json::Value, path: &str) -> String {
    let mut stream = TcpStream::connect(address.as_str().expect("it is text")).expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

#[test]
fn a_panic_is_one_500_and_a_metric() {
    let folder = tempfile::tempdir().unwrap();
    let addresses = start(folder.path());
    let http = &addresses["http"];
    for path in ["/request", "/later", "/response"] {
        let answer = get(http, path);
        assert!(answer.starts_with("HTTP/1.1 500 "), "{path}: {answer}");
        assert!(
            answer.contains("urn:tidegate:problem:internal"),
            "{path}: {answer}"
        );
        assert!(answer.contains("\"request_id\":\""), "{path}: {answer}");
        assert!(
            !answer.contains("as asked"),
            "{path} tells internals: {answer}"
        );
        let sound = get(http, "/sound");
        assert!(sound.starts_with("HTTP/1.1 404 "), "after {path}: {sound}");
    }
    assert!(
        get(http, "/finished").starts_with("HTTP/1.1 404 "),
        "the answer was already sent"
    );
    let metrics = get(&addresses["admin"], "/metrics");
    let panics = "tidegate_plugin_panics_total{plugin=\"fragile\"} 4";
    assert!(metrics.contains(panics), "{metrics}");
}
