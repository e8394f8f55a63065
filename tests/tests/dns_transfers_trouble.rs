//! Transfers when something goes wrong: primaries that lie or are gone, clients that do not read, hand-overs.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::Value;
use tidegate_tests::eventually::eventually;
use tidegate_tests::name_server::{NameServer, free_for_both};
use tidegate_tests::question::ask;
use tidegate_tests::transfers::{axfr, dig};

const ZONE: &str = "example.test";
const WITHIN: Duration = Duration::from_secs(30);
const SECRET: &str = "c2VjcmV0IG9mIHRoaXJ0eS10d28gb2N0ZXRzLCBvciBzbw==";

/// Records of a transfer: owner, type, data.
type Records = Vec<(&'static [u8], u16, Vec<u8>)>;

const APEX: &[u8] = b"\x07example\x04test\x00";
const WWW: &[u8] = b"\x03www\x07example\x04test\x00";

fn soa(serial: u32) -> (&'static [u8], u16, Vec<u8>) {
    let mut data = [b"\x03ns1", APEX, b"\x04host", APEX].concat();
    for number in [serial, 3600, 3600, 86_400, 60] {
        data.extend(number.to_be_bytes());
    }
    (APEX, 6, data)
}

fn good(serial: u32) -> Records {
    let ns1: &[u8] = b"\x03ns1\x07example\x04test\x00";
    vec![
        soa(serial),
        (APEX, 2, ns1.to_vec()),
        (ns1, 1, vec![192, 0, 2, 53]),
        (WWW, 1, vec![192, 0, 2, 1]),
        soa(serial),
    ]
}

/// An answer to a request, with its length.
fn framed(request: &[u8], records: &Records) -> Vec<u8> {
    let mut message = request[..2].to_vec();
    message.extend([0x84, 0, 0, 1]);
    message.extend((records.len() as u16).to_be_bytes());
    message.extend([0, 0, 0, 0]);
    message.extend(&request[12..12 + APEX.len() + 4]);
    for (owner, kind, data) in records {
        message.extend(*owner);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1, 0, 0, 0, 60]);
        message.extend((data.len() as u16).to_be_bytes());
        message.extend(data);
    }
    [(message.len() as u16).to_be_bytes().to_vec(), message].concat()
}

/// A primary over TCP that answers each request as it is told.
fn primary(
    answer: impl Fn(&[u8], &mut TcpStream) -> std::io::Result<()> + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut length = [0; 2];
            if stream.read_exact(&mut length).is_err() {
                continue;
            }
            let mut request = vec![0; u16::from_be_bytes(length).into()];
            if stream.read_exact(&mut request).is_ok() {
                // Whoever hangs up in between is what is tested.
                let _ = answer(&request, &mut stream);
            }
        }
    });
    address
}

/// A secondary for a primary that may be hostile, with another zone beside it.
async fn secondary(primary: SocketAddr, key: &str) -> NameServer {
    let configuration = format!(
        "transfers = {{ state = \"copies\", records = 1000, size = \"1MiB\", within = \"2s\" }}\ntcp = {{ progress = \"500ms\" }}\n\
         [tsig.transfer-key]\nsecret = \"{SECRET}\"\n\
         [[zone]]\nname = \"{ZONE}\"\nprimary = [{{ address = \"{primary}\"{key} }}]\n\
         [[zone]]\nname = \"other.test\"\nns = [\"ns.example.net.\"]\n"
    );
    NameServer::start(&configuration, |_| {}).await
}

async fn report(server: &NameServer) -> Value {
    let text = server.admin.get("/zones").await.text();
    let zones: Value = serde_json::from_str(&text).expect("it is JSON");
    zones["secondaries"][0].clone()
}

/// Waits until a look at the primary has failed for a reason.
async fn fails(server: &NameServer, reason: &str) {
    let mut last = Value::Null;
    let failed = eventually(reason, WITHIN, async || {
        last = report(server).await;
        let error = last["error"].as_str()?;
        error.contains(reason).then_some(())
    });
    failed.await;
    let answer = ask(server.address, "other.test", "NS").expect("the other zone is answered");
    assert!(answer.head.starts_with("NOERROR"), "{}", answer.head);
}

fn code(server: &NameServer, name: &str) -> String {
    let answer = ask(server.address, name, "A").expect("there is an answer");
    answer.head.split(' ').next().unwrap_or_default().to_owned()
}

/// Nothing of what such a primary sends is served, and it is told why.
async fn is_refused(
    reason: &str,
    key: &str,
    answer: impl Fn(&[u8], &mut TcpStream) -> std::io::Result<()> + Send + 'static,
) {
    let server = secondary(primary(answer), key).await;
    fails(&server, reason).await;
    assert_eq!(code(&server, "www.example.test"), "SERVFAIL");
}

