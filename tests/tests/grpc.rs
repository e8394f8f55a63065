//! gRPC and gRPC-Web, with the official implementation in C on both ends.

use std::fs;
use std::process::Command;

use tempfile::TempDir;
use tidegate_tests::gateway::Gateway;
use tidegate_tests::script::{self, Script};
use tidegate_tests::tokens::write_certificate;

/// A service, and a gateway in front of it that speaks with and without TLS.
async fn edge() -> (Script, Gateway, TempDir) {
    let service = Script::serve("grpc_echo.py", &["server"]);
    let folder = TempDir::new().expect("temporary folders can be made");
    let file = |name: &str| folder.path().join(name);
    write_certificate(&file("cert.pem"), &file("key.pem"));
    let configuration = format!(
        r#"admin = {{ address = "127.0.0.1:0" }}
[[listener]]
name = "http"
address = "127.0.0.1:0"
h2c = true
timeouts = {{ body_read = "300ms", tunnel = "10s" }} # calls are not bodies: they may pause
[[listener]]
name = "https"
address = "127.0.0.1:0"
tls = {{ certificate = "cert.pem", key = "key.pem" }}
[cluster.echo]
endpoints = [{{ address = "{}" }}]
protocol = "http2"
[[route]]
name = "echo"
path = "/echo.Echo/*"
cluster = "echo"
grpc_web = true
"#,
        service.address
    );
    fs::write(file("gateway.toml"), configuration).expect("the folder is new");
    let gateway = Gateway::of(&file("gateway.toml")).await;
    (service, gateway, folder)
}

#[tokio::test]
async fn calls_of_every_kind_go_through() {
    let (_service, gateway, _folder) = edge().await;
    let target = gateway.listener("http").to_string();
    script::run("grpc_echo.py", &["client", &target]).await;
}

#[tokio::test]
async fn calls_of_every_kind_go_through_tls() {
    let (_service, gateway, folder) = edge().await;
    let target = gateway.listener("https").to_string();
    let certificate = folder.path().join("cert.pem");
    let certificate = certificate.to_str().unwrap();
    script::run("grpc_echo.py", &["client", &target, certificate]).await;
}

/// Calls a method as a page would; the head of the answer, and its body.
async fn web(gateway: &Gateway, method: &str, kind: &str, more: &[&str]) -> (String, Vec<u8>) {
    let folder = TempDir::new().expect("temporary folders can be made");
    let (asked, head) = (folder.path().join("asked"), folder.path().join("head"));
    fs::write(&asked, b"\0\0\0\0\x05hello").expect("the folder is new");
    let mut curl = Command::new("curl");
    curl.args(["-s", "--noproxy", "*", "-D"]).arg(&head);
    curl.arg("-H").arg(format!("content-type: {kind}"));
    curl.arg("--data-binary")
        .arg(format!("@{}", asked.display()));
    curl.args(more);
    curl.arg(format!(
        "http://{}/echo.Echo/{method}",
        gateway.listener("http")
    ));
    let output = script::output(&mut curl).await;
    assert!(output.status.success(), "{output:?}");
    let head = fs::read_to_string(&head)
        .expect("curl has written it")
        .to_ascii_lowercase();
    (head, output.stdout)
}

/// The messages and the trailers in a body of gRPC-Web.
fn pieces(mut body: &[u8]) -> (Vec<Vec<u8>>, String) {
    let (mut messages, mut trailers) = (Vec::new(), String::new());
    while let Some((head, rest)) = body.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        match head[0] {
            0 => messages.push(rest[..length].to_vec()),
            0x80 => {
                trailers = String::from_utf8(rest[..length].to_vec()).expect("trailers are text")
            }
            other => panic!("a piece of kind {other}"),
        }
        body = &rest[length..];
    }
    (messages, trailers)
}

#[tokio::test]
async fn pages_can_call() {
    let (_service, gateway, _folder) = edge().await;
    for more in [&["--http1.1"][..], &["--http2-prior-knowledge"]] {
        let kind = "application/grpc-web+proto";
        let (head, body) = web(&gateway, "Unary", kind, more).await;
        assert!(head.contains("200"), "{head}");
        assert!(
            head.contains("content-type: application/grpc-web"),
            "{head}"
        );
        let (messages, trailers) = pieces(&body);
        assert_eq!(messages, [b"hello"]);
        assert!(trailers.contains("grpc-status:0\r\n"), "{trailers:?}");
        assert!(trailers.contains("x-trailer:t\r\n"), "{trailers:?}");

        let (head, body) = web(&gateway, "Fail", kind, more).await;
        let told = format!("{head}{}", pieces(&body).1).replace(": ", ":");
        assert!(told.contains("grpc-status:9\r\n"), "{told}");

        let (_, body) = web(&gateway, "FailLate", kind, more).await;
        let (messages, trailers) = pieces(&body);
        assert_eq!(messages, [b"one"]);
        assert!(trailers.contains("grpc-status:15\r\n"), "{trailers:?}");

        let (head, _) = web(&gateway, "Unary", "application/grpc-web-text", more).await;
        assert!(head.contains("415"), "{head}");
    }
}
