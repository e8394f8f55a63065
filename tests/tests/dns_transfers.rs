//! Zones between Tidegate, Knot and NSD: as a primary, as a secondary, signed and not.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use tidegate_tests::binary::repository;
use tidegate_tests::eventually::eventually;
use tidegate_tests::name_server::{NameServer, Peer, free_for_both};
use tidegate_tests::question::ask;
use tidegate_tests::transfers::{KEY, axfr, dig};

const ZONE: &str = "example.test";
/// NOTIFY is tried again after two seconds: a busy machine may need several.
const WITHIN: Duration = Duration::from_secs(30);
const SECRET: &str = "c2VjcmV0IG9mIHRoaXJ0eS10d28gb2N0ZXRzLCBvciBzbw==";

/// The zone that is compared with other servers, with a serial and more records.
fn text(serial: u32, more: &str) -> String {
    let text = fs::read_to_string(repository().join("tests/zones/compare.zone"));
    let text = text
        .expect("it is there")
        .replace("2024010101", &serial.to_string());
    // So much that it takes several messages.
    let long = (0..400).map(|number| format!("long{number} TXT \"{number:x>220}\"\n"));
    format!("{text}\n{}{more}\n", long.collect::<String>())
}

/// The key for Tidegate.
fn tsig() -> String {
    format!("[tsig.transfer-key]\nsecret = \"{SECRET}\"\n")
}

fn serial_of(server: SocketAddr) -> Option<u32> {
    let answer = ask(server, ZONE, "SOA")?;
    let soa = answer.sections[0].first()?;
    soa.split_whitespace().nth(5)?.parse().ok()
}

async fn has_serial(server: SocketAddr, serial: u32) {
    let what = format!("{server} has {serial}");
    eventually(&what, WITHIN, async || {
        tokio::time::sleep(Duration::from_millis(50)).await;
        serial_of(server).filter(|found| *found == serial)
    })
    .await;
}

/// Sections and lines with which Knot is a primary for a secondary.
fn knot_primary(secondary: SocketAddr, key: bool) -> (String, String) {
    let keys =
        format!("key:\n  - id: transfer-key\n    algorithm: hmac-sha256\n    secret: {SECRET}\n");
    let with_key = if key { "    key: transfer-key\n" } else { "" };
    let sections = format!(
        "{keys}remote:\n  - id: other\n    address: {}@{}\n{with_key}\
         acl:\n  - id: transfers\n    address: 127.0.0.1\n{with_key}    action: transfer\n",
        secondary.ip(),
        secondary.port()
    );
    let lines = "    file: zone\n    zonefile-load: difference\n    journal-content: changes\n    \
                 notify: other\n    acl: transfers\n";
    (sections, lines.to_owned())
}

/// A secondary of ours, which also listens at an address.
fn secondary(address: SocketAddr, primary: SocketAddr, key: bool, more: &str) -> String {
    let with_key = if key { ", key = \"transfer-key\"" } else { "" };
    format!(
        "transfers = {{ state = \"copies\" }}\n{}\n[[zone]]\nname = \"{ZONE}\"\n\
         primary = [{{ address = \"{primary}\"{with_key} }}]\ntransfer = [{{ from = [\"127.0.0.1\"] }}]\n{more}\n\
         [[listener]]\nname = \"fixed\"\naddress = \"{address}\"\n",
        tsig()
    )
}

