//! Signatures, played against those of the crate `domain`.

use std::str::FromStr;

use domain::base::iana::Rtype;
use domain::base::{Message as Read, MessageBuilder, Name as Theirs};
use domain::rdata::tsig::Time48;
use domain::tsig::{
    Algorithm, ClientSequence, ClientTransaction, Key as TheirKey, ServerSequence,
    ServerTransaction,
};

use super::super::config::TsigAlgorithm;
use super::*;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW: u64 = 1_800_000_000;

fn ours(algorithm: TsigAlgorithm) -> Arc<Key> {
    let name = Name::from_text("Some.Key").unwrap();
    Arc::new(Key::new(name, algorithm, SECRET))
}

fn keys() -> Keys {
    let key = ours(TsigAlgorithm::HmacSha256);
    Keys::from([(key.name.clone(), key)])
}

fn theirs(algorithm: Algorithm) -> Arc<TheirKey> {
    let name = Theirs::from_str("some.key").unwrap();
    Arc::new(TheirKey::new(algorithm, SECRET, name, None, None).unwrap())
}

fn time(seconds: u64) -> Time48 {
    Time48::from_u64(seconds)
}

fn question_to() -> MessageBuilder<Vec<u8>> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(4711);
    builder
}

/// A request with their signature.
fn their_request(key: &Arc<TheirKey>, at: u64) -> (Vec<u8>, ClientTransaction<Arc<TheirKey>>) {
    let mut builder = question_to().question();
    builder
        .push((
            Theirs::<Vec<u8>>::from_str("example.test").unwrap(),
            Rtype::AXFR,
        ))
        .unwrap();
    let mut builder = builder.additional();
    let chain = ClientTransaction::request(key.clone(), &mut builder, time(at)).unwrap();
    (builder.finish(), chain)
}

fn plain(id: u16, flags: u16) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend(flags.to_be_bytes());
    message.extend([0, 1, 0, 0, 0, 0, 0, 0]);
    message.extend(b"\x07example\x04test\x00\x00\xfc\x00\x01");
    message
}

fn rejected(message: &[u8], now: u64) -> (Vec<u8>, Option<Why>) {
    match verify_request(&keys(), message, 1232, now) {
        Ok(accepted) => panic!("accepted: signed {}", accepted.is_some()),
        Err(rejected) => {
            let why = match &rejected {
                Rejected::Malformed => None,
                Rejected::Wrong(_, why) => Some(*why),
            };
            (rejected.answer(message, 1232), why)
        }
    }
}

/// The error in the TSIG record of an answer, its response code, and how long its signature is.
fn error_of(answer: &[u8]) -> (u16, u16, usize) {
    let signature = find(answer).unwrap().unwrap();
    let code = u16::from(answer[3] & 0x0F);
    (code, signature.variables.error, signature.mac.len())
}

#[test]
fn their_requests_and_our_answers_are_understood() {
    for (algorithm, other) in [
        (TsigAlgorithm::HmacSha256, Algorithm::Sha256),
        (TsigAlgorithm::HmacSha384, Algorithm::Sha384),
        (TsigAlgorithm::HmacSha512, Algorithm::Sha512),
    ] {
        let key = ours(algorithm);
        let keys = Keys::from([(key.name.clone(), key)]);
        let (request, theirs) = their_request(&theirs(other), NOW);
        let Ok(Some((mut chain, stripped))) = verify_request(&keys, &request, 1232, NOW + 299)
        else {
            panic!("it is accepted");
        };
        assert_eq!(stripped, plain(4711, 0));
        let mut answer = plain(4711, 0x8400);
        chain.sign(&mut answer, NOW);
        let mut read = Read::from_octets(answer).unwrap();
        theirs.answer(&mut read, time(NOW)).unwrap();
        let plain = plain(4711, 0x8400);
        assert_eq!(read.as_slice()[..plain.len()], plain);
    }
}

