//! The state file: what is set survives, and what is not understood is refused.

use std::fs;

use chassis::health::{EndpointChange, NotSet, StateFile};

use super::super::{Overrides, PolicyChange};
use super::{POLICY, health, plan};
use crate::policy::Status;

fn endpoint(json: &str) -> EndpointChange {
    serde_json::from_str(json).unwrap()
}

fn policy(json: &str) -> PolicyChange {
    serde_json::from_str(json).unwrap()
}

#[tokio::test]
async fn what_is_set_survives_a_restart_and_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let first = health(folder.path()).await;
    let six = "2001:db8::1".parse().unwrap();
    first
        .set_endpoint("api", six, endpoint(r#"{"state":"down"}"#))
        .await
        .unwrap();
    first
        .set_endpoint("api", six, endpoint(r#"{"weight":3}"#))
        .await
        .unwrap();
    first
        .set_policy("api", policy(r#"{"spill":0.25}"#))
        .await
        .unwrap();
    let check = |health: &super::Health| {
        let viewed = health.snapshot().policies["api"].clone();
        let view = &viewed.view.endpoints[viewed.policy.endpoint(six).unwrap()];
        assert_eq!((view.status, view.weight), (Status::Down, Some(3)));
        assert_eq!(viewed.view.spill, Some(0.25));
        let www = &health.snapshot().policies["www"].view;
        assert_eq!(
            www.endpoints[0].status,
            Status::Up,
            "another policy is not concerned"
        );
    };
    check(&first);
    first
        .apply(
            plan(folder.path(), POLICY).unwrap(),
            Some(StateFile::read(&folder.path().join("state.json")).unwrap()),
        )
        .await;
    check(&first);
    drop(first);
    let second = health(folder.path()).await;
    check(&second);
    second
        .set_endpoint("api", six, endpoint(r#"{"state":null,"weight":null}"#))
        .await
        .unwrap();
    second
        .set_policy("api", policy(r#"{"spill":null}"#))
        .await
        .unwrap();
    let kept = fs::read_to_string(folder.path().join("state.json")).unwrap();
    assert!(!kept.contains("api"), "what is not set is not kept: {kept}");
    let viewed = second.snapshot().policies["api"].clone();
    assert_eq!(viewed.view, crate::policy::View::all_up(&viewed.policy));
}

#[tokio::test]
async fn a_file_that_is_not_understood_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    for (content, why) in [
        (&b"{\"version\":1,\"poli"[..], "EOF"),
        (b"", "EOF"),
        (b"\xff\xff", "UTF-8"),
        (b"{\"version\":2}", "version 2 is not known here"),
        (b"{\"policies\":{}}", "missing field `version`"),
        (b"{\"version\":1,\"weights\":{}}", "unknown field `weights`"),
        (b"{\"version\":1,\"policies\":{\"a\":{\"spill\":1.5}}}", "the spill of `a` is not from 0 to 1"),
        (
            b"{\"version\":1,\"policies\":{\"a\":{\"endpoints\":{\"192.0.2.1\":{\"weight\":2000000}}}}}",
            "a weight of `a` is more than 1000000",
        ),
    ] {
        fs::write(&path, content).unwrap();
        let error = StateFile::<Overrides>::read(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("the state file {}", path.display())), "{error}");
        assert!(error.contains(why), "{error}");
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(StateFile::<Overrides>::read(&path).is_err());
}

#[tokio::test]
async fn what_cannot_be_kept_does_not_hold() {
    let folder = tempfile::tempdir().unwrap();
    let health = health(folder.path()).await;
    health
        .set_policy("api", policy(r#"{"spill":0.1}"#))
        .await
        .unwrap();
    let epoch = health.snapshot().epoch;
    let file = folder.path().join("state.json");
    let aside = folder.path().join("aside");
    fs::rename(&file, &aside).unwrap();
    fs::create_dir(&file).unwrap();
    let refused = health.set_policy("api", policy(r#"{"spill":0.9}"#)).await;
    assert!(matches!(refused, Err(NotSet::NotKept(_))));
    let snapshot = health.snapshot();
    assert_eq!(
        (snapshot.epoch, snapshot.policies["api"].view.spill),
        (epoch, Some(0.1))
    );
    fs::remove_dir(&file).unwrap();
    fs::rename(&aside, &file).unwrap();
    health
        .set_policy("api", policy(r#"{"spill":0.9}"#))
        .await
        .unwrap();
    assert_eq!(health.snapshot().policies["api"].view.spill, Some(0.9));
}

#[tokio::test]
async fn only_what_changed_is_new_in_the_next_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let health = health(folder.path()).await;
    let before = health.snapshot();
    health
        .set_policy("api", policy(r#"{"spill":0.1}"#))
        .await
        .unwrap();
    let after = health.snapshot();
    assert!(after.epoch > before.epoch);
    let same = |name: &str| std::sync::Arc::ptr_eq(&before.policies[name], &after.policies[name]);
    assert!(same("www"));
    assert!(!same("api"));
}

#[tokio::test]
async fn many_changes_at_once_are_all_kept() {
    let folder = tempfile::tempdir().unwrap();
    let health = health(folder.path()).await;
    let changes = ["192.0.2.1", "192.0.2.2", "2001:db8::1"].map(|address| {
        let health = health.clone();
        tokio::spawn(async move {
            for weight in 0..=20 {
                let change = endpoint(&format!(r#"{{"weight":{weight}}}"#));
                health
                    .set_endpoint("api", address.parse().unwrap(), change)
                    .await
                    .unwrap();
            }
        })
    });
    for change in changes {
        change.await.unwrap();
    }
    drop(health);
    let again = super::health(folder.path()).await;
    let view = &again.snapshot().policies["api"].view;
    assert!(
        view.endpoints.iter().all(|one| one.weight == Some(20)),
        "{view:?}"
    );
}