#[tokio::test]
async fn a_primary_that_says_nothing_is_given_up() {
    is_refused("no answer in time", "", |_, _| {
        std::thread::sleep(Duration::from_secs(5));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_primary_that_sends_octet_by_octet_is_given_up() {
    is_refused("no answer in time", "", |request, stream| {
        for octet in framed(request, &good(1)) {
            stream.write_all(&[octet])?;
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_primary_that_sends_message_by_message_is_given_up() {
    is_refused("transfers.within", "", |request, stream| {
        stream.write_all(&framed(request, &vec![soa(1)]))?;
        loop {
            stream.write_all(&framed(request, &vec![(WWW, 1, vec![192, 0, 2, 1])]))?;
            std::thread::sleep(Duration::from_millis(100));
        }
    })
    .await;
}

#[tokio::test]
async fn a_zone_without_end_is_given_up() {
    is_refused("transfers.records", "", |request, stream| {
        stream.write_all(&framed(request, &vec![soa(1)]))?;
        let record = || (WWW, 1, vec![192, 0, 2, 1]);
        let many: Records = (0..100).map(|_| record()).collect();
        loop {
            stream.write_all(&framed(request, &many))?;
        }
    })
    .await;
}

#[tokio::test]
async fn a_zone_of_endless_octets_is_given_up() {
    is_refused("transfers.size", "", |request, stream| {
        stream.write_all(&framed(request, &vec![soa(1)]))?;
        loop {
            let large = [&[255][..], &[b'x'; 255]].concat().repeat(200);
            stream.write_all(&framed(request, &vec![(WWW, 16, large)]))?;
        }
    })
    .await;
}

#[tokio::test]
async fn garbage_is_refused() {
    is_refused("not an answer", "", |_, stream| {
        stream.write_all(&[0, 200])?;
        stream.write_all(&[0x5A; 200])
    })
    .await;
}

#[tokio::test]
async fn a_zone_without_signature_is_refused_where_there_is_a_key() {
    is_refused(
        "not signed",
        ", key = \"transfer-key\"",
        |request, stream| stream.write_all(&framed(request, &good(1))),
    )
    .await;
}

#[tokio::test]
async fn records_of_another_zone_are_refused() {
    is_refused("not of the zone", "", |request, stream| {
        let mut records = good(1);
        records.insert(1, (b"\x03www\x04bank\x04test\x00", 1, vec![192, 0, 2, 6]));
        stream.write_all(&framed(request, &records))
    })
    .await;
}

#[tokio::test]
async fn a_set_that_no_message_can_hold_is_refused() {
    is_refused("longer than a message", "", |request, stream| {
        let mut records = good(1);
        let end = records.pop();
        let text = |number: u16| {
            let mut data = vec![b'x'; 256];
            data[0] = 255;
            data[1..3].copy_from_slice(&number.to_be_bytes());
            (WWW, 16, data)
        };
        records.extend((0..150).map(text));
        stream.write_all(&framed(request, &records))?;
        let rest = (150..300).map(text).chain(end).collect();
        stream.write_all(&framed(request, &rest))
    })
    .await;
}

#[tokio::test]
async fn a_broken_version_is_refused_and_the_one_before_serves_on() {
    let asked = std::sync::atomic::AtomicU32::new(0);
    let primary = primary(move |request, stream| {
        let kind = request[12 + APEX.len() + 1];
        let transfers = asked.fetch_add(u32::from(kind != 6), std::sync::atomic::Ordering::SeqCst);
        let mut records = good(2);
        match (kind, transfers) {
            // There is no UDP: it is asked for its serial over TCP.
            (6, _) => records.truncate(1),
            (_, 0) => records = good(1),
            _ => _ = records.remove(1),
        }
        stream.write_all(&framed(request, &records))
    });
    let server = secondary(primary, "").await;
    eventually("the first version serves", WITHIN, async || {
        (code(&server, "www.example.test") == "NOERROR").then_some(())
    })
    .await;
    let answer = server.admin.post("/zones/example.test/refresh").await;
    assert_eq!(answer.status, 202);
    fails(&server, "has no NS records").await;
    assert_eq!(code(&server, "www.example.test"), "NOERROR");
    assert_eq!(report(&server).await["serial"], 1);
    assert_eq!(
        server.admin.post("/zones/other.test/refresh").await.status,
        404
    );
}

#[tokio::test]
async fn a_version_that_is_not_later_than_was_said_is_refused_and_the_copy_stays() {
    let asked = std::sync::atomic::AtomicU32::new(0);
    let primary = primary(move |request, stream| {
        let kind = request[12 + APEX.len() + 1];
        let transfers = asked.fetch_add(u32::from(kind != 6), std::sync::atomic::Ordering::SeqCst);
        let mut records = match (kind, transfers) {
            // It says that there is a later one, and sends one of long ago: the numbers go round (RFC 1982).
            (6, _) => good(9),
            (_, 0) => good(7),
            _ => good(0xFFFF_FFFF),
        };
        match (kind, transfers) {
            (6, _) => records.truncate(1),
            (_, 0) => {}
            _ => records[3].2 = vec![192, 0, 2, 66],
        }
        stream.write_all(&framed(request, &records))
    });
    let server = secondary(primary, "").await;
    eventually("the first version serves", WITHIN, async || {
        (code(&server, "www.example.test") == "NOERROR").then_some(())
    })
    .await;
    let answer = server.admin.post("/zones/example.test/refresh").await;
    assert_eq!(answer.status, 202);
    fails(
        &server,
        "sends serial 4294967295, which is not later than 7",
    )
    .await;
    assert_eq!(report(&server).await["serial"], 7);
    let answer = ask(server.address, "www.example.test", "A").expect("there is an answer");
    assert!(answer.sections[0][0].ends_with("192.0.2.1"), "{answer:?}");
}

/// A primary of ours.
fn ours(address: SocketAddr, serial: u32, more: &str) -> String {
    format!(
        "{more}\n[[zone]]\nname = \"{ZONE}\"\nns = [\"ns1\"]\n\
         soa = {{ serial = {serial}, refresh = \"1s\", retry = \"1s\", expire = \"4s\" }}\n\
         transfer = [{{ from = [\"127.0.0.1\"] }}]\n\
         record = [{{ name = \"ns1\", type = \"A\", values = [\"192.0.2.53\"] }}, {{ name = \"www\", type = \"A\", values = [\"192.0.2.{serial}\"] }}]\n\
         [[listener]]\nname = \"fixed\"\naddress = \"{address}\"\n"
    )
}

#[tokio::test]
async fn a_zone_expires_without_its_primary_and_comes_back_with_it() {
    let address = free_for_both();
    let source = NameServer::start(&ours(address, 1, ""), |_| {}).await;
    let mut server = secondary(address, "").await;
    let answers = async |server: &NameServer, expected: &str| {
        eventually(expected, WITHIN, async || {
            tokio::time::sleep(Duration::from_millis(50)).await;
            (code(server, "www.example.test") == expected).then_some(())
        })
        .await;
    };
    answers(&server, "NOERROR").await;
    drop(source);
    answers(&server, "SERVFAIL").await;
    // Also the copy on disk has expired.
    server.restart().await;
    assert_eq!(code(&server, "www.example.test"), "SERVFAIL");
    let served = "tidegate_dns_secondary_served{zone=\"example.test.\"}";
    assert_eq!(server.admin.metric(served).await, Some(0.0));
    let _source = NameServer::start(&ours(address, 1, ""), |_| {}).await;
    answers(&server, "NOERROR").await;
    assert_eq!(server.admin.metric(served).await, Some(1.0));
}

#[tokio::test]
async fn a_successor_goes_on_with_copies_and_hears_of_changes() {
    let (theirs, address) = (free_for_both(), free_for_both());
    let notify = |serial| {
        let zone = ours(theirs, serial, "");
        // It hears of changes by NOTIFY alone.
        let zone = zone.replace("refresh = \"1s\"", "refresh = \"1h\"");
        let zone = zone.replace("expire = \"4s\"", "expire = \"1d\"");
        zone.replace(
            "transfer =",
            &format!("notify = [{{ address = \"{address}\" }}]\ntransfer ="),
        )
    };
    let source = NameServer::start(&notify(1), |_| {}).await;
    let folder = tempfile::TempDir::new().expect("temporary folders can be made");
    let door = folder.path().join("door");
    let configuration = format!(
        "handover = {{ socket = \"{}\" }}\ntransfers = {{ state = \"copies\" }}\n\
         [[zone]]\nname = \"{ZONE}\"\nprimary = [{{ address = \"{theirs}\" }}]\n\
         [[listener]]\nname = \"fixed\"\naddress = \"{address}\"\n",
        door.display()
    );
    let server = NameServer::start(&configuration, |_| {}).await;
    let www = || ask(address, "www.example.test", "A").map(|answer| answer.sections[0].clone());
    let has = async |last: &str| {
        eventually(last, WITHIN, async || {
            tokio::time::sleep(Duration::from_millis(50)).await;
            www().filter(|records| records.iter().any(|record| record.ends_with(last)))
        })
        .await;
    };
    has("192.0.2.1").await;
    let successor = server.hand_over();
    has("192.0.2.1").await;
    source.configure(&notify(2));
    has("192.0.2.2").await;
    tidegate_tests::process::send(successor, rustix::process::Signal::TERM);
}

#[tokio::test]
async fn a_change_that_nobody_notices_is_a_warning() {
    let address = free_for_both();
    let server = NameServer::start(&ours(address, 5, ""), |_| {}).await;
    server.configure(&ours(address, 5, "").replace("192.0.2.53", "192.0.2.54"));
    assert_eq!(server.admin.reload().await.status, 200);
    eventually("the log warns", WITHIN, async || {
        let log = server.process.stderr();
        log.contains("its serial has not").then_some(())
    })
    .await;
    // With another serial it is not.
    let warnings = |log: &str| log.matches("other server").count();
    let before = warnings(&server.process.stderr());
    server.configure(&ours(address, 6, ""));
    assert_eq!(server.admin.reload().await.status, 200);
    assert_eq!(
        axfr(address, ZONE, None).map(|records| records.len()),
        Some(5)
    );
    assert_eq!(warnings(&server.process.stderr()), before);
}

/// A zone of so many octets of text.
fn large(kib: usize) -> String {
    let mut zone =
        String::from("@ 1h SOA ns1 host 1 1h 1h 1d 1h\n@ 1h NS ns1\nns1 60 A 192.0.2.1\n");
    for number in 0..kib * 4 {
        writeln!(zone, "t{number} 60 TXT \"{:x>220}\"", number).expect("text takes text");
    }
    zone
}

#[tokio::test]
async fn a_transfer_goes_on_while_the_process_is_replaced() {
    let folder = tempfile::TempDir::new().expect("temporary folders can be made");
    let door = folder.path().join("door");
    let configuration = format!(
        "handover = {{ socket = \"{}\" }}\ntransfers = {{ rate = \"32KiB\" }}\n\
         [[zone]]\nname = \"{ZONE}\"\nfile = \"zone\"\ntransfer = [{{ from = [\"127.0.0.1\"] }}]\n",
        door.display()
    );
    let server = NameServer::start(&configuration, |folder| {
        fs::write(folder.join("zone"), large(100)).expect("the folder is new");
    })
    .await;
    let address = server.address;
    let began = std::time::Instant::now();
    let copying = std::thread::spawn(move || axfr(address, ZONE, None));
    eventually("it has begun", WITHIN, async || {
        let running = server.admin.metric("tidegate_dns_transfers").await;
        running.filter(|running| *running == 1.0)
    })
    .await;
    let successor = server.hand_over();
    let records = copying.join().expect("it does not panic");
    // 400 texts, SOA twice, NS, A.
    assert_eq!(records.map(|records| records.len()), Some(404));
    assert!(
        began.elapsed() > Duration::from_secs(2),
        "slower than it may: {:?}",
        began.elapsed()
    );
    assert!(dig(address, &["t7.example.test", "TXT", "+short"]).contains("xx7"));
    tidegate_tests::process::send(successor, rustix::process::Signal::TERM);
}

#[tokio::test]
async fn who_does_not_read_is_cut_and_others_wait_for_a_place() {
    let configuration = format!(
        "transfers = {{ concurrent = 1 }}\ntcp = {{ progress = \"2s\" }}\n\
         [[zone]]\nname = \"{ZONE}\"\nfile = \"zone\"\ntransfer = [{{ from = [\"127.0.0.1\"] }}]\n"
    );
    let server = NameServer::start(&configuration, |folder| {
        fs::write(folder.join("zone"), large(12 * 1024)).expect("the folder is new");
    })
    .await;
    let mut silent = TcpStream::connect(server.address).expect("it listens");
    let request = [
        &[0, 30, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0][..],
        APEX,
        &[0, 252, 0, 1],
    ]
    .concat();
    silent.write_all(&request).expect("it is taken");
    let metric = async |name: &str| server.admin.metric(name).await;
    eventually("it has begun", WITHIN, async || {
        metric("tidegate_dns_transfers")
            .await
            .filter(|running| *running == 1.0)
    })
    .await;
    let said = dig(server.address, &[ZONE, "AXFR"]);
    assert!(said.contains("failed"), "{said}");
    assert_eq!(
        metric("tidegate_dns_transfers_total{outcome=\"refused\"}").await,
        Some(1.0)
    );
    eventually("it is cut", WITHIN, async || {
        metric("tidegate_dns_transfers_total{outcome=\"cut\"}")
            .await
            .filter(|cut| *cut == 1.0)
    })
    .await;
    let records = axfr(server.address, ZONE, None).map(|records| records.len());
    assert_eq!(records, Some(12 * 1024 * 4 + 4));
}
