//! What becomes of answers beyond the limit.

use std::sync::Arc;

use domain::base::iana::OptRcode;
use domain::base::opt::AllOptData;
use domain::base::{Message, Name};

use super::*;
use crate::answer::NoPolicies;
use crate::wire::QueryName;

const SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";

fn guard(limit: u32, slip: u32) -> Guard {
    let secret = CookieSecret::from_hex(SECRET).unwrap();
    Guard {
        cookies: Some(Cookies::shared(vec![secret], false)),
        limiter: Some(Limiter::new(Arc::default(), limit, slip, [24, 56], &[])),
        identity: b"fra1".as_slice().into(),
    }
}

/// A query for the root, which is REFUSED, with options.
fn query(options: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 1];
    packet.extend([0, 0, 41, 4, 0xD0, 0, 0, 0x80, 0, 0, options.len() as u8]);
    packet.extend(options);
    packet
}

const CLIENT: [u8; 4] = [192, 0, 2, 1];
const NEW_COOKIE: &[u8] = &[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];

/// Whether an answer to a query is sent, and what it is.
fn ask(guard: &Guard, held: &mut Held, packet: &[u8]) -> (Verdict, Vec<u8>) {
    let snapshot = crate::answer::compile(&[], Arc::new(NoPolicies)).unwrap();
    let mut out = vec![0; 4096];
    let limits = guard.limits(1232);
    let mut answer = snapshot.respond(
        packet,
        CLIENT.into(),
        limits,
        &mut QueryName::default(),
        &mut out,
    );
    let verdict = guard.judge(&mut answer, CLIENT.into(), held, &mut out);
    out.truncate(answer.len);
    (verdict, out)
}

fn cookie(answer: &[u8]) -> Option<Vec<u8>> {
    let message = Message::from_octets(answer).unwrap();
    let opt = message.opt()?;
    let options = opt.opt().iter::<AllOptData<_, _>>();
    options.map(Result::unwrap).find_map(|option| match option {
        AllOptData::Cookie(cookie) => Some(octets(&cookie.to_string())),
        _ => None,
    })
}

fn octets(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] * 16 + pair[1]) as u8)
        .collect()
}

#[test]
fn beyond_the_limit_clients_are_told_to_come_over_tcp() {
    let (guard, mut held) = (guard(1, 1), Held::default());
    let first = ask(&guard, &mut held, &query(&[]));
    let (verdict, cut) = ask(&guard, &mut held, &query(&[]));
    assert_eq!((first.0, verdict), (Verdict::Send, Verdict::Slip));
    let message = Message::from_octets(&cut[..]).unwrap();
    assert!(message.header().tc() && message.header().qr());
    let question = message.first_question().unwrap();
    assert_eq!(*question.qname(), Name::<Vec<u8>>::root());
    let counts = message.header_counts();
    assert_eq!(
        (counts.ancount(), counts.nscount(), counts.arcount()),
        (0, 0, 1)
    );
    assert!(message.opt().unwrap().dnssec_ok());
    // Without EDNS too.
    let mut plain = query(&[])[..17].to_vec();
    plain[11] = 0;
    let (verdict, cut) = ask(&guard, &mut held, &plain);
    assert_eq!((verdict, cut.len()), (Verdict::Slip, plain.len()));
    assert!(Message::from_octets(&cut[..]).unwrap().header().tc());
}

#[test]
fn beyond_the_limit_a_client_gets_a_cookie_and_with_it_the_answer() {
    let (guard, mut held) = (guard(1, 1), Held::default());
    ask(&guard, &mut held, &query(&[]));
    let (verdict, told) = ask(&guard, &mut held, &query(NEW_COOKIE));
    assert_eq!(verdict, Verdict::Slip);
    let message = Message::from_octets(&told[..]).unwrap();
    let code = message.opt().unwrap().rcode(message.header());
    assert_eq!(code, OptRcode::BADCOOKIE);
    assert!(!message.header().tc());
    let cookie = cookie(&told).unwrap();
    assert_eq!((cookie.len(), &cookie[..8]), (24, &NEW_COOKIE[4..]));
    let option = [&[0, 10, 0, 24], &cookie[..]].concat();
    for _ in 0..100 {
        let (verdict, answer) = ask(&guard, &mut held, &query(&option));
        assert_eq!(verdict, Verdict::Send);
        let message = Message::from_octets(&answer[..]).unwrap();
        assert_eq!(
            message.opt().unwrap().rcode(message.header()),
            OptRcode::REFUSED
        );
    }
    // Of no use to anybody else.
    let mut forged = option;
    forged[4] ^= 1;
    assert_eq!(ask(&guard, &mut held, &query(&forged)).0, Verdict::Slip);
}

#[test]
fn what_slips_is_hardly_longer_than_the_query() {
    let (guard, mut held) = (guard(1, 1), Held::default());
    ask(&guard, &mut held, &query(&[]));
    for options in [&[][..], NEW_COOKIE] {
        let packet = query(options);
        let (_, cut) = ask(&guard, &mut held, &packet);
        // The server's part of the cookie, and why there is an error.
        assert!(
            cut.len() <= packet.len() + 16 + 6,
            "{} after {}",
            cut.len(),
            packet.len()
        );
    }
}
