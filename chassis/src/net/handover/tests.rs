//! Both sides in one process.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Mutex;

use super::*;
use crate::net::{Address, Inherited};

/// A predecessor with so many sockets, and how its hand-overs ended.
async fn predecessor(door: PathBuf, sockets: usize, outcomes: &Mutex<Vec<String>>) {
    let listeners: Vec<_> = (0..sockets)
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("a port is free"))
        .collect();
    let addresses: Vec<_> = listeners
        .iter()
        .map(|one| Address::Tcp(one.local_addr().expect("it is bound")))
        .collect();
    let offered: Vec<_> = listeners
        .iter()
        .zip(&addresses)
        .map(|(listener, address)| Offered {
            name: "http",
            address,
            removable: false,
            socket: listener.as_fd(),
        })
        .collect();
    let waiting = Door::default();
    waiting.open(&door).expect("the path is free");
    let serve = waiting.serve(async |candidate: Candidate| {
        let outcome = match candidate.offer(&offered, kept()).await {
            Ok(ready) => ready.confirm().await,
            Err(error) => Err(error),
        };
        let outcome = outcome.map_or_else(|error| error.to_string(), |()| "handed over".into());
        outcomes.lock().expect("nothing panics in it").push(outcome);
    });
    serve.await;
}

async fn run<T>(sockets: usize, successor: impl AsyncFnOnce(PathBuf) -> T) -> (T, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let door = folder.path().join("door.sock");
    let outcomes = Mutex::default();
    let test = tokio::select! {
        () = predecessor(door.clone(), sockets, &outcomes) => unreachable!("it serves for ever"),
        test = async {
            while !door.exists() {
                tokio::task::yield_now().await;
            }
            let outcome = successor(door.clone()).await;
            // Lets the predecessor notice how it ended.
            tokio::time::sleep(Duration::from_millis(50)).await;
            outcome
        } => test,
    };
    (test, outcomes.into_inner().unwrap())
}

fn kept() -> Kept {
    [("secret".to_owned(), "abc".to_owned())].into()
}

fn claim(mut inherited: Inherited) -> usize {
    let any = Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    inherited.claim("http", &any, &Default::default()).len()
}

#[tokio::test]
async fn a_thousand_sockets_are_handed_over_one_hand_over_after_the_other() {
    let (counts, outcomes) = run(1000, async |door| {
        let mut counts = Vec::new();
        for _ in 0..2 {
            let begun = TakeOver::begin(&door, READY_WITHIN).await;
            let (take_over, inherited) = begun.unwrap();
            assert_eq!(take_over.predecessor(), std::process::id());
            counts.push(claim(inherited));
            assert_eq!(take_over.kept("secret"), Some("abc"));
            assert_eq!(take_over.kept("another"), None);
            assert!(!format!("{take_over:?}").contains("abc"));
            take_over.ready().await.unwrap();
        }
        counts
    })
    .await;
    assert_eq!(counts, [1000, 1000]);
    assert_eq!(outcomes, ["handed over", "handed over"]);
}

#[tokio::test]
async fn the_predecessor_knows_why_a_successor_is_not_ready() {
    let ((), outcomes) = run(1, async |door| {
        let (take_over, _) = TakeOver::begin(&door, READY_WITHIN).await.unwrap();
        take_over.fail("no certificate").await;
        let (gone, _) = TakeOver::begin(&door, READY_WITHIN).await.unwrap();
        drop(gone);
        let late = Duration::from_millis(20);
        let (slow, _) = TakeOver::begin(&door, late).await.unwrap();
        tokio::time::sleep(late * 3).await;
        assert!(slow.ready().await.is_err(), "it was given up");
        drop(tokio::net::UnixStream::connect(&door).await);
    })
    .await;
    let [failed, gone, slow, silent] = &outcomes[..] else {
        panic!("{outcomes:?}")
    };
    assert_eq!(failed, "no certificate");
    assert!(gone.contains("has gone"), "{gone}");
    assert!(slow.contains("longer than 20ms"), "{slow}");
    assert!(silent.contains("has gone"), "{silent}");
}

#[tokio::test]
async fn a_second_candidate_is_refused_and_a_later_one_is_not() {
    let (refused, outcomes) = run(1, async |door| {
        let (first, _) = TakeOver::begin(&door, READY_WITHIN).await.unwrap();
        let refused = TakeOver::begin(&door, READY_WITHIN).await.unwrap_err();
        drop(first);
        tokio::time::sleep(Duration::from_millis(20)).await;
        let (third, _) = TakeOver::begin(&door, READY_WITHIN).await.unwrap();
        third.ready().await.unwrap();
        refused.to_string()
    })
    .await;
    assert!(
        refused.contains("another hand-over is under way"),
        "{refused}"
    );
    assert_eq!(outcomes.last().unwrap(), "handed over");
}

#[tokio::test]
async fn the_door_is_for_the_owner_alone_and_goes_with_its_process() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("a"), folder.path().join("b"));
    let door = Door::default();
    door.open(&first).unwrap();
    let mode = std::fs::metadata(&first).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    door.open(&second).unwrap();
    assert!(!first.exists() && second.exists());
    assert!(
        Door::default().open(&second).is_err(),
        "somebody waits there"
    );

    let successor = Door::default();
    successor.open_in_place(&second).unwrap();
    door.close();
    assert!(second.exists(), "it is the successor's by now");
    successor.close();
    assert!(!second.exists());

    let nobody = TakeOver::begin(&second, READY_WITHIN).await.unwrap_err();
    assert!(nobody.to_string().contains("nobody listens at"), "{nobody}");
}