#[test]
fn who_asks_through_a_forwarder_gets_answers_with_its_id_that_can_be_verified() {
    let key = theirs(Algorithm::Sha256);
    let original = 4711_u16.to_be_bytes();
    for now in [NOW, NOW + 1000] {
        let (mut request, theirs) = their_request(&key, NOW);
        request[..2].copy_from_slice(&[0, 99]);
        let mut answer = match verify_request(&keys(), &request, 1232, now) {
            Ok(Some((mut chain, stripped))) => {
                let mut answer = stripped.clone();
                answer[2] |= 0x84;
                chain.sign(&mut answer, now);
                answer
            }
            Ok(None) => panic!("it is signed"),
            Err(rejected) => rejected.answer(&request, 1232),
        };
        assert_eq!(answer[..2], [0, 99], "the forwarder's");
        let signature = find(&answer).unwrap().unwrap();
        assert_eq!(signature.original_id, 4711);
        // The forwarder gives it back as it was asked.
        answer[..2].copy_from_slice(&original);
        let mut read = Read::from_octets(answer).unwrap();
        let verified = theirs.answer(&mut read, time(NOW));
        match now {
            NOW => assert!(verified.is_ok(), "{verified:?}"),
            _ => assert_eq!(signature.variables.error, 18, "{verified:?}"),
        }
    }
}

#[test]
fn our_requests_and_their_answers_are_understood() {
    let key = ours(TsigAlgorithm::HmacSha256);
    let mut request = plain(4711, 0);
    let mut chain = Chain::request(&key, &mut request, NOW);
    let mut read = Read::from_octets(request).unwrap();
    let store = theirs(Algorithm::Sha256);
    let theirs = ServerTransaction::request(&store, &mut read, time(NOW))
        .unwrap()
        .unwrap();
    let mut builder = question_to().additional();
    theirs.answer(&mut builder, time(NOW)).unwrap();
    let mut answer = builder.finish();
    assert_eq!(chain.verify(&mut answer, NOW), Ok(()));
    assert_eq!(answer.len(), 12, "the signature is gone");
}

#[test]
fn sequences_are_understood_both_ways() {
    let key = ours(TsigAlgorithm::HmacSha256);
    let mut request = plain(1, 0);
    let mut chain = Chain::request(&key, &mut request, NOW);
    let mut read = Read::from_octets(request).unwrap();
    let store = theirs(Algorithm::Sha256);
    let mut server = ServerSequence::request(&store, &mut read, time(NOW))
        .unwrap()
        .unwrap();
    for _ in 0..4 {
        let mut builder = question_to().additional();
        server.answer(&mut builder, time(NOW)).unwrap();
        let mut answer = builder.finish();
        assert_eq!(chain.verify(&mut answer, NOW), Ok(()));
    }
    let mut builder = question_to().question();
    builder
        .push((
            Theirs::<Vec<u8>>::from_str("example.test").unwrap(),
            Rtype::AXFR,
        ))
        .unwrap();
    let mut builder = builder.additional();
    let mut client = ClientSequence::request(store, &mut builder, time(NOW)).unwrap();
    let Ok(Some((mut chain, _))) = verify_request(&keys(), builder.as_slice(), 1232, NOW) else {
        panic!("it is accepted");
    };
    for _ in 0..4 {
        let mut answer = plain(4711, 0x8400);
        chain.sign(&mut answer, NOW);
        let mut read = Read::from_octets(answer).unwrap();
        client.answer(&mut read, time(NOW)).unwrap();
    }
    client.done().unwrap();
}

/// A client and a server that have begun a sequence.
fn begun() -> (Chain, Chain) {
    let mut request = plain(1, 0);
    let client = Chain::request(&ours(TsigAlgorithm::HmacSha256), &mut request, NOW);
    match verify_request(&keys(), &request, 1232, NOW) {
        Ok(Some((server, _))) => (client, server),
        _ => panic!("it is accepted"),
    }
}

#[test]
fn ninety_nine_messages_may_be_unsigned_and_neither_the_first_nor_the_last() {
    let (mut client, mut server) = begun();
    assert_eq!(
        client.verify(&mut plain(1, 0x8400), NOW),
        Err(Why::Unsigned)
    );
    let mut first = plain(1, 0x8400);
    server.sign(&mut first, NOW);
    assert_eq!(client.verify(&mut first, NOW), Ok(()));
    for _ in 0..99 {
        assert_eq!(client.verify(&mut plain(1, 0x8400), NOW), Ok(()));
        server.context.update(&plain(1, 0x8400));
    }
    assert_eq!(client.end(), Err(Why::Unsigned));
    assert_eq!(
        client.verify(&mut plain(1, 0x8400), NOW),
        Err(Why::TooManyUnsigned)
    );
    let mut last = plain(1, 0x8400);
    server.sign(&mut last, NOW);
    assert_eq!(client.verify(&mut last, NOW), Ok(()));
    assert_eq!(client.end(), Ok(()));
}

