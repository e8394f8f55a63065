//! The answers are those of NSD and Knot for the same zone file, record by record.

use std::collections::BTreeSet;
use std::fs;

use tidegate_tests::binary::repository;
use tidegate_tests::name_server::{NameServer, Peer};
use tidegate_tests::question::{Answer, ask};

const ZONE: &str = "example.test.";
const TYPES: [&str; 42] = [
    "A",
    "AAAA",
    "NS",
    "SOA",
    "MX",
    "TXT",
    "CNAME",
    "PTR",
    "SRV",
    "CAA",
    "HINFO",
    "NAPTR",
    "TLSA",
    "DS",
    "DNAME",
    "SVCB",
    "HTTPS",
    "TYPE65280",
    "LOC",
    "AFSDB",
    "RP",
    "KX",
    "RT",
    "CERT",
    "APL",
    "DHCID",
    "EUI48",
    "EUI64",
    "OPENPGPKEY",
    "SMIMEA",
    "SPF",
    "URI",
    "CSYNC",
    "NID",
    "L32",
    "L64",
    "LP",
    "CDS",
    "CDNSKEY",
    "SSHFP",
    "ZONEMD",
    "IPSECKEY",
];
/// Names below DNAME records, which lead on within the zone.
const MOVED: [&str; 8] = [
    "a.into",
    "a.sub.into",
    "x.deleg.into",
    "outof.into",
    "on.into",
    "a.twice",
    "a.sub.twice",
    "ns1.indeleg",
];

fn text() -> String {
    fs::read_to_string(repository().join("tests/zones/compare.zone")).expect("it is there")
}

async fn ours() -> NameServer {
    let zone =
        format!("udp = {{ largest = 4096 }}\n[[zone]]\nname = \"{ZONE}\"\nfile = \"zone\"\n");
    NameServer::start(&zone, |folder| {
        fs::write(folder.join("zone"), text()).expect("the folder is new")
    })
    .await
}

/// Every name of the zone, those above and below, and beside them; also some that are not in the zone.
fn names() -> BTreeSet<String> {
    let text = text();
    let lines = text
        .lines()
        .filter(|line| !line.starts_with(['$', ';', ' ']));
    let owners = lines.filter_map(|line| line.split_whitespace().next());
    let mut names = BTreeSet::from(["elsewhere.test.".to_owned(), "test.".to_owned()]);
    for owner in owners.chain(MOVED) {
        let whole = match owner {
            "@" => ZONE.to_owned(),
            owner => format!("{owner}.{ZONE}"),
        };
        names.insert(format!("x.{whole}"));
        names.insert(format!("a.b.c.{whole}"));
        names.insert(whole.to_ascii_uppercase());
        let mut rest = whole.as_str();
        while rest.len() >= ZONE.len() {
            names.insert(rest.to_owned());
            names.insert(format!("beside.{rest}"));
            rest = rest.split_once('.').map_or("", |(_, rest)| rest);
        }
    }
    names
}

/// Asks both for all names and types; what differs.
fn compare(ours: &NameServer, peer: &Peer, same: impl Fn(&Answer, &Answer) -> bool) {
    let (mut asked, mut wrong) = (0, Vec::new());
    for name in names() {
        for kind in TYPES {
            let mine = ask(ours.address, &name, kind).unwrap_or_else(|| panic!("{name} {kind}"));
            let other = ask(peer.address, &name, kind).unwrap_or_else(|| panic!("{name} {kind}"));
            asked += 1;
            if !same(&mine, &other) {
                wrong.push(format!("{name} {kind}\nours {mine:#?}\nits {other:#?}"));
            }
        }
    }
    assert!(asked > 3000, "only {asked} questions");
    let some: Vec<_> = wrong.iter().take(10).cloned().collect();
    assert!(
        wrong.is_empty(),
        "{} of {asked} answers differ:\n{}",
        wrong.len(),
        some.join("\n\n")
    );
}

#[tokio::test]
async fn knot_gives_the_same_answers() {
    let ours = ours().await;
    let knot = Peer::knot(ZONE, &text());
    compare(&ours, &knot, |mine, its| mine == its);
}

#[tokio::test]
async fn nsd_gives_the_same_answers() {
    let ours = ours().await;
    let nsd = Peer::nsd(ZONE, &text());
    // Where it is the authority, NSD leaves out additional records when it is told to leave out servers.
    compare(&ours, &nsd, |mine, its| {
        let most = mine.head == its.head && mine.sections[..2] == its.sections[..2];
        most && (mine.head.contains(" aa") || mine.sections[2] == its.sections[2])
    });
}
