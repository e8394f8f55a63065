//! What a check tells: what a start refuses, at its place.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use super::*;

const HEAD: &str = "admin = { address = \"127.0.0.1:0\" }\n";
/// At the end, where it moves no line.
const LISTENER: &str = "\n[[listener]]\nname = \"dns\"\naddress = \"127.0.0.1:5300\"\n";
const ZONE: &str = "[[zone]]\nname = \"example.test\"\nns = [\"ns.example.net.\"]\n";

fn judged(folder: &Path, text: &str) -> Result<Compiled, Vec<String>> {
    let file = folder.join("dns.toml");
    fs::write(&file, format!("{HEAD}{text}{LISTENER}")).unwrap();
    let folder = format!("{}/", folder.display());
    let told = |line: String| line.replace(&folder, "");
    compile(&file, &Learned::default()).map_err(|report| report.lines().map(told).collect())
}

fn mistakes(folder: &TempDir, text: &str) -> Vec<String> {
    match judged(folder.path(), text) {
        Ok(_) => panic!("it is accepted: {text}"),
        Err(mistakes) => mistakes,
    }
}

fn names(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn a_folder_of_keys_is_judged_as_a_start_does_and_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("dnssec = {{ keys = \"keys\" }}\n{ZONE}dnssec = {{}}\n");
    let keys = folder.path().join("keys");
    judged(folder.path(), &text).unwrap_or_else(|told| panic!("{told:?}"));
    assert!(!keys.exists(), "a start makes it");
    fs::create_dir(&keys).unwrap();
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o777)).unwrap();
    let started = compile(&folder.path().join("dns.toml"), &Learned::serving());
    let started = started.err().expect("a start refuses it").to_string();
    let told = mistakes(&folder, &text);
    assert_eq!(
        told,
        ["dns.toml:2:19: keys: others may write to this folder (mode 0777)"]
    );
    assert!(
        started.contains("others may write to this folder (mode 0777)"),
        "{started}"
    );
    assert_eq!(names(&keys), 0, "nothing is made in it");
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(judged(folder.path(), &text).is_ok());
    std::os::unix::fs::symlink("/dev/null", keys.join(".lock")).unwrap();
    let told = mistakes(&folder, &text);
    assert!(told[0].contains("`.lock` is a link"), "{told:?}");
    fs::remove_dir_all(&keys).unwrap();
    fs::write(&keys, "").unwrap();
    let told = mistakes(&folder, &text);
    assert_eq!(told, ["dns.toml:2:19: keys: Not a directory (os error 20)"]);
}

#[test]
fn files_that_are_made_later_need_their_folders_and_are_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let text = "query_log = { file = \"log/queries\" }\nhandover = { socket = \"run/door\" }\nhealth = { state = \"kept/state.json\" }\n";
    let told = mistakes(&folder, text);
    assert_eq!(told.len(), 3, "{told:?}");
    for (told, named) in told.iter().zip([
        "2:22: the folder log ",
        "4:20: the folder kept ",
        "3:23: the folder run ",
    ]) {
        assert!(
            told.starts_with(&format!("dns.toml:{named}cannot be used")),
            "{told}"
        );
    }
    for name in ["log", "run", "kept"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    judged(folder.path(), text).unwrap_or_else(|told| panic!("{told:?}"));
    assert!(["log", "run", "kept"].map(|name| names(&folder.path().join(name))) == [0, 0, 0]);
    fs::create_dir(folder.path().join("log/queries")).unwrap();
    fs::write(folder.path().join("run/door"), "precious").unwrap();
    let told = mistakes(&folder, text);
    assert_eq!(
        told,
        [
            "dns.toml:2:22: this is a folder",
            "dns.toml:3:23: there is a file of another kind at this path"
        ]
    );
}

#[test]
fn servers_that_are_this_one_are_told_wherever_it_listens() {
    let folder = tempfile::tempdir().unwrap();
    let asks = |listener: &str, server: &str| {
        let text = format!(
            "resolver = {{ servers = [\"{server}\"] }}\n[[listener]]\nname = \"a\"\n{listener}\n"
        );
        judged(folder.path(), &text).is_err()
    };
    for (listener, server, itself) in [
        ("address = \"192.0.2.1:53\"", "192.0.2.1", true),
        ("address = \"192.0.2.1:53\"", "192.0.2.1:5353", false),
        ("address = \"192.0.2.1:53\"", "192.0.2.2", false),
        ("address = \"192.0.2.1:53\"", "127.0.0.1:5300", true),
        ("address = \"0.0.0.0:53\"", "127.0.0.2", true),
        ("address = \"0.0.0.0:53\"", "0.0.0.0", true),
        ("address = \"0.0.0.0:53\"", "::1", false),
        ("address = \"[::]:53\"", "::1", true),
        ("address = \"[::]:53\"", "127.0.0.1", false),
        (
            "address = \"[::]:53\"\ndual_stack = true",
            "127.0.0.1",
            true,
        ),
        ("address = \"0.0.0.0:53\"", "192.0.2.1", false),
        ("address = \"0.0.0.0:0\"", "127.0.0.1", false),
    ] {
        assert_eq!(asks(listener, server), itself, "{listener} {server}");
    }
}

#[test]
fn records_that_a_policy_has_no_address_for_are_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let record =
        |kind: &str| format!("[[zone.record]]\nname = \"a\"\ntype = \"{kind}\"\npolicy = \"p\"\n");
    let policy = "[[site]]\nname = \"fra\"\n[policy.p.private]\nendpoints = [{ site = \"fra\", address = \"192.0.2.1\" }]\n";
    let warnings = |more: &str| {
        let text = format!("{ZONE}{}{}{policy}{more}", record("A"), record("AAAA"));
        let compiled = judged(folder.path(), &text);
        compiled.unwrap_or_else(|told| panic!("{told:?}")).warnings
    };
    let told = warnings("");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].ends_with(
            "dns.toml:12:10: `a.example.test.` has no AAAA records: the policy `p` has no such addresses"
        ),
        "{told:?}"
    );
    assert!(warnings("all_down = { fixed = [\"2001:db8::1\"] }\n").is_empty());
}

#[test]
fn aliases_that_lead_on_without_a_circle_are_sound() {
    let folder = tempfile::tempdir().unwrap();
    let alias = |from: &str, to: &str| {
        format!("[[zone.record]]\nname = \"{from}\"\ntype = \"ALIAS\"\nvalues = [\"{to}\"]\n")
    };
    let chain = [
        alias("a", "b"),
        alias("b", "c"),
        alias("c", "www.example.net."),
    ]
    .concat();
    assert!(judged(folder.path(), &format!("{ZONE}{chain}")).is_ok());
    let circle = [alias("a", "b"), alias("b", "a")].concat();
    let told = mistakes(&folder, &format!("{ZONE}{circle}"));
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0]
            .starts_with("dns.toml:8:11: the ALIAS record of `a.example.test.` leads in a circle")
    );
}
