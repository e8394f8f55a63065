//! `tidegate check`: each mistake is told with its place and what to do.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use tidegate_tests::binary::{repository, run};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("broken")
}

fn files(extension: &str) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(folder()).expect("the folder is part of this crate");
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension() == Some(OsStr::new(extension)))
        .collect()
}

/// What `check` says about a file of the folder; it must refuse it.
fn complaint(file: &Path) -> String {
    let name = file.file_name().expect("it is a file");
    let output = run(&folder(), &[OsStr::new("check"), name]);
    assert_eq!(output.status.code(), Some(1), "{}", file.display());
    assert!(
        output.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    String::from_utf8(output.stderr).expect("it speaks UTF-8")
}

#[test]
fn every_broken_file_is_refused_in_the_words_that_stand_beside_it() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let files = files("toml");
    assert!(files.len() >= 40, "{}", files.len());
    let mut differences = Vec::new();
    for file in files {
        let golden = file.with_extension("stderr");
        let said = complaint(&file);
        if update {
            fs::write(&golden, said).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != said {
            differences.push(format!("{}:\n{said}", golden.display()));
        }
    }
    assert!(
        differences.is_empty(),
        "not as in these files; if it is better now, set UPDATE_GOLDEN=1\n{}",
        differences.join("\n")
    );
}

#[test]
fn every_complaint_says_where_and_shows_the_line() {
    for file in files("toml") {
        let said = complaint(&file);
        let place = said
            .split('[')
            .nth(1)
            .and_then(|rest| rest.split(']').next());
        let place = place.unwrap_or_else(|| panic!("no place in {said}"));
        let [name, line, column] = *place.split(':').collect::<Vec<_>>() else {
            panic!("{place} is not file:line:column in\n{said}");
        };
        let text = fs::read_to_string(folder().join(name)).unwrap();
        let line: usize = line.parse().unwrap();
        let shown = text.lines().nth(line - 1).unwrap();
        assert!(
            said.lines().any(|drawn| shows(drawn, shown)),
            "line {line} of {name} is not shown in\n{said}"
        );
        assert!(column.parse::<usize>().unwrap() <= shown.len() + 1);
    }
}

/// Whether a drawn line ends with a line of a file, of which secrets are asterisks.
fn shows(drawn: &str, line: &str) -> bool {
    let Some((_, drawn)) = drawn.split_once("│ ") else {
        return false;
    };
    let mut pairs = drawn.bytes().zip(line.bytes());
    drawn.len() == line.len() && pairs.all(|(one, other)| one == other || one == b'*')
}

#[test]
fn no_complaint_shows_a_secret() {
    for (file, secret) in [
        ("users-secret-beside-a-mistake.toml", "not to be shown"),
        ("users-secret-that-is-no-text.toml", "8151234"),
        ("users-open-admin.toml", "\"short\""),
        ("acme-bad-binding.toml", "no key!"),
    ] {
        let said = complaint(&folder().join(file));
        assert!(!said.contains(secret), "{said}");
    }
}

#[test]
fn a_complaint_points_at_what_is_wrong_and_at_nothing_else() {
    let said = complaint(&folder().join("users-value-that-does-not-work.toml"));
    assert!(
        said.contains("work.toml:9:15]"),
        "not at `refresh_ttl`:\n{said}"
    );
}

#[test]
fn no_complaint_speaks_of_a_place_that_is_none() {
    for file in files("toml") {
        let said = complaint(&file);
        assert!(!said.contains("(default)"), "{said}");
    }
}

#[test]
fn no_golden_file_is_left_over() {
    let of_toml: BTreeSet<_> = files("toml")
        .iter()
        .map(|file| file.with_extension("stderr"))
        .collect();
    assert_eq!(files("stderr"), of_toml);
}

#[test]
fn the_shipped_configurations_are_sound() {
    let home = tempfile::tempdir().unwrap();
    let tls = home.path().join("tls");
    fs::create_dir(&tls).unwrap();
    tidegate_tests::tokens::write_certificate(&tls.join("cert.pem"), &tls.join("key.pem"));
    let mut command = std::process::Command::new(tidegate_tests::binary::path());
    command
        .args(["check", "conf/gateway.toml", "conf/users.toml"])
        .current_dir(repository());
    let output = command.env("TIDEGATE_DIR", home.path()).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "conf/gateway.toml: a sound configuration of gateway\n\
         conf/users.toml: a sound configuration of users\n"
    );
}

#[test]
fn every_mistake_of_every_file_is_told_in_one_run() {
    let names = [
        "several-mistakes.toml",
        "unknown-cluster.toml",
        "users-unknown-key.toml",
    ];
    let output = run(&folder(), &[&["check"][..], &names].concat());
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    for part in [
        "there is no cluster `user`",
        "not a method",
        "there is no plugin `absent`",
        "a limit of 0",
        "no-slash",
        "[unknown-cluster.toml:",
        "[users-unknown-key.toml:",
    ] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let output = run(&folder(), &["check", "absent.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("cannot read absent.toml"), "{said}");
}
