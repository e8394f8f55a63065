//! Keys follow each other, and whatever caches hold, every answer can be validated.

use std::collections::BTreeSet;
use std::convert::Infallible;

use proptest::prelude::*;

use super::*;

const TIMING: Timing = Timing {
    zsk_lifetime: Some(1000),
    ksk_lifetime: None,
    propagation: 10,
    ds_ttl: 100,
    longest_ttl: 50,
};
/// The longest TTL and the margin.
const WAIT: u64 = 60;

/// Makes keys with tags that count up.
fn maker() -> impl FnMut(Role) -> Result<Made, Infallible> {
    let mut tag = 0;
    move |_| {
        tag += 1;
        Ok((tag, Secret(tag.to_string())))
    }
}

fn stages(ring: &Ring, role: Role) -> Vec<(u16, Stage)> {
    let keys = ring.keys.iter().filter(|key| key.role == role);
    keys.map(|key| (key.tag, key.stage)).collect()
}

fn advance(
    ring: &Ring,
    now: u64,
    make: &mut impl FnMut(Role) -> Result<Made, Infallible>,
) -> (Ring, Option<u64>) {
    match next(ring, now, &TIMING, make) {
        Ok(next) => next,
        Err(never) => match never {},
    }
}

#[test]
fn a_zsk_is_known_before_it_signs_and_kept_until_its_signatures_are_forgotten() {
    let mut make = maker();
    let (ring, wake) = advance(&Ring::new(Algorithm::Ed25519, 5000), 5000, &mut make);
    assert_eq!(stages(&ring, Role::Zsk), [(2, Stage::Active)]);
    // First the parent may be told.
    assert_eq!(wake, Some(5000 + WAIT));
    let (same, wake) = advance(&ring, 5000 + WAIT, &mut make);
    assert_eq!((&same, wake), (&ring, Some(6000 - WAIT)));
    let (ring, wake) = advance(&ring, 6000 - WAIT, &mut make);
    assert_eq!(
        stages(&ring, Role::Zsk),
        [(2, Stage::Active), (3, Stage::Published)]
    );
    assert_eq!(wake, Some(6000));
    let (ring, wake) = advance(&ring, 6000, &mut make);
    assert_eq!(
        stages(&ring, Role::Zsk),
        [(2, Stage::Retired), (3, Stage::Active)]
    );
    assert_eq!((ring.published().count(), wake), (3, Some(6000 + WAIT)));
    let (ring, wake) = advance(&ring, 6000 + WAIT, &mut make);
    assert_eq!(stages(&ring, Role::Zsk), [(3, Stage::Active)]);
    assert_eq!(wake, Some(7000 - WAIT));
}

#[test]
fn a_ksk_waits_for_the_parent_for_however_long() {
    let mut make = maker();
    let (mut ring, _) = advance(&Ring::new(Algorithm::Ed25519, 5000), 5000, &mut make);
    assert_eq!(ring.announced(5000 + WAIT - 1, &TIMING).count(), 0);
    assert_eq!(ring.announced(5000 + WAIT, &TIMING).count(), 1);
    ring.want(Role::Ksk, 5100, &TIMING).unwrap();
    let (ring, _) = advance(&ring, 5100, &mut make);
    assert_eq!(
        stages(&ring, Role::Ksk),
        [(1, Stage::Active), (3, Stage::Announced)]
    );
    assert!(ring.published().all(|key| key.tag != 3));
    assert_eq!(ring.announced(5100, &TIMING).count(), 2);
    let (mut ring, _) = advance(&ring, 9_000_000, &mut make);
    assert_eq!(
        stages(&ring, Role::Ksk),
        [(1, Stage::Active), (3, Stage::Announced)]
    );
    assert_eq!(ring.saw_ds(9_000_000), Some(3));
    // A second time changes nothing.
    assert_eq!(ring.saw_ds(9_000_050), Some(3));
    let (ring, _) = advance(&ring, 9_000_109, &mut make);
    assert_eq!(stages(&ring, Role::Ksk)[1], (3, Stage::Announced));
    let (ring, _) = advance(&ring, 9_000_110, &mut make);
    assert_eq!(
        stages(&ring, Role::Ksk),
        [(1, Stage::Retired), (3, Stage::Active)]
    );
    // The old DS record must stay as long as caches may have the old keys.
    assert_eq!(ring.announced(9_000_110, &TIMING).count(), 2);
    let (ring, _) = advance(&ring, 9_000_110 + WAIT, &mut make);
    assert_eq!(stages(&ring, Role::Ksk), [(3, Stage::Active)]);
}

#[test]
fn a_key_that_is_being_replaced_is_not_replaced_again() {
    let mut make = maker();
    let (mut ring, _) = advance(&Ring::new(Algorithm::Ed25519, 5000), 5000, &mut make);
    assert_eq!(ring.want(Role::Ksk, 5100, &TIMING), Ok(()));
    let why = |ring: &Ring, now| ring.clone().want(Role::Ksk, now, &TIMING).unwrap_err();
    assert_eq!(why(&ring, 5100), Replaced::Wanted);
    let (mut ring, _) = advance(&ring, 5100, &mut make);
    let under_way = |tag, stage, next| Replaced::UnderWay { tag, stage, next };
    assert_eq!(why(&ring, 5200), under_way(3, Stage::Announced, None));
    ring.saw_ds(5300);
    assert_eq!(why(&ring, 5300), under_way(3, Stage::Announced, Some(5410)));
    let (ring, _) = advance(&ring, 5410, &mut make);
    let gone = 5410 + WAIT;
    assert_eq!(why(&ring, 5410), under_way(1, Stage::Retired, Some(gone)));
    // The other is none of its business, and what is due is none either.
    assert_eq!(ring.clone().want(Role::Zsk, 5410, &TIMING), Ok(()));
    assert_eq!(ring.clone().want(Role::Ksk, gone, &TIMING), Ok(()));
}