#[tokio::test]
async fn a_zone_that_knot_signs_is_followed() {
    let (ours, theirs) = (free_for_both(), free_for_both());
    let (sections, lines) = knot_primary(ours, true);
    let lines = format!("{lines}    dnssec-signing: on\n");
    let knot = Peer::knot_with(theirs, "example.test.", &text(1, ""), &sections, &lines);
    let server = NameServer::start(&secondary(ours, theirs, true, ""), |_| {}).await;
    let same = async |what: &str| {
        eventually(what, WITHIN, async || {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let theirs = axfr(theirs, ZONE, Some(KEY))?;
            (axfr(ours, ZONE, None)? == theirs).then_some(theirs)
        })
        .await
    };
    let whole = same("the signed zone is ours").await;
    let signed = whole.iter().filter(|line| line.contains(" rrsig "));
    assert!(signed.count() > 400, "{whole:#?}");
    // It signs anew what has changed, and raises the serial itself.
    let serial = serial_of(ours).expect("it is there");
    knot.rewrite(&text(7, "new TXT \"it is new\""));
    eventually("a later version", WITHIN, async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        serial_of(ours).filter(|later| *later > serial)
    })
    .await;
    let whole = same("the changed zone is ours").await;
    assert!(whole.iter().any(|line| line.contains("it is new")));
    let changes = "tidegate_dns_secondary_versions_total{zone=\"example.test.\",form=\"changes\"}";
    assert!(server.admin.metric(changes).await >= Some(1.0));
}

#[tokio::test]
async fn a_copy_can_be_copied_on() {
    let (first, second, third) = (free_for_both(), free_for_both(), free_for_both());
    let (sections, lines) = knot_primary(second, true);
    let knot = Peer::knot_with(first, "example.test.", &text(1, ""), &sections, &lines);
    let told = format!("notify = [{{ address = \"{third}\" }}]");
    let server = NameServer::start(&secondary(second, first, true, &told), |_| {}).await;
    let lines = format!(
        " request-xfr: {}@{} NOKEY\n allow-notify: 127.0.0.1 NOKEY\n provide-xfr: 127.0.0.1 NOKEY\n",
        second.ip(),
        second.port()
    );
    let _nsd = Peer::nsd_with(third, "example.test.", "", &lines);
    has_serial(third, 1).await;
    knot.rewrite(&text(2, "new TXT \"it is new\""));
    has_serial(third, 2).await;
    assert_eq!(axfr(third, ZONE, None), axfr(first, ZONE, Some(KEY)));
    let changes = "tidegate_dns_transfers_total{outcome=\"changes\"}";
    assert_eq!(server.admin.metric(changes).await, Some(1.0));
}

async fn follows_knot(key: bool) {
    let (ours, theirs) = (free_for_both(), free_for_both());
    let (sections, lines) = knot_primary(ours, key);
    let knot = Peer::knot_with(theirs, "example.test.", &text(1, ""), &sections, &lines);
    let mut server = NameServer::start(&secondary(ours, theirs, key, ""), |_| {}).await;
    has_serial(ours, 1).await;
    let dig_key = key.then_some(KEY);
    let whole = axfr(theirs, ZONE, dig_key).expect("Knot lets us");
    assert!(whole.len() > 460, "{whole:#?}");
    assert_eq!(axfr(ours, ZONE, None), Some(whole));

    knot.rewrite(&text(2, "new TXT \"it is new\"").replace("mail 60 A 192.0.2.26", ""));
    has_serial(ours, 2).await;
    assert_eq!(axfr(ours, ZONE, None), axfr(theirs, ZONE, dig_key));
    let form = |form: &str| {
        format!("tidegate_dns_secondary_versions_total{{zone=\"example.test.\",form=\"{form}\"}}")
    };
    assert_eq!(server.admin.metric(&form("whole")).await, Some(1.0));
    assert_eq!(server.admin.metric(&form("changes")).await, Some(1.0));

    // Without the primary it serves what it has, from the first moment on.
    drop(knot);
    let before = axfr(ours, ZONE, None);
    server.restart().await;
    assert_eq!(serial_of(ours), Some(2));
    assert_eq!(axfr(ours, ZONE, None), before);
}

#[tokio::test]
async fn a_zone_of_knot_is_followed() {
    follows_knot(false).await;
}

#[tokio::test]
async fn a_zone_of_knot_is_followed_with_signatures() {
    follows_knot(true).await;
}

