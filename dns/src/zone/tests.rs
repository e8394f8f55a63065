//! What zones are read as, and what is wrong with them.

use std::fs;

use proptest::prelude::*;

use super::Name;
use super::scan::{MOST_TOLD, scan};
use crate::compile::compile;
use crate::learned::Learned;

const CONFIG: &str = "admin = { address = \"127.0.0.1:0\" }\nlistener = [{ name = \"dns\", address = \"127.0.0.1:0\" }]\n\
    [[zone]]\nname = \"example.test\"\nfile = \"a.zone\"\n";
const HEAD: &str =
    "$TTL 1h\n@ SOA ns1.example.net. hostmaster 1 2h 15m 2w 10m\n@ NS ns1.example.net.\n";

/// What is told of a zone file, as lines and drawn.
fn told(file: &[u8]) -> (Vec<String>, String) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("dns.toml"), CONFIG).unwrap();
    fs::write(folder.path().join("a.zone"), file).unwrap();
    match compile(&folder.path().join("dns.toml"), &Learned::default()) {
        Ok(_) => (Vec::new(), String::new()),
        Err(report) => {
            let folder = format!("{}/", folder.path().display());
            let lines = report.lines().map(|line| line.replace(&folder, ""));
            (lines.collect(), report.draw())
        }
    }
}

fn lines(records: &str) -> Vec<String> {
    told(format!("{HEAD}{records}").as_bytes()).0
}

#[test]
fn every_mistake_of_a_zone_file_is_told_where_it_is() {
    let records = "a A 192.0.2.300\n  A 192.0.2.1\nb (MX ten mail\n) ; (\n$ORIGIN sub\nc CH A 192.0.2.1\n\n\
        d A 192.0.2.1\n@ A 192.0.2\ne TXT \"x\" ; \"\nf MX 10 g..h\ng.. A 192.0.2.1\nh SVCB 1 i..j alpn=h2\n\
        k A\n";
    assert_eq!(
        lines(records),
        [
            "a.zone:4:1: expected IPv4 address",
            "a.zone:6:7: expected decimal number",
            "a.zone:9:8: only the class IN is served",
            "a.zone:12:1: expected IPv4 address",
            "a.zone:14:1: there is no label before a dot",
            "a.zone:15:1: there is no label before a dot",
            "a.zone:16:1: there is no label before a dot",
            "a.zone:17:1: unexpected end of entry",
        ]
    );
    let sound = "a HTTPS 1 . alpn=h2 port=443\nb MX 10 mail\nc RP a b\nd SRV 1 2 3 e\n";
    assert_eq!(lines(sound), Vec::<String>::new());
}

#[test]
fn names_outside_are_still_found_behind_a_mistake() {
    let told =
        lines("$ORIGIN other.\na A x\nb A 192.0.2.1\n$ORIGIN example.test.\nc A 192.0.2.1\n");
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told.iter()
            .any(|told| told.starts_with("a.zone:5:1: expected IPv4"))
    );
    let outside = "a.zone:6:1: `b.other.` is not in the zone";
    assert!(
        told.iter().any(|told| told.starts_with(outside)),
        "{told:?}"
    );
}

#[test]
fn a_quote_that_is_not_closed_is_pointed_at_and_hides_nothing() {
    let told = lines("a TXT \"open\nb A x\nc TXT \"closed\" \"open \\\" ; x\nd SPF \"open\n");
    assert_eq!(
        told,
        [
            "a.zone:4:7: no quote closes this one on its line",
            "a.zone:5:1: expected IPv4 address",
            "a.zone:6:16: no quote closes this one on its line",
            "a.zone:7:7: no quote closes this one on its line",
        ]
    );
}

#[test]
fn mistakes_without_end_are_not_all_told() {
    let records: String = (0..1000)
        .map(|at| format!("a{at} A x\nb{at} KX x\n"))
        .collect();
    let told = lines(&records);
    assert_eq!(told.len(), MOST_TOLD);
    assert!(
        told[MOST_TOLD - 1].contains("there may be more"),
        "{told:?}"
    );
    assert!(
        told[..MOST_TOLD - 1]
            .iter()
            .all(|told| !told.contains("there may be more"))
    );
}

#[test]
fn a_parenthesis_that_is_open_at_the_end_is_told() {
    let origin = Name::from_text("example.test").unwrap();
    for text in ["a TXT A 192.0.2.1(", "a$ORIGIN TXT A 192.0.2.1("] {
        let errors = scan(text.as_bytes(), &origin, |_, _| {}).unwrap_err();
        let wrong = errors
            .iter()
            .any(|error| error.line == 1 && error.message.contains("parenthesis"));
        assert!(wrong, "{text}: {errors:?}");
    }
}

proptest! {
    #[test]
    fn whatever_is_written_is_read_to_an_end(
        text in "(a|b\\.c| A 192\\.0\\.2\\.1| MX 1|TXT|KX|\\$ORIGIN |\\$TTL 1h|\\$INCLUDE x |\\$GENERATE 1-2 |[@.x1 \t\n\n\n\"();\\\\$]){0,80}"
    ) {
        let origin = Name::from_text("example.test").unwrap();
        let mut items = 0;
        let errors = scan(text.as_bytes(), &origin, |_, _| items += 1).err().unwrap_or_default();
        prop_assert!(errors.len() <= MOST_TOLD);
        let lines = text.matches('\n').count() + 2;
        prop_assert!(errors.iter().all(|error| error.line <= lines), "{errors:?}");
        prop_assert!(items <= 2 * lines);
    }
}

#[test]
fn a_file_that_is_not_text_is_told_as_such_and_not_drawn_as_it_is() {
    let mut file = HEAD.as_bytes().to_vec();
    file.extend(b"a TXT \x1b[2J\x00\xff\x07more\n");
    file.extend([0; 10_000]);
    let (lines, drawn) = told(&file);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("a.zone is not text: it has the octet 0x1b")
            && lines[0].starts_with("a.zone:4:7: "),
        "{lines:?}"
    );
    let is_safe = |char: char| char == '\n' || !char.is_control();
    assert!(drawn.chars().all(is_safe), "{drawn:?}");
    assert!(drawn.len() < 1000, "{drawn}");
}
