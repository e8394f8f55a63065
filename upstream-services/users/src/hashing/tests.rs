//! What the pool promises.

use chassis::units::Size;
use futures::future::join_all;
use prometheus::Registry;

use super::*;

fn hasher(threads: u16, queue: u32, memory: u64, iterations: u32) -> Hasher {
    let config = HashConfig {
        threads: Some(threads),
        queue,
        memory: Size::from_kib(memory),
        iterations,
    };
    let metrics = HashMetrics::register(&Registry::new()).unwrap();
    Hasher::start(&config, metrics).unwrap()
}

fn password(text: &str) -> Password {
    Password::presented(text.to_owned())
}

#[tokio::test]
async fn a_hash_matches_its_password_only() {
    let hasher = hasher(1, 4, 64, 1);
    let hash = hasher
        .hash(Lane::Login, password("correct horse"))
        .await
        .unwrap();
    assert!(hash.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{hash}");
    let right = hasher
        .verify(password("correct horse"), &hash)
        .await
        .unwrap();
    assert_eq!((right.matches, right.outdated), (true, false));
    let wrong = hasher
        .verify(password("correct horsf"), &hash)
        .await
        .unwrap();
    assert!(!wrong.matches);
    assert_ne!(
        hasher
            .hash(Lane::Login, password("correct horse"))
            .await
            .unwrap(),
        hash
    );
}

#[tokio::test]
async fn hashes_of_other_parameters_still_verify_and_are_outdated() {
    let hash = hasher(1, 4, 64, 1)
        .hash(Lane::Login, password("pass phrase"))
        .await
        .unwrap();
    for other in [
        hasher(1, 4, 128, 1),
        hasher(1, 4, 32, 1),
        hasher(1, 4, 64, 2),
    ] {
        let verified = other.verify(password("pass phrase"), &hash).await.unwrap();
        assert_eq!((verified.matches, verified.outdated), (true, true));
    }
}

#[tokio::test]
async fn other_argon2_programs_agree() {
    // echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1 (the reference program's test).
    let hash =
        "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
    let hasher = hasher(1, 4, 64, 1);
    assert!(
        hasher
            .verify(password("password"), hash)
            .await
            .unwrap()
            .matches
    );
}

#[tokio::test]
async fn what_does_not_fit_the_queue_is_refused_at_once() {
    let hasher = hasher(1, 2, 8 * 1024, 2);
    let results = join_all((0..20).map(|_| hasher.hash(Lane::Login, password("x")))).await;
    let done = results.iter().filter(|result| result.is_ok()).count();
    assert!((2..=4).contains(&done), "{done}");
    assert_eq!(hasher.activity.metrics.rejected.get(), 20 - done as u64);
    assert_eq!(hasher.activity.metrics.done.get(), done as u64);
}

#[tokio::test]
async fn a_flood_of_registrations_does_not_starve_logins() {
    let hasher = Arc::new(hasher(1, 8, 8 * 1024, 2));
    let stored = hasher.hash(Lane::Login, password("x")).await.unwrap();
    let done = Arc::new(AtomicUsize::new(0));
    let mut flood = Vec::new();
    let mut logins = Vec::new();
    for _ in 0..20 {
        // More than fit, before every login.
        while hasher.pressure().queued < 8 {
            for _ in 0..16 {
                let (hasher, done) = (hasher.clone(), done.clone());
                flood.push(tokio::spawn(async move {
                    let made = hasher.hash(Lane::Register, password("y")).await;
                    done.fetch_add(usize::from(made.is_ok()), Ordering::Relaxed);
                }));
            }
            tokio::task::yield_now().await;
        }
        logins.push(hasher.verify(password("x"), &stored).await);
    }
    let refused = logins.iter().filter(|login| login.is_err()).count();
    assert_eq!(refused, 0, "every login found a place");
    // Each waited for the hash that was running, and not for the eight that waited.
    let done = done.load(Ordering::Relaxed);
    assert!(done < 5 * logins.len(), "{done} registrations went before");
    assert!(hasher.activity.metrics.rejected.get() > 0);
    flood.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn pressure_is_seen_and_closing_waits() {
    let hasher = Arc::new(hasher(1, 8, 8 * 1024, 4));
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let hasher = hasher.clone();
            tokio::spawn(async move { hasher.hash(Lane::Login, password("x")).await })
        })
        .collect();
    while hasher.pressure().queued < 3 {
        tokio::task::yield_now().await;
    }
    let pressure = hasher.pressure();
    assert_eq!((pressure.limit, pressure.queue_limit), (1, 8));
    let closing = hasher.clone();
    tokio::task::spawn_blocking(move || closing.close())
        .await
        .unwrap();
    for hash in waiting {
        hash.await.unwrap().unwrap();
    }
    assert!(matches!(
        hasher.hash(Lane::Login, password("x")).await,
        Err(Error::Overloaded)
    ));
    assert_eq!(hasher.pressure().in_flight, 0);
}