#[test]
fn no_message_of_a_sequence_can_be_changed_left_out_or_swapped() {
    let three = |server: &mut Chain| {
        [0x8400, 0x8401, 0x8402].map(|flags| {
            let mut message = plain(1, flags);
            server.sign(&mut message, NOW);
            message
        })
    };
    let (mut client, mut server) = begun();
    let [mut one, _, mut three_] = three(&mut server);
    assert_eq!(client.verify(&mut one, NOW), Ok(()));
    assert_eq!(
        client.verify(&mut three_, NOW),
        Err(Why::Signature),
        "one is missing"
    );
    let (mut client, mut server) = begun();
    let [mut one, mut two, _] = three(&mut server);
    two[3] ^= 1;
    assert_eq!(client.verify(&mut one, NOW), Ok(()));
    assert_eq!(
        client.verify(&mut two, NOW),
        Err(Why::Signature),
        "a bit differs"
    );
}

#[test]
fn errors_have_the_form_that_the_rfc_wants() {
    let good = theirs(Algorithm::Sha256);
    let stranger = Theirs::from_str("stranger").unwrap();
    let stranger =
        Arc::new(TheirKey::new(Algorithm::Sha256, SECRET, stranger, None, None).unwrap());
    let (request, _) = their_request(&stranger, NOW);
    let (answer, why) = rejected(&request, NOW);
    assert_eq!((error_of(&answer), why), ((9, 17, 0), Some(Why::Key)));
    // The right name with another algorithm is another key.
    let (request, _) = their_request(&theirs(Algorithm::Sha512), NOW);
    assert_eq!(rejected(&request, NOW).1, Some(Why::Key));
    let name = Theirs::from_str("some.key").unwrap();
    let forger = TheirKey::new(
        Algorithm::Sha256,
        b"another secret of some length",
        name,
        None,
        None,
    );
    let (request, _) = their_request(&Arc::new(forger.unwrap()), NOW);
    let (answer, why) = rejected(&request, NOW);
    assert_eq!((error_of(&answer), why), ((9, 16, 0), Some(Why::Signature)));
    // A clock that is wrong is told, and signed.
    let (request, _) = their_request(&good, NOW);
    let (answer, why) = rejected(&request, NOW + 301);
    assert_eq!((error_of(&answer), why), ((9, 18, 32), Some(Why::Time)));
    let signature = find(&answer).unwrap().unwrap();
    assert_eq!(signature.variables.time, NOW, "theirs");
    assert_eq!(
        signature.variables.other,
        (NOW + 301).to_be_bytes()[2..],
        "ours"
    );
}

#[test]
fn a_wrong_clock_is_told_with_a_signature_that_can_be_verified() {
    let mut request = plain(1, 0);
    let mut client = Chain::request(&ours(TsigAlgorithm::HmacSha256), &mut request, NOW);
    let (mut answer, _) = rejected(&request, NOW + 1000);
    assert_eq!(client.verify(&mut answer, NOW), Err(Why::Time));
    let mut forged = rejected(&request, NOW + 1000).0;
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert_eq!(client.verify(&mut forged, NOW), Err(Why::Signature));
}

#[test]
fn what_cannot_be_a_signature_is_a_format_error() {
    let (request, _) = their_request(&theirs(Algorithm::Sha256), NOW);
    let mut twice = request.clone();
    twice.extend(&request[plain(0, 0).len()..]);
    twice[11] = 2;
    let (answer, why) = rejected(&twice, NOW);
    assert_eq!((answer[3] & 0x0F, answer[11], why), (1, 0, None));
    for end in plain(0, 0).len()..request.len() {
        // What is cut has no signature that anybody accepts.
        let accepted = verify_request(&keys(), &request[..end], 1232, NOW);
        assert!(!matches!(accepted, Ok(Some(_))));
    }
}

#[test]
fn whoever_speaks_edns_is_answered_so() {
    let mut request = vec![0, 7, 0x24, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    request.extend(b"\x07example\0\0\x06\0\x01");
    let plain = error_answer(&request, rcode::NOTAUTH, 1400);
    assert_eq!((plain.len(), &plain[8..12]), (request.len(), &[0; 4][..]));
    request[11] = 1;
    request.extend([0, 0, 41, 0x10, 0, 0, 0, 0x80, 0, 0, 0]);
    let answer = error_answer(&request, rcode::NOTAUTH, 1400);
    let message = Message::from_octets(&*answer).unwrap();
    let opt = message.opt().expect("the request has one");
    assert_eq!((opt.udp_payload_size(), opt.dnssec_ok()), (1400, true));
    assert_eq!(answer.len(), request.len());
}