/// A primary of ours for a secondary.
fn primary(address: SocketAddr, secondary: SocketAddr, key: bool) -> String {
    let rule = match key {
        true => "{ key = \"transfer-key\" }",
        false => "{ from = [\"127.0.0.0/8\"] }",
    };
    let with_key = if key { ", key = \"transfer-key\"" } else { "" };
    format!(
        "{}\n[[zone]]\nname = \"{ZONE}\"\nfile = \"zone\"\ntransfer = [{rule}]\n\
         notify = [{{ address = \"{secondary}\"{with_key} }}]\n\
         [[listener]]\nname = \"fixed\"\naddress = \"{address}\"\n",
        tsig()
    )
}

/// A secondary follows a primary of ours; `theirs` transfers to anybody on this machine.
async fn is_followed(
    ours: SocketAddr,
    theirs: SocketAddr,
    key: bool,
    start: impl FnOnce() -> Peer,
) {
    let server = NameServer::start(&primary(ours, theirs, key), |folder| {
        fs::write(folder.join("zone"), text(1, "")).expect("the folder is new");
    })
    .await;
    let _peer = start();
    has_serial(theirs, 1).await;
    let dig_key = key.then_some(KEY);
    let whole = axfr(ours, ZONE, dig_key).expect("we let it");
    assert_eq!(axfr(theirs, ZONE, None), Some(whole));

    let changed = text(2, "new TXT \"it is new\"").replace("mail 60 A 192.0.2.26", "");
    fs::write(server.folder.path().join("zone"), changed).expect("it can be written");
    let answer = server.admin.reload().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    has_serial(theirs, 2).await;
    assert_eq!(axfr(theirs, ZONE, None), axfr(ours, ZONE, dig_key));
    let changes = "tidegate_dns_transfers_total{outcome=\"changes\"}";
    assert_eq!(
        server.admin.metric(changes).await,
        Some(1.0),
        "it fetched what had changed"
    );
}

async fn knot_follows(key: bool) {
    let (ours, theirs) = (free_for_both(), free_for_both());
    let with_key = if key { "    key: transfer-key\n" } else { "" };
    let sections = format!(
        "key:\n  - id: transfer-key\n    algorithm: hmac-sha256\n    secret: {SECRET}\n\
         remote:\n  - id: primary\n    address: {}@{}\n{with_key}\
         acl:\n  - id: told\n    address: 127.0.0.1\n{with_key}    action: notify\n  \
         - id: all\n    address: 127.0.0.1\n    action: transfer\n",
        ours.ip(),
        ours.port()
    );
    let lines = "    master: primary\n    acl: [told, all]\n";
    is_followed(ours, theirs, key, || {
        Peer::knot_with(theirs, "example.test.", "", &sections, lines)
    })
    .await;
}

#[tokio::test]
async fn knot_follows_a_zone_of_ours() {
    knot_follows(false).await;
}

#[tokio::test]
async fn knot_follows_a_zone_of_ours_with_signatures() {
    knot_follows(true).await;
}

async fn nsd_follows(key: bool) {
    let (ours, theirs) = (free_for_both(), free_for_both());
    let name = if key { "transfer-key" } else { "NOKEY" };
    let sections =
        format!("key:\n name: \"transfer-key\"\n algorithm: hmac-sha256\n secret: \"{SECRET}\"\n");
    let lines = format!(
        " request-xfr: {}@{} {name}\n allow-notify: 127.0.0.1 {name}\n provide-xfr: 127.0.0.1 NOKEY\n",
        ours.ip(),
        ours.port()
    );
    is_followed(ours, theirs, key, || {
        Peer::nsd_with(theirs, "example.test.", &sections, &lines)
    })
    .await;
}

#[tokio::test]
async fn nsd_follows_a_zone_of_ours() {
    nsd_follows(false).await;
}

#[tokio::test]
async fn nsd_follows_a_zone_of_ours_with_signatures() {
    nsd_follows(true).await;
}

