//! Mistakes in checks name the line and the column.

use super::plan;

const POLICY: &str = r#"
[[site]]
name = "fra"
[policy.api.private]
check = "web"
endpoints = [{ site = "fra", address = "192.0.2.1" }, { site = "fra", address = "192.0.2.2" }]
"#;

/// A check, where it is wrong, and what is said.
const WRONG: &[(&str, &str, &str)] = &[
    ("", "1:8", "what does the check `web` ask?"),
    (
        "tcp = { port = 1 }\nhttp = {}",
        "1:8",
        "what does the check `web` ask?",
    ),
    ("tcp = { port = 0 }", "2:16", "a port is from 1 to 65535"),
    (
        "http = { path = \"healthz\" }",
        "2:17",
        "a path begins with `/` and has no spaces",
    ),
    (
        "http = { path = \"/a b\" }",
        "2:17",
        "a path begins with `/` and has no spaces",
    ),
    (
        "http = { host = \"a\\r\\nb: c\" }",
        "2:17",
        "not a host name",
    ),
    (
        "http = { status = [99] }",
        "2:20",
        "a status is from 200 to 599",
    ),
    (
        "http = { tls = { server_name = \"a b\" } }",
        "2:32",
        "not a host name",
    ),
    (
        "http = { tls = { server_name = \"a\", ca = \"none.pem\" } }",
        "2:42",
        "cannot read",
    ),
    ("dns = { name = \"a..b\" }", "2:16", "not a domain name"),
    ("dns = { name = \"a\", type = \"ANY\" }", "2:28", "unknown"),
    (
        "tcp = { port = 1 }\ninterval = \"5ms\"",
        "3:12",
        "must be at least 10ms",
    ),
    (
        "tcp = { port = 1 }\ntimeout = \"0s\"",
        "3:11",
        "must be more than nothing",
    ),
    (
        "tcp = { port = 1 }\nrise = 0",
        "3:8",
        "must be from 1 to 1000",
    ),
    (
        "tcp = { port = 1 }\nfall = 1001",
        "3:8",
        "must be from 1 to 1000",
    ),
    ("tcp = { port = 1 }\nstart = \"good\"", "3:9", "unknown"),
    (
        "tcp = { port = 1 }\nraise = 2",
        "3:1",
        "unknown key `raise` (did you mean `rise`?)",
    ),
];

#[test]
fn what_cannot_be_meant_is_refused() {
    let lines_before = POLICY.lines().count();
    for (text, place, message) in WRONG {
        let folder = tempfile::tempdir().unwrap();
        let report = plan(folder.path(), &format!("{POLICY}[check.web]\n{text}\n")).unwrap_err();
        let told: Vec<String> = report.lines().collect();
        assert_eq!(told.len(), 1, "{told:?}");
        let (line, column) = place.split_once(':').unwrap();
        let line: usize = line.parse().unwrap();
        let expected = format!("dns.toml:{}:{column}: ", line + lines_before);
        assert!(told[0].contains(&expected), "{text}: {told:?}");
        assert!(told[0].contains(message), "{text}: {told:?}");
    }
}

#[test]
fn a_check_that_there_is_not_is_told_once_for_a_pool() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("{POLICY}[check.wep]\ntcp = {{ port = 80 }}\n");
    let report = plan(folder.path(), &text).unwrap_err();
    let told: Vec<String> = report.lines().collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].ends_with("dns.toml:5:9: there is no check `web` (did you mean `wep`?)"),
        "{told:?}"
    );
}

#[test]
fn a_check_that_does_not_know_where_to_ask_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for check in ["tcp = {}", "udp = { send = \"ping\" }"] {
        let report = plan(folder.path(), &format!("{POLICY}[check.web]\n{check}\n")).unwrap_err();
        let told: Vec<String> = report.lines().collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].contains("does not say which port to ask"),
            "{told:?}"
        );
    }
}
