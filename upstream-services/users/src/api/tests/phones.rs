//! Phone numbers: the third name of an account.

use super::*;

fn registration(username: &str, phone: Value) -> Value {
    let email = format!("{username}@example.org");
    json!({ "username": username, "email": email, "phone": phone, "password": PASSWORD })
}

#[tokio::test]
async fn a_phone_number_has_one_owner_and_logs_in() {
    let home = Home::new().await;
    let body = registration("anna", json!("+4930901820"));
    let made = home.post("/v1/register", body).await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.json()["phone"], "+4930901820");
    let tokens = home.login("+4930901820").await;
    assert_eq!(tokens.status, 200, "{}", tokens.text());
    let body = registration("berta", json!("+4930901820"));
    let taken = home.post("/v1/register", body).await;
    assert_eq!(taken.problem(409).0, "taken");
    assert_eq!(home.count("SELECT COUNT(*) FROM claims").await, 3);
    for wrong in [json!("030901820"), json!("+49"), json!(4930901820i64)] {
        let body = registration("berta", wrong);
        let (_, detail) = home.post("/v1/register", body).await.problem(422);
        assert!(detail.contains("`phone`"), "{detail}");
    }
    let others = home.register("berta").await.json();
    assert_eq!(others["phone"], Value::Null);
    let path = format!("/v1/users/{}", text(&made.json(), "id"));
    let seen = home.get(&path, &text(&tokens.json(), "access_token")).await;
    assert!(!seen.text().contains("4930901820"), "others do not see it");
}

#[tokio::test]
async fn a_phone_number_can_be_changed_and_taken_away() {
    let home = Home::new().await;
    let (_, tokens) = home.session("anna").await;
    let token = text(&tokens, "access_token");
    let (_, others) = home.session("berta").await;
    let other = text(&others, "access_token");
    let patch = async |token: &str, body: Value| home.patch(token, &[], body).await;

    let set = patch(&token, json!({ "phone": "+4930901820" })).await;
    assert_eq!(set.json()["phone"], "+4930901820");
    let taken = patch(&other, json!({ "phone": "+4930901820" })).await;
    assert_eq!(taken.problem(409).0, "taken");
    let stays = patch(&token, json!({ "display_name": "Anna" })).await;
    assert_eq!(stays.json()["phone"], "+4930901820");

    let both = json!({ "phone": "+12025550123", "email": "new@example.org" });
    assert_eq!(patch(&token, both).await.status, 200);
    home.login("+4930901820").await.problem(401);
    assert_eq!(home.login("+12025550123").await.status, 200);
    assert_eq!(home.login("new@example.org").await.status, 200);
    let free = patch(&other, json!({ "phone": "+4930901820" })).await;
    assert_eq!(free.status, 200);

    let gone = patch(&token, json!({ "phone": null })).await;
    assert_eq!(gone.json()["phone"], Value::Null);
    home.login("+12025550123").await.problem(401);
    assert_eq!(home.count("SELECT COUNT(*) FROM claims").await, 5);
    assert_eq!(home.count("SELECT COUNT(*) FROM claim_releases").await, 0);
}
