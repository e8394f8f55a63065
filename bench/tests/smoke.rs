//! The command as people type it, against a real nginx: what it writes, not how fast anything is.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// `TIDEGATE_BIN`, or what `cargo build` has put beside this test's folder.
fn tidegate() -> PathBuf {
    let beside = || Path::new(env!("CARGO_BIN_EXE_tidegate-bench")).with_file_name("tidegate");
    let path = std::env::var_os("TIDEGATE_BIN").map_or_else(beside, PathBuf::from);
    assert!(
        path.is_file(),
        "there is no {}: run cargo build first",
        path.display()
    );
    path
}

#[test]
fn plain_beside_nginx_writes_every_field() {
    let folder = tempfile::TempDir::new().expect("temporary folders can be made");
    let json = folder.path().join("rows.json");
    let report = folder.path().join("report");
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate-bench"))
        .args([
            "plain",
            "--peers",
            "nginx",
            "--seconds",
            "1",
            "--rounds",
            "1",
        ])
        .args(["--connections", "4"])
        .arg("--tidegate")
        .arg(tidegate())
        .arg("--json")
        .arg(&json)
        .arg("--report")
        .arg(&report)
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");

    let text = std::fs::read_to_string(json).expect("it was written");
    let json: Value = serde_json::from_str(&text).expect("it is JSON");
    let rows = json["rows"].as_array().expect("there are rows");
    let peers: Vec<_> = rows.iter().filter_map(|row| row["peer"].as_str()).collect();
    assert_eq!(peers, ["tidegate", "nginx"], "nginx is installed: {said}");
    for row in rows {
        assert_eq!(
            (&row["suite"], &row["case"]),
            (&"plain".into(), &"80 B".into())
        );
        for field in [
            "cpu_us_per_request",
            "cpu_ratio",
            "requests_per_second",
            "p50_us",
            "p99_us",
            "p999_us",
            "rss_bytes",
        ] {
            let value = row[field].as_f64();
            assert!(value.is_some_and(|value| value > 0.0), "{field} in {row}");
        }
        assert_eq!(row["errors"], 0, "{row}");
    }
    assert_eq!(rows[0]["cpu_ratio"], 1.0);
    assert!(
        json["programs"]["nginx"]
            .as_str()
            .is_some_and(|text| text.contains("nginx/"))
    );
    for file in ["report.json", "report.md", "plain.svg"] {
        assert!(report.join(file).is_file(), "{file}");
    }
}

#[test]
fn without_arguments_it_lists_the_suites() {
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate-bench")).output();
    let output = output.expect("the program starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("plain") && said.contains("tls"),
        "{said}"
    );
}

#[test]
fn an_unknown_peer_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate-bench"))
        .args(["plain", "--peers", "ngnix", "--tidegate"])
        .arg(tidegate())
        .output();
    let output = output.expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("ngnix"), "{said}");
}

#[test]
fn a_peer_that_ends_in_the_middle_loses_nothing_but_itself() {
    let folder = tempfile::TempDir::new().expect("temporary folders can be made");
    let nginx = folder.path().join("nginx");
    let text = "#!/bin/sh\nexec timeout -s TERM 1 /usr/sbin/nginx \"$@\"\n";
    std::fs::write(&nginx, text).expect("it can be written");
    std::fs::set_permissions(&nginx, Permissions::from_mode(0o755)).expect("it is ours");
    let path = std::env::var("PATH").expect("there is one");
    let report = folder.path().join("report");
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate-bench"))
        .args(["plain", "websocket", "--peers", "nginx,pingora"])
        .args(["--seconds", "0.5", "--rounds", "3", "--connections", "4"])
        .arg("--tidegate")
        .arg(tidegate())
        .arg("--report")
        .arg(&report)
        .env("PATH", format!("{}:{path}", folder.path().display()))
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("nginx in plain, 80 B"), "{said}");

    let text = std::fs::read_to_string(report.join("report.json")).expect("it was written");
    let json: Value = serde_json::from_str(&text).expect("it is JSON");
    let rows = json["rows"].as_array().expect("there are rows");
    let measured = rows.iter().filter_map(|row| {
        let (suite, peer) = (row["suite"].as_str()?, row["peer"].as_str()?);
        Some((suite, peer))
    });
    let measured: Vec<_> = measured.collect();
    let others = ["tidegate", "pingora"];
    let wanted = ["plain", "websocket"].map(|suite| others.map(|peer| (suite, peer)));
    assert_eq!(measured, wanted.concat(), "{said}");
    assert_eq!(json["failed"][0]["peer"], "nginx");
}

#[test]
fn user_services_are_measured_beside_their_parts() {
    let folder = tempfile::TempDir::new().expect("temporary folders can be made");
    let json = folder.path().join("rows.json");
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate-bench"))
        .args(["users", "--seconds", "0.5", "--rounds", "1"])
        .args(["--connections", "4", "--tidegate"])
        .arg(tidegate())
        .arg("--json")
        .arg(&json)
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");

    let text = std::fs::read_to_string(json).expect("it was written");
    let json: Value = serde_json::from_str(&text).expect("it is JSON");
    let rows = json["rows"].as_array().expect("there are rows");
    let names = rows.iter().map(|row| {
        assert_eq!(row["errors"], 0, "{row}");
        (row["case"].as_str(), row["peer"].as_str())
    });
    let wanted = [
        "cached profile",
        "cached profile, through the gateway",
        "uncached profile",
        "batch of 100",
        "login",
        "refresh",
        "register",
    ];
    let peers = ["tidegate", "parts"];
    let wanted = wanted.map(|case| peers.map(|peer| (Some(case), Some(peer))));
    assert_eq!(names.collect::<Vec<_>>(), wanted.concat(), "{said}");
}

#[test]
fn without_redis_user_services_are_left_out_and_it_is_named() {
    let folder = tempfile::TempDir::new().expect("temporary folders can be made");
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate-bench"))
        .args(["users", "--tidegate"])
        .arg(tidegate())
        .env("PATH", folder.path())
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("apt-get install redis-server"), "{said}");
}

#[test]
fn dns_is_measured_beside_other_servers() {
    let all = ["tidegate", "nsd", "knot", "gdnsd"];
    // Every peer has answered a query as it is meant to, or it would not be there.
    for (case, peers) in [
        ("9 % not there", &all[..]),
        ("geo by ECS", &["tidegate", "knot", "gdnsd"]),
    ] {
        let folder = tempfile::TempDir::new().expect("temporary folders can be made");
        let json = folder.path().join("rows.json");
        let output = Command::new(env!("CARGO_BIN_EXE_tidegate-bench"))
            .args(["dns", "--case", case, "--seconds", "1", "--rounds", "1"])
            .arg("--tidegate")
            .arg(tidegate())
            .arg("--json")
            .arg(&json)
            .output()
            .expect("the program starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");

        let text = std::fs::read_to_string(json).expect("it was written");
        let json: Value = serde_json::from_str(&text).expect("it is JSON");
        let rows = json["rows"].as_array().expect("there are rows");
        let measured: Vec<_> = rows.iter().filter_map(|row| row["peer"].as_str()).collect();
        assert_eq!(measured, peers, "{said}");
        for row in rows {
            assert_eq!(row["case"], case);
            for field in ["cpu_us_per_request", "cpu_ratio", "requests_per_second"] {
                let value = row[field].as_f64();
                assert!(value.is_some_and(|value| value > 0.0), "{field} in {row}");
            }
            // dnsperf does not tell percentiles, and nobody makes them up.
            assert!(row["p50_us"].is_null() && row["p999_us"].is_null(), "{row}");
        }
    }
}