#[test]
fn what_had_a_longer_ttl_is_waited_for() {
    let longest = |ttl| Timing {
        longest_ttl: ttl,
        ..TIMING
    };
    let at = Longest::default().at(1000, &longest(500));
    assert_eq!((at.ttl, at.until), (500, None));
    let at = at.at(2000, &longest(50)).at(2100, &longest(50));
    assert_eq!((at.ttl, at.until), (500, Some((50, 2000))));
    // What was served between is waited for too.
    let at = at.at(2400, &longest(20));
    assert_eq!((at.ttl, at.until), (500, Some((20, 2400))));
    assert_eq!(at.at(2909, &longest(20)).ttl, 500);
    assert_eq!(at.at(2910, &longest(20)).ttl, 20);
    assert_eq!(at.at(2500, &longest(700)).ttl, 700);
}

/// What a server answered with, or a parent: by time.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Served {
    at: u64,
    /// Tags of the KSKs that sign the DNSKEY set, and of all keys in it.
    ksks: BTreeSet<u16>,
    keys: BTreeSet<u16>,
    /// The ZSK that signs.
    signs: u16,
    /// The parent's DS records.
    ds: BTreeSet<u16>,
}

fn served(ring: &Ring, at: u64, ds: &BTreeSet<u16>) -> Served {
    let published = || ring.published();
    let ksks = published().filter(|key| key.role == Role::Ksk);
    let signs = published().find(|key| (key.role, key.stage) == (Role::Zsk, Stage::Active));
    Served {
        at,
        ksks: ksks.map(|key| key.tag).collect(),
        keys: published().map(|key| key.tag).collect(),
        signs: signs.expect("one signs").tag,
        ds: ds.clone(),
    }
}

/// What a cache may have at `now` that keeps for `keep` seconds.
fn cached(history: &[Served], now: u64, keep: u64) -> Vec<&Served> {
    // What was served at the beginning of the span was served before.
    let first = history.iter().rposition(|one| one.at + keep <= now);
    history[first.unwrap_or(0)..].iter().collect()
}

fn validates(history: &[Served], now: u64, timing: &Timing) -> Result<(), String> {
    let late = timing.propagation;
    let ttl = u64::from(timing.longest_ttl);
    // A server, or the parent's, may be late, and a cache may have asked it then.
    for parent in cached(history, now, timing.ds_ttl + late) {
        for keys in cached(history, now, ttl + late) {
            if !parent.ds.is_empty() && parent.ds.is_disjoint(&keys.ksks) {
                return Err(format!("at {now} no chain from {parent:?} to {keys:?}"));
            }
            for set in cached(history, now, ttl + late) {
                if !keys.keys.contains(&set.signs) {
                    return Err(format!("at {now} no key {} in {keys:?}", set.signs));
                }
            }
        }
    }
    Ok(())
}

#[derive(Clone, Debug)]
enum Event {
    /// Time passes, and nobody looks: the process is down, or there is nothing to do.
    Pass(u64),
    /// The state is looked at when it said.
    Wake,
    Roll(Role),
    /// The parent takes what CDS says; then an operator says so.
    Parent,
    /// The process begins again with what is in the file.
    Restart,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        (1..200_u64).prop_map(Event::Pass),
        Just(Event::Wake),
        Just(Event::Wake),
        prop_oneof![Just(Role::Ksk), Just(Role::Zsk)].prop_map(Event::Roll),
        Just(Event::Parent),
        Just(Event::Restart),
    ];
    proptest::collection::vec(event, 1..120)
}

proptest! {
    #[test]
    fn whatever_caches_hold_everything_validates(
        events in events(),
        ksk_lifetime in proptest::option::of(300..2000_u64),
        zsk_lifetime in proptest::option::of(150..2000_u64),
        ttl in 1..120_u32,
        ds_ttl in 1..300_u64,
        propagation in 0..40_u64,
    ) {
        let timing = Timing { zsk_lifetime, ksk_lifetime, propagation, ds_ttl, longest_ttl: ttl };
        let mut make = maker();
        let mut now = 10_000;
        let mut ds = BTreeSet::new();
        let mut ring = Ring::new(Algorithm::Ed25519, now);
        let mut history = Vec::new();
        let mut wake = Some(now);
        for event in events {
            match event {
                Event::Pass(seconds) => now += seconds,
                Event::Wake => now = wake.unwrap_or(now + 50).max(now),
                Event::Roll(role) => _ = ring.want(role, now, &timing),
                Event::Parent => {
                    let told: BTreeSet<u16> = ring.announced(now, &timing).map(|key| key.tag).collect();
                    if !told.is_empty() {
                        ds = told;
                        history.push(served(&ring, now, &ds));
                        ring.saw_ds(now);
                    }
                }
                Event::Restart => {
                    let text = serde_json::to_string(&ring).unwrap();
                    ring = serde_json::from_str(&text).unwrap();
                }
            }
            let (after, then) = next(&ring, now, &timing, &mut make).unwrap();
            // It is the same again, until then.
            prop_assert_eq!(&next(&after, now, &timing, &mut make).unwrap().0, &after);
            (ring, wake) = (after, then);
            prop_assert!(wake.is_none_or(|wake| wake > now));
            history.push(served(&ring, now, &ds));
            if let Err(why) = validates(&history, now, &timing) {
                prop_assert!(false, "{why}");
            }
        }
    }
}
