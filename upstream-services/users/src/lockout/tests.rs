//! What a lockout promises.

use super::*;

const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));

fn lockout() -> Arc<Lockout> {
    let config = LockoutConfig {
        attempts: 3,
        account_attempts: 12,
        ..LockoutConfig::default()
    };
    let refused = IntCounter::new("refused", "refused").unwrap();
    Arc::new(Lockout::new(config, refused))
}

impl Lockout {
    fn admit(self: &Arc<Self>, who: &str, from: Option<IpAddr>, now: Time) -> Result<Guess, Error> {
        let guess = self.admit_near(Key::near(who, from), now)?;
        self.admit_far(guess, who)
    }
}

fn at(seconds: i64) -> Time {
    Time::from_millis(seconds * 1000)
}

fn other(number: u8) -> Option<IpAddr> {
    Some(IpAddr::from([198, 51, 100, number]))
}

/// A wrong guess: the seconds it has to wait, or none when it was let in.
fn wrong(lockout: &Arc<Lockout>, from: Option<IpAddr>, seconds: i64) -> Option<u64> {
    match lockout.admit("anna", from, at(seconds)) {
        Ok(guess) => {
            guess.wrong();
            None
        }
        Err(Error::LockedOut(wait)) => Some(wait.as_secs()),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn waits_begin_at_the_limit_and_double() {
    let lockout = lockout();
    for _ in 0..3 {
        assert_eq!(wrong(&lockout, HERE, 0), None);
    }
    assert_eq!(wrong(&lockout, other(1), 0), None, "elsewhere it is free");
    let mut now = 0;
    for expected in [28, 56, 112, 225, 450, 900, 900] {
        let wait = wrong(&lockout, HERE, now).expect("a wait");
        assert_eq!(wait, expected);
        now += 1 + i64::try_from(wait).unwrap();
        assert_eq!(wrong(&lockout, HERE, now), None, "one more after {wait} s");
    }
    assert_eq!(lockout.refused.get(), 7);
}

#[test]
fn quiet_windows_halve_the_count() {
    let lockout = lockout();
    for _ in 0..3 {
        wrong(&lockout, HERE, 0);
    }
    assert!(wrong(&lockout, HERE, 27).is_some());
    // One window after the wait: 3 became 1.
    assert_eq!(wrong(&lockout, HERE, 930), None);
    assert_eq!(wrong(&lockout, HERE, 930), None);
    assert!(wrong(&lockout, HERE, 930).is_some());
}

#[test]
fn many_addresses_lock_unfamiliar_ones_only() {
    let lockout = lockout();
    let names = ["anna", "anna@example.org"];
    let owner = lockout.admit("anna", HERE, at(0)).unwrap();
    owner.right(HERE, names.into_iter());
    for number in 0..12 {
        assert_eq!(wrong(&lockout, other(number), 0), None);
    }
    assert!(wrong(&lockout, other(99), 0).is_some());
    let owner = lockout.admit("anna", HERE, at(0));
    drop(owner.expect("not locked out by strangers"));
    // The owner's own mistakes count where they are made.
    for _ in 0..3 {
        assert_eq!(wrong(&lockout, HERE, 0), None);
    }
    assert!(wrong(&lockout, HERE, 0).is_some());
    lockout.clear("anna", HERE);
    assert_eq!(wrong(&lockout, HERE, 0), None);
    assert_eq!(wrong(&lockout, other(99), 0), None);
}

#[test]
fn a_right_password_starts_anew_and_an_undecided_one_counts_nothing() {
    let lockout = lockout();
    for _ in 0..10 {
        drop(lockout.admit("anna", HERE, at(0)).unwrap());
    }
    for _ in 0..4 {
        assert_eq!(wrong(&lockout, HERE, 0), None);
        assert_eq!(wrong(&lockout, HERE, 0), None);
        let right = lockout.admit("anna", HERE, at(0)).unwrap();
        right.right(HERE, std::iter::once("anna"));
    }
}

#[test]
fn guesses_at_once_are_no_more_than_one_after_another() {
    let lockout = lockout();
    let admit = || lockout.admit("anna", HERE, at(0));
    let held: Vec<_> = (0..100).filter_map(|_| admit().ok()).collect();
    assert_eq!(held.len(), 3);
    assert!(matches!(admit(), Err(Error::LockedOut(wait)) if wait.as_secs() == 1));
    held.into_iter().for_each(Guess::wrong);
    assert!(matches!(admit(), Err(Error::LockedOut(wait)) if wait.as_secs() > 1));
}

#[test]
fn neighbours_in_a_64_are_one() {
    let lockout = lockout();
    let address = |text: &str| Some(text.parse().unwrap());
    for host in ["2001:db8::1", "2001:db8::2", "2001:db8::ffff:3"] {
        assert_eq!(wrong(&lockout, address(host), 0), None);
    }
    assert!(wrong(&lockout, address("2001:db8::4"), 0).is_some());
    assert_eq!(wrong(&lockout, address("2001:db8:0:1::1"), 0), None);
    let mapped = address("::ffff:192.0.2.1");
    assert_eq!(Key::near("anna", mapped), Key::near("anna", HERE));
}