#[tokio::test]
async fn a_primary_is_asked_from_the_address_that_is_configured() {
    let (ours, theirs) = (free_for_both(), free_for_both());
    let primary = primary(theirs, ours, false).replace("127.0.0.0/8", "127.0.0.7");
    let _primary = NameServer::start(&primary, |folder| {
        fs::write(folder.join("zone"), text(1, "")).expect("the folder is new");
    })
    .await;
    let plain = secondary(ours, theirs, false, "");
    let server = NameServer::start(&plain, |_| {}).await;
    eventually("it is refused", WITHIN, async || {
        let said = server.admin.get("/zones").await.text();
        said.contains("it answers REFUSED").then_some(())
    })
    .await;
    let from = format!("{{ address = \"{theirs}\", from = \"127.0.0.7\" }}");
    server.configure(&plain.replace(&format!("{{ address = \"{theirs}\" }}"), &from));
    has_serial(ours, 1).await;
}

#[tokio::test]
async fn only_who_may_gets_the_zone() {
    let (ours, nobody) = (free_for_both(), free_for_both());
    let server = NameServer::start(&primary(ours, nobody, true), |folder| {
        let text = text(
            1,
            &format!(
                "large TXT {}",
                format!("\"{}\" ", "x".repeat(250)).repeat(5)
            ),
        );
        fs::write(folder.join("zone"), text).expect("the folder is new");
    })
    .await;
    let asked = |args: &[&str]| dig(ours, &[&["example.test", "+tcp"], args].concat());
    let unsigned = asked(&["AXFR"]);
    assert!(unsigned.contains("Transfer failed"), "{unsigned}");
    let other = "hmac-sha256:other-key:c2VjcmV0IG9mIHRoaXJ0eS10d28gb2N0ZXRzLCBvciBzbw==";
    let said = asked(&["SOA", "-y", other]);
    assert!(
        said.contains("status: NOTAUTH") && said.contains("BADKEY"),
        "{said}"
    );
    let forged = "hmac-sha256:transfer-key:YW5vdGhlciBzZWNyZXQsIHdoaWNoIGlzIHdyb25n";
    let said = asked(&["SOA", "-y", forged]);
    assert!(
        said.contains("status: NOTAUTH") && said.contains("BADSIG"),
        "{said}"
    );
    assert_eq!(axfr(ours, ZONE, Some(forged)), None);
    assert!(axfr(ours, ZONE, Some(KEY)).is_some());
    let refused = "tidegate_dns_transfers_total{outcome=\"refused\"}";
    assert_eq!(server.admin.metric(refused).await, Some(1.0));
    // An answer that is signed, over both.
    for transport in ["+notcp", "+tcp"] {
        let said = dig(ours, &["www.example.test", "A", transport, "-y", KEY]);
        assert!(
            said.contains("192.0.2.10") && said.contains("TSIG"),
            "{said}"
        );
        assert!(
            !said.contains("validated") && !said.contains("verify"),
            "{said}"
        );
    }
    // What does not fit with its signature is cut, and signed too.
    let said = dig(
        ours,
        &["large.example.test", "TXT", "+notcp", "+ignore", "-y", KEY],
    );
    assert!(
        said.contains("qr aa tc") && said.contains("TSIG") && !said.contains("verify"),
        "{said}"
    );
    // Over UDP whoever has an earlier version is told which one there is.
    let said = dig(ours, &["example.test", "IXFR=0", "+notcp", "-y", KEY]);
    assert!(said.contains("hostmaster.example.test. 1 "), "{said}");
    let said = asked(&["IXFR=1", "-y", KEY]);
    assert!(said.contains("XFR size: 1 records"), "{said}");
    let said = asked(&["IXFR=0", "-y", KEY]);
    assert!(
        said.contains("hostmaster.example.test. 1 ") && said.contains("naptr"),
        "{said}"
    );
}
