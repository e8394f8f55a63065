//! Reading and changing profiles.

use super::*;

#[tokio::test]
async fn a_profile_has_a_tag_and_is_not_sent_twice() {
    let home = Home::new().await;
    let (id, tokens) = home.session("anna").await;
    let token = text(&tokens, "access_token");
    let me = home.get("/v1/me", &token).await;
    assert_eq!(me.status, 200);
    assert_eq!(me.json()["id"], *id);
    assert_eq!(me.json()["email"], "anna@example.org");
    assert_eq!(me.json()["display_name"], Value::Null);
    let tag = me.header("etag").to_owned();
    let again = [("if-none-match", tag.as_str())];
    let again = request(Method::GET, "/v1/me", Some(&token), &again, None);
    let again = home.send(again).await;
    assert_eq!((again.status.as_u16(), again.body.len()), (304, 0));
    assert_eq!(again.header("etag"), tag);
}

#[tokio::test]
async fn a_change_shows_at_once_and_changes_the_tag() {
    let home = Home::new().await;
    let (id, tokens) = home.session("anna").await;
    let token = text(&tokens, "access_token");
    let first = home.get("/v1/me", &token).await;
    let changed = home
        .patch(&token, &[], json!({ "display_name": " Anna B. " }))
        .await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert_eq!(changed.json()["display_name"], "Anna B.");
    assert_ne!(changed.header("etag"), first.header("etag"));
    let read = home.get("/v1/me", &token).await;
    assert_eq!(read.json(), changed.json());
    assert_eq!(read.header("etag"), changed.header("etag"));
    let seen = home.get(&format!("/v1/users/{id}"), &token).await.json();
    assert_eq!(seen["display_name"], "Anna B.");

    let same = home.patch(&token, &[], json!({})).await;
    assert_eq!(same.header("etag"), changed.header("etag"));
    let gone = home
        .patch(&token, &[], json!({ "display_name": null }))
        .await;
    assert_eq!(gone.json()["display_name"], Value::Null);
    for wrong in [
        json!({ "display_name": "" }),
        json!({ "email": "x" }),
        json!({ "id": "1" }),
    ] {
        home.patch(&token, &[], wrong).await.problem(422);
    }
}

#[tokio::test]
async fn a_change_meant_for_another_version_is_refused() {
    let home = Home::new().await;
    let (_, tokens) = home.session("anna").await;
    let token = text(&tokens, "access_token");
    let tag = home.get("/v1/me", &token).await.header("etag").to_owned();
    let meant = [("if-match", tag.as_str())];
    let first = home
        .patch(&token, &meant, json!({ "display_name": "One" }))
        .await;
    assert_eq!(first.status, 200);
    let second = home
        .patch(&token, &meant, json!({ "display_name": "Two" }))
        .await;
    assert_eq!(second.problem(412).0, "precondition-failed");
    assert_eq!(
        home.get("/v1/me", &token).await.json()["display_name"],
        "One"
    );
}

