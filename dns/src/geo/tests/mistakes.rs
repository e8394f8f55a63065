//! Mistakes name the file, the line and the column.

use std::fs;

use super::{SITES, compile_in, lines};

fn mistakes(text: &str, files: &[(&str, &[u8])]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let report = compile_in(folder.path(), text).unwrap_err();
    lines(&report, folder.path())
}

fn with_sites(text: &str) -> String {
    format!("{}\n[geo]\ndefault = \"fra\"\n{text}", SITES.trim())
}

#[test]
fn every_line_of_a_file_that_is_wrong_is_named() {
    let map = b"# ours\n192.0.2.0/24 fra\n  192.0.2.1/24 nyc # host bits\n\n10.0.0.0/8\n\
        10.0.0.0/8 sim\n192.0.2.0/24 nyc\n192.0.2.0/24 fra\n2001:db8::/32 fra nyc\nfe80::1 sin\nten fra\n";
    let found = mistakes(&with_sites("files = [\"ours.map\"]"), &[("ours.map", map)]);
    assert_eq!(
        found,
        [
            "ours.map:3:3: `192.0.2.1/24` has bits beyond its length (did you mean `192.0.2.0/24`?)",
            "ours.map:5:1: a network without a site (write `192.0.2.0/24 fra`)",
            "ours.map:6:12: there is no site `sim` (did you mean `sin`?)",
            "ours.map:7:1: the network 192.0.2.0/24 has another site already \
             (it is first mapped at ours.map:2:1)",
            "ours.map:9:19: more than a network and a site",
            "ours.map:11:1: `ten` is not a network (write \"192.0.2.0/24\" or \"2001:db8::/32\")",
        ]
    );
}

#[test]
fn a_file_of_another_kind_is_not_told_line_by_line() {
    let many = "nonsense\n".repeat(1000);
    let found = mistakes(
        &with_sites("files = [\"a.map\"]"),
        &[("a.map", many.as_bytes())],
    );
    assert_eq!(found.len(), 20);
    let found = mistakes(
        &with_sites("files = [\"a.map\"]"),
        &[("a.map", b"\xff\xfe")],
    );
    assert!(
        found[0].starts_with("dns.toml:15:10: cannot read a.map"),
        "{found:?}"
    );
}

#[test]
fn files_that_are_missing_or_broken_are_named_where_they_are_named() {
    let rule = "\n[[geo.database.rule]]\ncountry = [\"DE\"]\nsite = \"fra\"\n";
    let database = with_sites(&format!("[[geo.database]]\nfile = \"a.mmdb\"{rule}"));
    let missing = mistakes(&database, &[]);
    assert!(
        missing[0].starts_with("dns.toml:16:8: cannot read a.mmdb: i/o error"),
        "{missing:?}"
    );
    let empty = mistakes(&database, &[("a.mmdb", b"")]);
    assert!(
        empty[0].starts_with("dns.toml:16:8: cannot read a.mmdb: "),
        "{empty:?}"
    );
}

#[test]
fn a_database_that_is_cut_short_or_damaged_is_refused_or_read_but_never_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    super::write_places(&folder.path().join("whole.mmdb"));
    let whole = fs::read(folder.path().join("whole.mmdb")).unwrap();
    let text = format!("{SITES}{}", super::PLACES);
    for cut in (0..whole.len()).step_by(97) {
        fs::write(folder.path().join("places.mmdb"), &whole[..cut]).unwrap();
        assert!(compile_in(folder.path(), &text).is_err(), "{cut} bytes");
    }
    for at in (0..whole.len()).step_by(53) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0xff;
        fs::write(folder.path().join("places.mmdb"), &damaged).unwrap();
        let _ = compile_in(folder.path(), &text);
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (text, expected) in [
        (
            "networks = { \"10.0.0.0/8\" = \"fr\" }",
            "dns.toml:15:29: there is no site `fr`",
        ),
        (
            "[[geo.database]]\nfile = \"a\"",
            "dns.toml:16:8: nothing follows from this database",
        ),
        (
            "[[geo.database]]\nfile = \"a\"\n[[geo.database.rule]]\nsite = \"fra\"",
            "dns.toml:18:8: a rule without a condition",
        ),
        (
            "[[geo.database]]\nfile = \"a\"\n[[geo.database.rule]]\ncontinent = [\"Europe\"]\nsite = \"fra\"",
            "dns.toml:18:14: not a continent: AF, AN, AS, EU, NA, OC or SA",
        ),
        (
            "[[geo.database]]\nfile = \"a\"\n[[geo.database.rule]]\ncountry = [\"de\"]\nsite = \"fra\"",
            "dns.toml:18:12: not a country by ISO 3166-1, such as DE",
        ),
        (
            "[[geo.database]]\nfile = \"a\"\n[[geo.database.rule]]\nsubdivision = [\"CA\"]\nsite = \"fra\"",
            "dns.toml:18:16: not a subdivision by ISO 3166-2, such as US-CA",
        ),
        ("network = {}", "dns.toml:15:1: unknown key `network`"),
    ] {
        let found = mistakes(&with_sites(text), &[]);
        assert!(found[0].starts_with(expected), "{text}: {found:?}");
    }
    for (text, expected) in [
        ("", "(default): there is no site"),
        (
            "[[site]]\nname = \"a b\"",
            "dns.toml:2:8: not a name for a site",
        ),
        (
            "[[site]]\nname = \"a\"\n[[site]]\nname = \"a\"",
            "dns.toml:4:8: the site `a` is there twice",
        ),
        (
            "[[site]]\nname = \"a\"\n[[site]]\nname = \"b\"",
            "dns.toml:4:8: several sites, and no `default`",
        ),
        (
            "[[site]]\nname = \"a\"\nlatitude = 91.0\nlongitude = 0.0",
            "dns.toml:3:12: must be from -90 to 90",
        ),
        (
            "[[site]]\nname = \"a\"\nlatitude = 91.0",
            "dns.toml:3:12: a place needs both",
        ),
        (
            "[[site]]\nname = \"a\"\nfailover = [\"a\"]",
            "dns.toml:3:13: `a` is there already",
        ),
    ] {
        let found = mistakes(text, &[]);
        assert!(found[0].starts_with(expected), "{text}: {found:?}");
    }
}
