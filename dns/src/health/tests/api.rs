//! The routes of the admin listener.

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use serde_json::Value;
use tower::ServiceExt;

use super::super::{PolicyReport, router};
use super::health;
use crate::policy::{Family, decide};

async fn ask(router: &axum::Router, method: &str, path: &str, body: &str) -> (StatusCode, Value) {
    let request = Request::builder().method(method).uri(path);
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let answer = router.clone().oneshot(request).await.unwrap();
    let status = answer.status();
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

#[tokio::test]
async fn states_weights_and_spill_are_set_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let router = router(health(folder.path()).await);
    let (status, _) = ask(&router, "PATCH", "/policies/api", r#"{"spill":0.5}"#).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let path = "/policies/api/endpoints/192.0.2.2";
    let (status, _) = ask(&router, "PATCH", path, r#"{"state":"down","weight":0}"#).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let six = "/policies/api/endpoints/2001:db8::1";
    assert_eq!(
        ask(&router, "PATCH", six, r#"{"weight":5}"#).await.0,
        StatusCode::NO_CONTENT
    );
    let (status, policies) = ask(&router, "GET", "/policies", "").await;
    assert_eq!(status, StatusCode::OK);
    let api = &policies[0];
    assert_eq!(
        (&api["name"], &api["spill"], &api["spill_is_set"]),
        (&"api".into(), &0.5.into(), &true.into())
    );
    let expected = serde_json::json!({
        "address": "192.0.2.2", "site": "fra", "pool": "private", "status": "down", "status_is_set": true,
        "weight": 0, "weight_is_set": true, "why": null, "down_at": null, "checks_passed": 0, "checks_failed": 0,
    });
    assert_eq!(api["endpoints"][1], expected);
    assert_eq!(api["endpoints"][0]["weight"], 100);
    assert_eq!(api["endpoints"][2]["weight"], 5);
    ask(&router, "PATCH", path, r#"{"state":"auto"}"#).await;
    let (_, policies) = ask(&router, "GET", "/policies", "").await;
    let endpoint = &policies[0]["endpoints"][1];
    assert_eq!(
        (&endpoint["status"], &endpoint["weight"]),
        (&"up".into(), &0.into()),
        "the weight stays"
    );
}

/// Where something is to be set, what, and how that is refused.
const WRONG: &[(&str, &str, u16, &str)] = &[
    (
        "/policies/apy",
        "{\"spill\":0.5}",
        404,
        "there is no policy `apy`",
    ),
    (
        "/policies/apy/endpoints/192.0.2.1",
        "{}",
        404,
        "there is no policy `apy`",
    ),
    (
        "/policies/api/endpoints/192.0.2.9",
        "{}",
        404,
        "there is no endpoint 192.0.2.9 in the policy `api`",
    ),
    (
        "/policies/api/endpoints/web",
        "{}",
        404,
        "there is no endpoint `web`",
    ),
    (
        "/policies/api",
        "{\"spill\":1.01}",
        422,
        "a spill is from 0 to 1",
    ),
    (
        "/policies/www",
        "{\"spill\":0.1}",
        422,
        "the policy `www` has no public pool",
    ),
    (
        "/policies/api",
        "{\"split\":1}",
        422,
        "unknown field `split`",
    ),
    ("/policies/api", "", 422, "EOF"),
    (
        "/policies/api/endpoints/192.0.2.1",
        "{\"weight\":-1}",
        422,
        "invalid value",
    ),
    (
        "/policies/api/endpoints/192.0.2.1",
        "{\"weight\":1000001}",
        422,
        "a weight is at most 1000000",
    ),
    (
        "/policies/api/endpoints/192.0.2.1",
        "{\"state\":\"off\"}",
        422,
        "unknown variant `off`",
    ),
];

#[tokio::test]
async fn what_cannot_be_set_is_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let router = router(health(folder.path()).await);
    for (path, body, status, detail) in WRONG {
        let (found, problem) = ask(&router, "PATCH", path, body).await;
        assert_eq!(found, *status, "{path} {body}");
        let told = problem["detail"].as_str().unwrap();
        assert!(told.contains(detail), "{path} {body}: {told}");
    }
    assert!(
        !folder.path().join("state.json").exists(),
        "nothing was set"
    );
}

#[tokio::test]
async fn another_process_decides_the_same_from_what_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let health = health(folder.path()).await;
    let router = router(health.clone());
    ask(&router, "PATCH", "/policies/api", r#"{"spill":0.5}"#).await;
    let path = "/policies/api/endpoints/192.0.2.2";
    ask(&router, "PATCH", path, r#"{"state":"down","weight":9}"#).await;
    let (_, shown) = ask(&router, "GET", "/policies", "").await;
    let reports: Vec<PolicyReport> = serde_json::from_value(shown).unwrap();
    let snapshot = health.snapshot();
    let viewed = &snapshot.policies["api"];
    let told = reports[0].view(&viewed.policy);
    let site = snapshot.sites.id("fra").unwrap();
    for client in 0..100u32 {
        let client = std::net::IpAddr::V4((client << 8).into());
        for family in [Family::V4, Family::V6] {
            let from = |view| {
                decide(&viewed.policy, &snapshot.sites, site, family, client, view).addresses
            };
            assert_eq!(from(&told), from(&viewed.view));
        }
    }
}