#[tokio::test]
async fn a_new_email_logs_in_and_the_old_one_is_free() {
    let home = Home::new().await;
    let (_, tokens) = home.session("anna").await;
    home.register("berta").await;
    let token = text(&tokens, "access_token");
    let taken = home
        .patch(&token, &[], json!({ "email": "Berta@example.org" }))
        .await;
    assert_eq!(taken.problem(409).0, "taken");
    let changed = home
        .patch(&token, &[], json!({ "email": "new@example.org" }))
        .await;
    assert_eq!(changed.json()["email"], "new@example.org");
    assert_eq!(home.login("new@example.org").await.status, 200);
    assert_eq!(home.login("anna").await.status, 200);
    home.login("anna@example.org").await.problem(401);
    let body = json!({ "username": "other", "email": "anna@example.org", "password": PASSWORD });
    assert_eq!(home.post("/v1/register", body).await.status, 201);
    // A change of case only is no new address.
    let cased = home
        .patch(&token, &[], json!({ "email": "NEW@example.org" }))
        .await;
    assert_eq!(cased.json()["email"], "NEW@example.org");
    assert_eq!(home.login("new@EXAMPLE.org").await.status, 200);
    assert_eq!(home.count("SELECT COUNT(*) FROM claims").await, 6);
    assert_eq!(home.count("SELECT COUNT(*) FROM claim_releases").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_at_once_lose_nothing() {
    let home = Home::new().await;
    let (_, tokens) = home.session("anna").await;
    let token = text(&tokens, "access_token");
    let changes = ["a@example.org", "b@example.org", "c@example.org"].map(|email| {
        let body = Some(json!({ "email": email }));
        let request = request(Method::PATCH, "/v1/me", Some(&token), &[], body);
        tokio::spawn(send(home.router.clone(), request))
    });
    for change in changes {
        assert_eq!(change.await.unwrap().status, 200);
    }
    let email = text(&home.get("/v1/me", &token).await.json(), "email");
    assert_eq!(home.login(&email).await.status, 200);
    assert_eq!(
        home.count("SELECT COUNT(*) FROM claims").await,
        2,
        "one username, one e-mail"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_without_a_condition_fail_none() {
    let home = Home::new().await;
    let (_, tokens) = home.session("anna").await;
    let token = text(&tokens, "access_token");
    let change = |body: Value| {
        let request = request(Method::PATCH, "/v1/me", Some(&token), &[], Some(body));
        tokio::spawn(send(home.router.clone(), request))
    };
    // All at once, the same address and names of their own.
    let addresses = (0..12).map(|_| change(json!({ "email": "new@example.org" })));
    let names = (0..20).map(|number| change(json!({ "display_name": format!("Anna {number}") })));
    for change in addresses.chain(names).collect::<Vec<_>>() {
        let answer = change.await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(home.login("new@example.org").await.status, 200);
    assert_eq!(home.count("SELECT COUNT(*) FROM claims").await, 2);
}

#[tokio::test]
async fn a_change_that_changes_nothing_asks_nothing_of_later_reads() {
    let home = Home::new().await;
    let (_, tokens) = home.session("anna").await;
    let token = text(&tokens, "access_token");
    let name = json!({ "display_name": "Anna" });
    let changed = home.patch(&token, &[], name.clone()).await;
    assert_eq!(changed.header("tidegate-seen"), "2;");
    let told = [("tidegate-seen", "2;0.0-1-42")];
    let same = home.patch(&token, &told, name.clone()).await;
    assert_eq!(same.header("tidegate-seen"), "2;0.0-1-42");
    let same = home.patch(&token, &[], name).await;
    assert_eq!(same.header("tidegate-seen"), "2;");
}

#[tokio::test]
async fn names_that_look_like_others_or_like_nothing_are_refused() {
    let home = Home::new().await;
    let (_, tokens) = home.session("anna").await;
    let token = text(&tokens, "access_token");
    for hidden in [
        '\u{202a}',
        '\u{202e}',
        '\u{2066}',
        '\u{2069}',
        '\u{200b}',
        '\u{200e}',
        '\u{61c}',
        '\u{feff}',
        '\u{ad}',
        '\u{2028}',
        '\u{2060}',
        '\u{e0041}',
        '\u{7}',
        '\u{85}',
    ] {
        let name = json!({ "display_name": format!("Anna{hidden}B") });
        let (kind, detail) = home.patch(&token, &[], name).await.problem(422);
        assert_eq!(kind, "invalid-field");
        assert!(detail.contains("invisible"), "{hidden:?}: {detail}");
        let email = json!({ "email": format!("anna{hidden}b@example.org") });
        home.patch(&token, &[], email).await.problem(422);
    }
    for blank in ["\u{200d}", "\u{3164}", "\u{2800}", "\u{fe0f} \u{115f}"] {
        let name = json!({ "display_name": blank });
        home.patch(&token, &[], name).await.problem(422);
    }
    // What belongs to names: joiners in Persian and in emoji.
    for right in [
        "نیم\u{200c}فاصله",
        "Anna 👩\u{200d}👧",
        "❤\u{fe0f}",
        "Zoë",
        "김",
    ] {
        let name = json!({ "display_name": right });
        let changed = home.patch(&token, &[], name).await;
        assert_eq!(changed.json()["display_name"], *right);
    }
}

#[tokio::test]
async fn others_see_the_public_part_only() {
    let home = Home::new().await;
    let (anna, _) = home.session("anna").await;
    let (_, tokens) = home.session("berta").await;
    let token = text(&tokens, "access_token");
    let seen = home.get(&format!("/v1/users/{anna}"), &token).await;
    assert_eq!(seen.status, 200);
    assert_eq!(seen.json()["username"], "anna");
    assert!(!seen.text().contains("example.org"));
    for missing in ["1", "0", "x", "-1", "99999999999999999999"] {
        let answer = home.get(&format!("/v1/users/{missing}"), &token).await;
        assert_eq!(answer.problem(404).0, "not-found");
    }
    home.get("/v1/users/%FF", &token).await.problem(400);
}

#[tokio::test]
async fn many_profiles_come_in_the_order_asked_for() {
    let home = Home::new().await;
    let mut ids = Vec::new();
    for name in ["anna", "berta", "carla", "dora"] {
        ids.push(text(&home.register(name).await.json(), "id"));
    }
    let token = text(&home.login("anna").await.json(), "access_token");
    let batch = async |ids: Value| {
        let body = Some(json!({ "ids": ids }));
        home.send(request(
            Method::POST,
            "/v1/users/batch",
            Some(&token),
            &[],
            body,
        ))
        .await
    };
    // Twice: from the shards, then from the cache.
    for _ in 0..2 {
        let found = batch(json!([ids[3], "1", ids[0], ids[2], ids[0]]))
            .await
            .json();
        let found = found["users"].as_array().unwrap();
        let names: Vec<_> = found.iter().map(|user| text(user, "username")).collect();
        assert_eq!(names, ["dora", "anna", "carla"]);
        assert!(found.iter().all(|user| user.get("email").is_none()));
    }
    assert_eq!(batch(json!([])).await.json(), json!({ "users": [] }));
    assert_eq!(
        batch(json!(vec!["1"; 101])).await.problem(422).0,
        "invalid-field"
    );
    let (_, detail) = batch(json!([1])).await.problem(422);
    assert!(detail.contains("`ids[0]`"), "{detail}");
    assert!(
        home.scrape()
            .contains("tidegate_users_cache_hits_total{cache=\"profiles\"} 4")
    );
}

#[tokio::test]
async fn an_account_keeps_an_email_address() {
    let home = Home::new().await;
    let (_, tokens) = home.session("anna").await;
    let token = text(&tokens, "access_token");
    let none = home.patch(&token, &[], json!({ "email": null })).await;
    let (kind, detail) = none.problem(422);
    assert_eq!(kind, "invalid-field");
    assert!(detail.contains("`email`"), "{detail}");
}

#[tokio::test]
async fn the_time_of_a_change_is_not_before_that_of_the_last() {
    let home = Home::new().await;
    let (_, tokens) = home.session("anna").await;
    let token = text(&tokens, "access_token");
    // A process whose clock is ahead has changed it.
    for shard in home.users.service.store.shards() {
        let mut connection = shard.write().await.unwrap();
        let ahead = store::sql("UPDATE users SET updated_at = 4102444800000");
        ahead.run(&mut connection).await.unwrap();
    }
    let changed = home.patch(&token, &[], json!({ "display_name": "Anna" }));
    let changed = changed.await.json();
    assert_eq!(changed["display_name"], "Anna");
    assert_eq!(changed["updated_at"], "2100-01-01T00:00:00Z");
}

#[tokio::test]
async fn what_was_not_changed_stays_in_memory() {
    if separate::is_wanted() {
        return; // each part counts for itself
    }
    let home = Home::new().await;
    let (_, tokens) = home.session("anna").await;
    home.register("berta").await;
    let token = text(&tokens, "access_token");
    let hits = || {
        let scrape = home.scrape();
        let name = "tidegate_users_cache_hits_total{cache=\"profiles\"} ";
        let line = scrape.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().parse::<u64>().unwrap()
    };
    home.get("/v1/me", &token).await;
    let before = hits();
    for _ in 0..3 {
        let taken = json!({ "email": "berta@example.org" });
        home.patch(&token, &[], taken).await.problem(409);
        assert_eq!(home.get("/v1/me", &token).await.status, 200);
    }
    assert_eq!(hits(), before + 3);
}
