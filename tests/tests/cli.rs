//! The commands and the manual: what they promise is true.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tidegate_tests::authority;
use tidegate_tests::binary::{repository, run};
use tidegate_tests::tokens::write_certificate;

fn said(args: &[&str]) -> String {
    let output = run(&repository(), args);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {error}");
    String::from_utf8(output.stdout).expect("it speaks UTF-8")
}

#[test]
fn what_a_role_cannot_start_with_is_named() {
    let home = tempfile::tempdir().unwrap();
    let conf = "admin = { address = '127.0.0.1:0' }\nlisten = { address = '127.0.0.1:0' }\n[data]\ndir = 'data'";
    std::fs::write(home.path().join("users.toml"), conf).unwrap();
    let users = ["users", "-c", "users.toml"];
    for (more, named) in [
        (["--ready-file", "none/ready"], "none/ready"),
        (
            ["--service", "accounts"],
            "users.toml: there is no table `[services]`",
        ),
    ] {
        let output = run(home.path(), &[&users[..], &more].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(named), "{named} is not in\n{error}");
    }
}

#[test]
fn a_database_that_takes_no_connection_says_why() {
    let home = tempfile::tempdir().unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let conf = format!(
        "admin = {{ address = '127.0.0.1:0' }}\nlisten = {{ address = '127.0.0.1:0' }}\n[data]\nuser = 'u'\n\
         acquire_timeout = '300ms'\nshard = [{{ primary = '{address}/users' }}]"
    );
    std::fs::write(home.path().join("users.toml"), conf).unwrap();
    for command in [&["users"][..], &["store", "status"]] {
        let output = run(home.path(), &[command, &["-c", "users.toml"]].concat());
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("Connection refused"), "{command:?}: {said}");
    }
}

