//! The vectors of RFC 9018, and what is not ours.

use proptest::prelude::*;

use super::*;

fn octets(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    let pair = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.map(pair).collect()
}

fn cookie(hex: &str) -> Cookie {
    let octets = octets(hex);
    let server = match octets[8..].try_into() {
        Ok(server) => ServerPart::Ours(server),
        Err(_) => ServerPart::None,
    };
    Cookie {
        client: octets[..8].try_into().unwrap(),
        server,
    }
}

fn cookies(secrets: &[&str]) -> Cookies {
    let secrets = secrets
        .iter()
        .map(|hex| CookieSecret::from_hex(hex).unwrap());
    Cookies::shared(secrets.collect(), false)
}

const SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";

#[test]
fn the_vectors_of_rfc_9018() {
    let old = "dd3bdf9344b678b185a6f5cb60fca715";
    let new = "445536bcd2513298075a5d379663c962";
    for (secrets, address, now, sent, state, baked) in [
        (
            &[SECRET][..],
            "198.51.100.100",
            1_559_731_985,
            "2464c4abcf10c957",
            CookieState::New,
            "2464c4abcf10c957010000005cf79f111f8130c3eee29480",
        ),
        (
            &[SECRET],
            "198.51.100.100",
            1_559_734_385,
            "2464c4abcf10c957010000005cf79f111f8130c3eee29480",
            CookieState::Valid,
            "2464c4abcf10c957010000005cf7a871d4a564a1442aca77",
        ),
        (
            // It is older than an hour.
            &[SECRET],
            "203.0.113.203",
            1_559_734_700,
            "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5",
            CookieState::Invalid,
            "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e",
        ),
        (
            // While it was young, also with octets that are reserved.
            &[SECRET],
            "203.0.113.203",
            1_559_727_985,
            "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5",
            CookieState::Valid,
            "",
        ),
        (
            &[new, old],
            "2001:db8:220:1:59de:d0f4:8769:82b8",
            1_559_741_961,
            "22681ab97d52c298010000005cf7c57926556bd0934c72f8",
            CookieState::Valid,
            "22681ab97d52c298010000005cf7c609a6bb79d16625507a",
        ),
        (
            &[new],
            "2001:db8:220:1:59de:d0f4:8769:82b8",
            1_559_741_961,
            "22681ab97d52c298010000005cf7c57926556bd0934c72f8",
            CookieState::Invalid,
            "22681ab97d52c298010000005cf7c609a6bb79d16625507a",
        ),
    ] {
        let address = address.parse().unwrap();
        let judged = cookies(secrets).judge(&cookie(sent), address, now);
        assert_eq!(judged.0, state, "{sent}");
        if !baked.is_empty() {
            assert_eq!(judged.1[..], octets(baked), "{sent}");
        }
    }
}

#[test]
fn a_cookie_is_of_one_address_and_lives_for_an_hour() {
    let cookies = cookies(&[SECRET]);
    let (here, there) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
    // Also where the seconds since 1970 begin anew.
    for made in [1_800_000_000_u32, u32::MAX - 2] {
        let (_, baked) = cookies.judge(&cookie("0102030405060708"), here, made);
        let back = Cookie {
            client: baked[..8].try_into().unwrap(),
            server: ServerPart::Ours(baked[8..].try_into().unwrap()),
        };
        let after = |seconds: i32| made.wrapping_add_signed(seconds);
        for (seconds, state, same) in [
            (0, CookieState::Valid, true),
            (1800, CookieState::Valid, true),
            (1801, CookieState::Valid, false),
            (3600, CookieState::Valid, false),
            (3601, CookieState::Invalid, false),
            (-300, CookieState::Valid, false),
            (-301, CookieState::Invalid, false),
        ] {
            let judged = cookies.judge(&back, here, after(seconds));
            assert_eq!(judged.0, state, "after {seconds} s");
            assert_eq!(judged.1 == baked, same, "after {seconds} s");
        }
        assert_eq!(cookies.judge(&back, there, made).0, CookieState::Invalid);
        let other = Cookie {
            client: [9; 8],
            ..back
        };
        assert_eq!(cookies.judge(&other, here, made).0, CookieState::Invalid);
    }
}

#[test]
fn a_successor_has_the_secret_and_nobody_sees_it() {
    let kept = crate::guard::Kept::default();
    let text = kept.bequeath();
    let successor = crate::guard::Kept::default();
    successor.inherit("no secret");
    successor.inherit(&text);
    assert_eq!(successor.bequeath(), text);
    let shown = format!("{kept:?} {:?}", cookies(&[SECRET]));
    assert!(!shown.contains(&text) && shown.contains("***"), "{shown}");
}

proptest! {
    #[test]
    fn nothing_made_up_is_ours(client: [u8; 8], server: [u8; 16], now: u32) {
        let server = ServerPart::Ours(server);
        let judged = cookies(&[SECRET]).judge(&Cookie { client, server }, [192, 0, 2, 1].into(), now);
        prop_assert_eq!(judged.0, CookieState::Invalid);
        prop_assert_eq!(&judged.1[..8], &client);
    }
}
