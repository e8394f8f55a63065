//! That nobody gets more than the limit, and that nobody else gets less for it.

use proptest::prelude::*;

use super::*;

fn limiter(limit: u32, slip: u32, exempt: &[&str]) -> Limiter {
    let exempt: Vec<IpNet> = exempt.iter().map(|net| net.parse().unwrap()).collect();
    Limiter::new(Arc::default(), limit, slip, [24, 56], &exempt)
}

/// How many of so many answers at a time are sent.
fn sent(limiter: &Limiter, client: &str, now: u64, count: usize) -> usize {
    let client = client.parse().unwrap();
    let mut held = 0;
    let verdicts = (0..count).map(|_| limiter.judge(client, Kind::Answer, now, &mut held));
    verdicts.filter(|verdict| *verdict == Verdict::Send).count()
}

const SECOND: u64 = 1_000_000;

#[test]
fn a_network_gets_a_second_in_advance_and_then_its_rate() {
    let limiter = limiter(
        100,
        2,
        &["198.51.100.0/24", "2001:db8:1::/48", "203.0.113.7/32"],
    );
    assert_eq!(sent(&limiter, "192.0.2.1", 5 * SECOND, 1000), 100);
    assert_eq!(sent(&limiter, "192.0.2.200", 5 * SECOND, 1000), 0);
    assert_eq!(sent(&limiter, "192.0.3.1", 5 * SECOND, 1000), 100);
    assert_eq!(sent(&limiter, "192.0.2.1", 5 * SECOND + 100_000, 1000), 10);
    assert_eq!(sent(&limiter, "192.0.2.1", 60 * SECOND, 1000), 100);
    assert_eq!(sent(&limiter, "2001:db8:0:100::1", SECOND, 1000), 100);
    assert_eq!(sent(&limiter, "2001:db8:0:1ff::1", SECOND, 1000), 0);
    assert_eq!(sent(&limiter, "2001:db8:0:200::1", SECOND, 1000), 100);
    for exempt in ["198.51.100.9", "2001:db8:1::9", "203.0.113.7"] {
        assert_eq!(sent(&limiter, exempt, SECOND, 1000), 1000, "{exempt}");
    }
    assert_eq!(sent(&limiter, "203.0.113.8", SECOND, 1000), 100);
}

#[test]
fn kinds_of_answers_are_counted_apart() {
    let limiter = limiter(1, 0, &[]);
    let client = IpAddr::from([192, 0, 2, 1]);
    for kind in [Kind::Answer, Kind::Nothing, Kind::Error] {
        let judge = || limiter.judge(client, kind, SECOND, &mut 0);
        assert_eq!((judge(), judge()), (Verdict::Send, Verdict::Drop));
    }
}

#[test]
fn every_nth_that_is_held_back_slips() {
    for (slip, expected) in [(0, 0), (1, 60), (2, 30), (3, 20)] {
        let limiter = limiter(1, slip, &[]);
        let client = IpAddr::from([192, 0, 2, 1]);
        let mut held = 0;
        let verdicts = (0..61).map(|_| limiter.judge(client, Kind::Answer, SECOND, &mut held));
        let slipped = verdicts.filter(|verdict| *verdict == Verdict::Slip).count();
        assert_eq!(slipped, expected, "slip = {slip}");
    }
}

#[test]
fn threads_together_keep_the_limit() {
    let limiter = limiter(10_000, 0, &[]);
    let sent = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| sent(&limiter, "192.0.2.1", SECOND, 20_000)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum::<usize>()
    });
    assert_eq!(sent, 10_000);
}

#[test]
fn a_flood_in_the_name_of_a_million_networks_leaves_others_alone() {
    let limiter = limiter(50, 0, &[]);
    let mut now = SECOND;
    let mut random = 1_u32;
    let mut honest = 0;
    for at in 0..1_000_000_u32 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let spoofed = IpAddr::from(random.to_be_bytes());
        limiter.judge(spoofed, Kind::Answer, now, &mut 0);
        // A million queries a second, and a resolver that asks forty times a second meanwhile.
        now += 1;
        if at % 25_000 == 0 {
            honest += sent(&limiter, "10.0.0.1", now, 1);
        }
    }
    assert_eq!(honest, 40);
}

proptest! {
    #[test]
    fn no_window_holds_more_than_the_limit_and_a_second_in_advance(
        limit in 1_u32..2000,
        steps in prop::collection::vec((0_u64..300_000, 1_usize..200), 1..60),
    ) {
        let limiter = limiter(limit, 0, &[]);
        // Where the times of slots begin anew.
        let mut now = (1 << TIME_BITS) - 3 * SECOND;
        let mut sent_at = Vec::new();
        for (pause, count) in steps {
            now += pause;
            let sent = sent(&limiter, "192.0.2.1", now, count);
            sent_at.push((now, sent as u64));
        }
        for from in 0..sent_at.len() {
            let mut sum = 0;
            for (at, sent) in &sent_at[from..] {
                sum += sent;
                let window = at - sent_at[from].0;
                let most = u64::from(limit) * (window + SECOND) / SECOND + 1;
                prop_assert!(sum <= most, "{} in {} us at {} a second", sum, window, limit);
            }
        }
    }
}