#[test]
fn every_subcommand_explains_its_options() {
    let role = ["--config", "--ready-file"];
    let commands: [(&str, &[&str]); 7] = [
        (
            "up",
            &["--dir", "--ports", "auto", "--ready-file", "TIDEGATE_USERS"],
        ),
        ("gateway", &role),
        ("l4", &["--config", "--ready-file", "explain", "flush"]),
        ("dns", &role),
        ("users", &role),
        ("check", &["--role", "<FILES>"]),
        (
            "schema",
            &[
                "--format", "markdown", "json", "gateway", "l4", "dns", "users",
            ],
        ),
    ];
    let overview = said(&["--help"]);
    for (command, options) in commands {
        assert!(overview.contains(&format!("\n  {command} ")), "{overview}");
        let help = said(&[command, "--help"]);
        for option in options {
            assert!(help.contains(option), "{option} is not in\n{help}");
        }
    }
    assert_eq!(
        said(&["--version"]),
        format!("tidegate {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn mistakes_on_the_command_line_are_told() {
    for (args, expected) in [
        (&["gatway"][..], "gateway"),
        (&["gateway"], "--config"),
        (&["up", "--prots", "auto"], "--ports"),
        (&["schema", "l5"], "gateway"),
    ] {
        let output = run(&repository(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn schemas_are_json_schema_with_a_description_of_every_key() {
    for role in ["gateway", "l4", "dns", "users"] {
        let schema: Value = serde_json::from_str(&said(&["schema", role])).unwrap();
        let dialect = schema["$schema"].as_str().unwrap();
        assert!(dialect.contains("json-schema.org"), "{dialect}");
        assert_eq!(schema["additionalProperties"], false);
        let definitions = schema["$defs"].as_object().unwrap();
        for (name, table) in definitions.iter().chain([(&role.to_owned(), &schema)]) {
            for (key, value) in table["properties"].as_object().into_iter().flatten() {
                assert!(
                    value["description"].is_string(),
                    "{name}.{key} is not described"
                );
            }
        }
    }
}

#[test]
fn the_manual_is_what_the_binary_says() {
    for role in ["gateway", "l4", "dns", "users"] {
        let path = repository().join(format!("docs/reference/{role}.md"));
        let manual = fs::read_to_string(&path).unwrap_or_default();
        let current = said(&["schema", role, "--format", "markdown"]);
        assert!(
            manual == current,
            "{} is out of date: run `make reference`",
            path.display()
        );
    }
}

#[test]
fn every_configuration_in_the_documentation_is_sound() {
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str| home.path().join(name);
    fs::create_dir(file("tls")).unwrap();
    write_certificate(&file("tls/cert.pem"), &file("tls/key.pem"));
    authority::write_all(&file("tls"));
    fs::create_dir(file("secrets")).unwrap();
    for secret in [
        "secrets/db",
        "secrets/redis",
        "secrets/root",
        "secrets/services",
    ] {
        fs::write(file(secret), "hidden well enough").unwrap();
    }
    let key = "c2VjcmV0IG9mIHRoaXJ0eS10d28gb2N0ZXRzLCBvciBzbw==\n";
    fs::write(file("secrets/ns2"), key).unwrap();
    let webhook = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";
    fs::write(file("secrets/webhook"), webhook).unwrap();
    write_maps(&file("maps"));
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for (role, block) in blocks(&text) {
            let name = format!("{role}.toml");
            // The folders of an installed server's sockets and states.
            let here = home.path().display().to_string();
            let block = block.replace("/run/tidegate", &here);
            let block = block.replace("/var/lib/tidegate", &here);
            fs::write(file(&name), &block).unwrap();
            let output = run(home.path(), &["check", "--role", role, &name]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success(),
                "in {}:\n{block}\n{said}",
                page.display()
            );
        }
    }
}

/// The maps of clients that docs/dns-policies.md names: the list that it shows, and databases.
fn write_maps(folder: &Path) {
    fs::create_dir(folder).expect("it is not there yet");
    let page = repository().join("docs/dns-policies.md");
    let page = fs::read_to_string(page).expect("it is a page of the manual");
    let after = page.split_once("```text\n   # the offices");
    let after = after.expect("the list is on the page").1;
    let offices = after.split_once("```").expect("the list ends").0;
    fs::write(folder.join("offices.map"), format!("#{offices}")).expect("it can be written");
    let places = repository().join("tests/geo/places.mmdb");
    for name in ["GeoLite2-ASN.mmdb", "GeoLite2-City.mmdb"] {
        fs::copy(&places, folder.join(name)).expect("it can be copied");
    }
}

/// `README.md` and the pages below `docs`.
fn pages() -> Vec<PathBuf> {
    let is_page = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    let below = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .filter(is_page)
            .collect::<Vec<_>>()
    };
    [below(&repository()), below(&repository().join("docs"))].concat()
}

/// The fenced blocks, each with the role whose file it is, as its first line says.
fn blocks(text: &str) -> Vec<(&'static str, String)> {
    let fenced = text.split("```toml\n").skip(1);
    let whole = fenced.filter_map(|rest| rest.split_once("\n```"));
    whole
        .map(|(block, _)| {
            let is_of = |role: &&str| block.starts_with(&format!("# {role}.toml"));
            let role = ["gateway", "l4", "dns", "users"].into_iter().find(is_of);
            let role = role.unwrap_or_else(|| panic!("whose file is it?\n{block}"));
            (role, block.to_owned())
        })
        .collect()
}

#[test]
fn blocks_are_found() {
    let page = "x\n```toml\n# gateway.toml\na = 1\n```\n```toml\n# users.toml: y\nc = 3\n```\n";
    let expected = [
        ("gateway", "# gateway.toml\na = 1".to_owned()),
        ("users", "# users.toml: y\nc = 3".to_owned()),
    ];
    assert_eq!(blocks(page), expected);
}

#[test]
fn a_pipe_among_the_files_of_a_configuration_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let pipe = home.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let sound = "admin = { address = '127.0.0.1:0' }\n[[listener]]\nname = 'in'\naddress = '127.0.0.1:0'\ncluster = 'up'\n\
                 [cluster.up]\nendpoints = [{ address = '127.0.0.1:9' }]\n";
    let pair = "include = ['pipe']\n";
    let state = "[health]\nstate = 'pipe'\n";
    let tls = "[[listener]]\nname = 'tls'\naddress = '127.0.0.1:0'\ncluster = 'up'\n\
               tls = { certificate = 'pipe', key = 'pipe' }\n";
    for text in [
        format!("{pair}{sound}"),
        format!("{sound}{state}"),
        format!("{sound}{tls}"),
    ] {
        std::fs::write(home.path().join("l4.toml"), &text).unwrap();
        let output = run(home.path(), &["check", "l4.toml"]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("is no regular file"), "{text}{error}");
    }
    let log = "[connection_log]\nfile = 'pipe'\n";
    std::fs::write(home.path().join("l4.toml"), format!("{sound}{log}")).unwrap();
    let output = run(home.path(), &["l4", "-c", "l4.toml"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("nobody reads"), "{error}");
    let output = run(home.path(), &["check", "pipe"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("is no regular file"), "{error}");
}

/// What is said of a balancer that leads to this endpoint.
fn judged(home: &Path, endpoint: &str, more: &str) -> String {
    let text = format!(
        "admin = {{ address = '127.0.0.1:0' }}\n{more}\n[[listener]]\nname = 'in'\naddress = '0.0.0.0:7000'\n\
         cluster = 'up'\n[cluster.up]\nendpoints = [{{ address = '{endpoint}' }}]\n"
    );
    std::fs::write(home.join("some.toml"), text).expect("the folder is ours");
    let output = run(home, &["check", "some.toml"]);
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn listeners_may_lead_to_each_other_but_not_in_a_circle() {
    let home = tempfile::tempdir().unwrap();
    for (last, said) in [
        ("127.0.0.1:9", "a sound configuration of l4"),
        (
            "127.0.0.1:7000",
            "this is the listener `next` of this balancer itself",
        ),
    ] {
        let more = format!(
            "cluster.last = {{ endpoints = [{{ address = '{last}' }}] }}\n\
             [[listener]]\nname = 'next'\naddress = '127.0.0.1:7001'\ncluster = 'last'"
        );
        let text = judged(home.path(), "127.0.0.1:7001", &more);
        assert!(text.contains(said), "{text}");
    }
}

#[test]
fn a_balancer_without_a_telling_name_is_known_and_its_mistakes_are_told() {
    let home = tempfile::tempdir().unwrap();
    let check = |endpoint: &str, more: &str| judged(home.path(), endpoint, more);
    let sound = check("127.0.0.1:9", "");
    assert!(sound.contains("a sound configuration of l4"), "{sound}");
    std::fs::create_dir(home.path().join("folder")).unwrap();
    std::fs::write(home.path().join("file"), "").unwrap();
    for (endpoint, more, mistake) in [
        (
            "127.0.0.1:7000",
            "",
            "this is the listener `in` of this balancer itself",
        ),
        (
            "127.0.0.7:7000",
            "",
            "this is the listener `in` of this balancer itself",
        ),
        ("192.0.2.1:7000", "", "a sound configuration"),
        ("224.0.0.1:80", "", "nobody can be connected to"),
        ("255.255.255.255:80", "", "nobody can be connected to"),
        (
            "127.0.0.1:9",
            "connection_log = { file = 'none/log' }",
            "the folder none cannot be used",
        ),
        (
            "127.0.0.1:9",
            "connection_log = { file = 'folder' }",
            "this is a folder",
        ),
        (
            "127.0.0.1:9",
            "health = { state = 'none/state' }",
            "the folder none cannot be used",
        ),
        (
            "127.0.0.1:9",
            "handover = { socket = 'none/door' }",
            "the folder none cannot be used",
        ),
        (
            "127.0.0.1:9",
            "handover = { socket = 'file' }",
            "a file of another kind",
        ),
    ] {
        let said = check(endpoint, more);
        assert!(said.contains(mistake), "{endpoint} {more}: {said}");
    }
}
