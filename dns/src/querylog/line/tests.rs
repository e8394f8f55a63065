//! Lines, whatever packets hold.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::answer::{Limits, NoPolicies, Snapshot, compile};

fn snapshot() -> Snapshot {
    compile(&[], std::sync::Arc::new(NoPolicies)).unwrap()
}

fn line(packet: &[u8], verdict: Verdict) -> String {
    let limits = Limits::udp(1232);
    let client = "2001:db8::7".parse().unwrap();
    let mut out = [0; 4096];
    let outcome = snapshot().respond(packet, client, limits, &mut QueryName::default(), &mut out);
    let mut line = Vec::new();
    let event = Event {
        client,
        transport: Transport::Udp,
        packet,
        outcome: &outcome,
        verdict,
        chooser: None,
    };
    let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_700_000_000_120);
    event.write(now, &mut line);
    String::from_utf8(line).unwrap()
}

const QUERY: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x06wWw\".\x07\x07example\x00\x00\x1c\x00\x01\
    \x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x0b\x00\x08\x00\x07\x00\x01\x18\x00\xc0\x00\x02";

#[test]
fn lines_as_documented() {
    assert_eq!(
        line(QUERY, Verdict::Send),
        r#"{"time":"2023-11-14T22:13:20.120Z","client":"2001:db8::7","subnet":"192.0.2.0/24","transport":"udp","name":"www\\\"\\.\\007.example.","type":"AAAA","rcode":"REFUSED","octets":60}"#
    );
    let dropped: Value = serde_json::from_str(&line(QUERY, Verdict::Drop)).unwrap();
    assert_eq!(
        (&dropped["limited"], &dropped["octets"]),
        (&"dropped".into(), &0.into())
    );
    assert_eq!(dropped["rcode"], Value::Null);
    let broken = line(&QUERY[..20], Verdict::Send);
    let broken: Value = serde_json::from_str(&broken).unwrap();
    assert_eq!(
        (&broken["rcode"], &broken["name"]),
        (&"FORMERR".into(), &Value::Null)
    );
}

proptest! {
    #[test]
    fn any_packet_is_one_line_of_json(
        label in prop::collection::vec(any::<u8>(), 1..64),
        rest in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let question = [&QUERY[..12], &[label.len() as u8], &label, &[0, 0, 1, 0, 1]].concat();
        for packet in [[&question[..], &rest].concat(), rest, question] {
            let text = line(&packet, Verdict::Send);
            prop_assert!(text.bytes().all(|byte| byte >= 32), "{}", text);
            prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
        }
    }
}
