use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::*;
use crate::units::Period;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    threads: Option<u16>,
    #[serde(default)]
    cluster: BTreeMap<Located<String>, Cluster>,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    plugin: BTreeMap<String, Raw>,
    #[serde(default)]
    route: Vec<Route>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cluster {
    address: Located<String>,
    #[serde(default)]
    timeout: Period,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Route {
    path: String,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    Plain,
    Other(u8),
}

fn write(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}

fn mistake(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "c.toml", text);
    let report = load::<Config>(&path).expect_err("is wrong");
    let line = report.lines().next().unwrap();
    line.strip_prefix(folder.path().to_str().unwrap())
        .unwrap_or(&line)
        .to_owned()
}

#[test]
fn mistakes_name_their_place_and_the_nearest_key() {
    for (text, expected) in [
        (
            "thread = 1",
            "/c.toml:1:1: unknown key `thread` (did you mean `threads`?)",
        ),
        (
            "\n\nthreads = \"x\"",
            "/c.toml:3:11: expected a number from 0 to 65535, found string \"x\"",
        ),
        (
            "threads = 70000",
            "/c.toml:1:11: expected a number from 0 to 65535, found integer `70000`",
        ),
        (
            "[cluster.a]\naddress = 5",
            "/c.toml:2:11: expected a string, found integer `5`",
        ),
        (
            "[cluster.a]\ntimeout = \"1s\"",
            "/c.toml:1:1: the key `address` is missing",
        ),
        (
            "[cluster.a]\naddress = \"x\"\ntimeout = 5",
            "/c.toml:3:11: expected a duration with a unit, such as \"250ms\", found integer `5`",
        ),
        (
            "mode = \"plan\"",
            "/c.toml:1:8: unknown value `plan` (did you mean `plain`?)",
        ),
        (
            "mode = { othr = 1 }",
            "/c.toml:1:10: unknown value `othr` (did you mean `other`?)",
        ),
        (
            "a = ",
            "/c.toml:1:5: string values must be quoted, expected literal string",
        ),
        ("threads = 1\nthreads = 2", "/c.toml:2:1: duplicate key"),
        (
            "mode = \"${TIDEGATE_NOT_SET}\"",
            "/c.toml:1:8: the environment variable `TIDEGATE_NOT_SET` is not set (set it, or write `${TIDEGATE_NOT_SET:-default}`)",
        ),
        ("include = [\"absent.toml\"]", "/c.toml:1:12: cannot read"),
        (
            "include = 5",
            "/c.toml:1:11: `include` is a list of file names or patterns",
        ),
        (
            "[[route]]\npath = \"/\"\n[[route]]\n",
            "/c.toml:3:1: the key `path` is missing",
        ),
    ] {
        let found = mistake(text);
        assert!(
            found.starts_with(expected),
            "{text:?}\n found {found}\n wanted {expected}"
        );
    }
}

#[test]
fn variables_are_filled_in_and_may_be_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(
        folder.path(),
        "c.toml",
        "threads = \"${TIDEGATE_UNSET:-4}\"\n[cluster.a]\naddress = \"$${x} ${TIDEGATE_UNSET:-b\\\"c} ${PATH}\"",
    );
    let loaded = load::<Config>(&path).unwrap();
    assert_eq!(loaded.config.threads, Some(4));
    assert_eq!(loaded.config.mode, Mode::Plain);
    let cluster = loaded.config.cluster.values().next().unwrap();
    assert!(cluster.timeout.is_zero());
    let address = &*cluster.address;
    assert!(address.starts_with("${x} b\"c /"), "{address}");
}

#[test]
fn a_value_in_a_file_is_sought_beside_the_file_that_names_it_and_is_watched() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[cluster.a]\naddress = \"${file:secrets/key}\"";
    let path = write(folder.path(), "c.toml", text);
    let mistake = load::<Config>(&path).unwrap_err();
    let secret = folder.path().join("secrets/key");
    let line = mistake.lines().next().unwrap();
    assert!(
        line.contains(&format!("cannot read `{}`", secret.display())),
        "{line}"
    );
    assert!(
        mistake.sources().paths().any(|path| path == secret),
        "it may come"
    );
    write(folder.path(), "secrets/key", "abc\n");
    let loaded = load::<Config>(&path).unwrap();
    assert_eq!(*loaded.config.cluster["a"].address, "abc");
    assert!(loaded.sources.paths().any(|path| path == secret));
}

#[test]
fn included_files_are_merged() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(
        folder.path(),
        "c.toml",
        "include = [\"routes/*.toml\"]\n[[route]]\npath = \"/a\"\n[cluster.a]\naddress = \"1\"",
    );
    write(folder.path(), "routes/1.toml", "[[route]]\npath = \"/b\"");
    write(
        folder.path(),
        "routes/2.toml",
        "[cluster.b]\naddress = \"2\"",
    );
    let loaded = load::<Config>(&path).unwrap();
    let paths: Vec<_> = loaded
        .config
        .route
        .iter()
        .map(|route| route.path.as_str())
        .collect();
    assert_eq!(paths, ["/a", "/b"]);
    assert_eq!(loaded.config.cluster.len(), 2);
    assert_eq!(loaded.sources.paths().count(), 3);
    assert_eq!(loaded.sources.include_folders().count(), 1);

    write(
        folder.path(),
        "routes/3.toml",
        "\n[cluster.b]\naddress = \"3\"",
    );
    let report = load::<Config>(&path).unwrap_err();
    let line = report.lines().next().unwrap();
    assert!(
        line.contains("routes/3.toml:3:1: `address` is set twice"),
        "{line}"
    );
    assert!(line.contains("routes/2.toml:2:1"), "{line}");
}

#[test]
fn a_raw_part_is_read_later_and_keeps_its_places() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(
        folder.path(),
        "c.toml",
        "[plugin.x]\nkind = \"k\"\npat = \"/\"",
    );
    let mut loaded = load::<Config>(&path).unwrap();
    let raw = loaded.config.plugin.get_mut("x").unwrap();
    assert_eq!(*raw.take_text("kind").unwrap().unwrap(), "k");
    let wrong = raw.parse::<Route>().unwrap_err();
    assert_eq!(wrong.message, "unknown key `pat`");
    assert!(loaded.sources.locate(wrong.place).ends_with("c.toml:3:1"));
}

#[test]
fn the_drawing_shows_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "c.toml", "# first\nthread = 1\n");
    let drawing = load::<Config>(&path).unwrap_err().draw();
    for part in [
        "unknown key `thread`",
        "c.toml:2:1]",
        "thread = 1",
        "did you mean `threads`?",
    ] {
        assert!(drawing.contains(part), "{drawing}");
    }
}

#[test]
fn of_many_mistakes_the_first_are_told_and_the_others_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "c.toml", "threads = 1\n");
    let loaded = load::<Config>(&path).unwrap();
    let place = loaded.place_of("threads");
    let found: Vec<_> = (0..60)
        .map(|number| Diagnostic::new(place, format!("mistake {number}")))
        .collect();
    let warnings = loaded.warnings(&found);
    assert_eq!(warnings.len(), 51);
    assert_eq!(warnings[50], "and 10 more warnings");
    let report = loaded.report(found);
    let drawing = report.draw();
    assert!(drawing.contains("mistake 49\n") && !drawing.contains("mistake 50\n"));
    assert!(drawing.ends_with("and 10 more mistakes\n"));
    assert_eq!(report.lines().last().unwrap(), "and 10 more mistakes");
}
