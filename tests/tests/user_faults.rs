//! Two processes of the user services under a random load, while servers crash, stand still and fall behind: what clients saw
//! is held against a model.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use serde_json::json;
use tidegate_tests::answer::Answer;
use tidegate_tests::api::{Api, PASSWORD};
use tidegate_tests::eventually::eventually;
use tidegate_tests::user_services::{Servers, UserService};
use tokio::task::JoinSet;

/// How long the servers are tormented.
const LOAD: Duration = Duration::from_secs(25);
/// How old what others see of a user may be: `lag_bound`, `profile_ttl` and `profile_stale`, and as long again for a busy machine.
const PROMISE: Duration = Duration::from_secs(6);
const KEYS: &str = "[cache]\nprofile_ttl = \"1s\"\nprofile_stale = \"1s\"\nsession_ttl = \"1s\"\nnegative_ttl = \"1s\"\n";
const USERS: usize = 16;

/// The processes as clients know them.
type Processes = Arc<RwLock<Vec<Api>>>;

/// What all clients share.
#[derive(Clone)]
struct Load {
    processes: Processes,
    over: Arc<AtomicBool>,
    counts: Arc<Counts>,
}

#[derive(Default, Debug)]
struct Counts {
    written: AtomicU64,
    unsure: AtomicU64,
    read: AtomicU64,
    refused: AtomicU64,
}

/// A user, and what is known of it.
struct User {
    id: String,
    access: String,
    /// Numbers that were acknowledged as the name to show, and when.
    acknowledged: Mutex<Vec<(Instant, u64)>>,
}

impl Load {
    fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }

    /// One of the processes.
    fn any(&self, random: &mut StdRng) -> Api {
        let processes = self.processes.read().expect("nothing panics in it");
        processes[random.random_range(0..processes.len())].clone()
    }

    /// Sends a request to one of the processes; nothing when it is not answered.
    async fn ask(
        &self,
        random: &mut StdRng,
        method: Method,
        path: &str,
        (access, seen): (&str, &str),
        body: Option<serde_json::Value>,
    ) -> Option<Answer> {
        let mut request = self.any(random).request(method, path).bearer_auth(access);
        if !seen.is_empty() {
            request = request.header("tidegate-seen", seen);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = Answer::read(request.send().await.ok()?).await.ok()?;
        if matches!(answer.status, 500 | 502 | 503) {
            self.counts.refused.fetch_add(1, SeqCst);
            assert_ne!(answer.status, 500, "{}", answer.text());
            return None;
        }
        Some(answer)
    }
}

fn number(answer: &Answer) -> u64 {
    let name = &answer.json()["display_name"];
    name.as_str()
        .map_or(0, |name| name.parse().expect("a number"))
}

/// Changes the name to show and looks whether that is what the session then sees, in whichever process.
async fn write_and_read(load: Load, user: Arc<User>, mut random: StdRng) {
    let (mut sure, mut unsure, mut seen) = (0, Vec::new(), String::new());
    for next in 1.. {
        if load.is_over() {
            return;
        }
        let body = json!({ "display_name": next.to_string() });
        let session = (&*user.access, &*seen);
        let changed = load.ask(&mut random, Method::PATCH, "/v1/me", session, Some(body));
        match changed.await {
            Some(changed) => {
                seen = changed.header("tidegate-seen").to_owned();
                assert_eq!(number(&changed.expect(200)), next);
                (sure, unsure) = (next, Vec::new());
                let mut acknowledged = user.acknowledged.lock().expect("nothing panics in it");
                acknowledged.push((Instant::now(), next));
                load.counts.written.fetch_add(1, SeqCst);
            }
            None => {
                unsure.push(next);
                load.counts.unsure.fetch_add(1, SeqCst);
            }
        }
        for _ in 0..2 {
            let session = (&*user.access, &*seen);
            let me = load.ask(&mut random, Method::GET, "/v1/me", session, None);
            let Some(me) = me.await else { continue };
            seen = me.header("tidegate-seen").to_owned();
            let number = number(&me.expect(200));
            assert!(
                number == sure || unsure.contains(&number),
                "{number} is neither {sure} nor one of {unsure:?}; seen: {seen}"
            );
            // Once seen it must not be undone.
            unsure.retain(|unsure| *unsure > number);
            sure = number;
            load.counts.read.fetch_add(1, SeqCst);
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(5..40))).await;
    }
}

/// Looks at other users, who must not be older than was promised.
async fn watch(load: Load, users: Arc<Vec<Arc<User>>>, mut random: StdRng) {
    while !load.is_over() {
        let (asking, user) = (
            &users[random.random_range(0..users.len())],
            &users[random.random_range(0..users.len())],
        );
        let least = {
            let acknowledged = user.acknowledged.lock().expect("nothing panics in it");
            let mut old = acknowledged.iter().rev();
            old.find(|(when, _)| when.elapsed() > PROMISE)
                .map_or(0, |(_, number)| *number)
        };
        let path = format!("/v1/users/{}", user.id);
        let session = (&*asking.access, "");
        let found = load.ask(&mut random, Method::GET, &path, session, None);
        if let Some(found) = found.await {
            let number = number(&found.expect(200));
            assert!(
                number >= least,
                "{number} is shown, {least} is older than was promised"
            );
            load.counts.read.fetch_add(1, SeqCst);
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(1..20))).await;
    }
}

/// What came of many who wanted one e-mail address.
struct Contest {
    email: String,
    winners: Vec<String>,
    unsure: Vec<String>,
}

/// Many clients at a time want the same e-mail address.
async fn contend(load: Load, mut random: StdRng) -> Vec<Contest> {
    let mut contests = Vec::new();
    while !load.is_over() {
        let round = contests.len();
        let email = format!("wanted{round}@example.com");
        let mut clients = JoinSet::new();
        for number in 0..5 {
            let (load, email) = (load.clone(), email.clone());
            let mut random = StdRng::seed_from_u64(random.random());
            clients.spawn(async move {
                let name = format!("c{round}-{number}");
                let body = json!({ "username": name, "email": email, "password": PASSWORD });
                let made = load.ask(
                    &mut random,
                    Method::POST,
                    "/v1/register",
                    ("", ""),
                    Some(body),
                );
                (name, made.await.map(|made| made.status))
            });
        }
        let mut contest = Contest {
            email,
            winners: Vec::new(),
            unsure: Vec::new(),
        };
        for (name, status) in clients.join_all().await {
            match status {
                Some(201) => contest.winners.push(name),
                Some(409) => {}
                None => contest.unsure.push(name),
                Some(other) => panic!("{other}"),
            }
        }
        assert!(contest.winners.len() <= 1, "{:?}", contest.winners);
        contests.push(contest);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    contests
}

/// Sessions that were ended must stay so.
async fn log_in_and_out(load: Load, mut random: StdRng) {
    while !load.is_over() {
        let body = json!({ "username": "user0", "password": PASSWORD });
        let login = load.ask(&mut random, Method::POST, "/v1/login", ("", ""), Some(body));
        let Some(login) = login.await else { continue };
        let seen = login.header("tidegate-seen").to_owned();
        let tokens = login.expect(200).json();
        let text = |key: &str| tokens[key].as_str().expect("it is text").to_owned();
        let (access, refresh) = (text("access_token"), text("refresh_token"));
        let session = (&*access, &*seen);
        if let Some(me) = load
            .ask(&mut random, Method::GET, "/v1/me", session, None)
            .await
        {
            me.expect(200); // in whichever process, however far its replica is
        }
        let logout = load.ask(&mut random, Method::POST, "/v1/logout", session, None);
        if let Some(logout) = logout.await {
            logout.expect(204);
            let body = json!({ "refresh_token": refresh });
            let again = load.ask(
                &mut random,
                Method::POST,
                "/v1/token/refresh",
                ("", ""),
                Some(body),
            );
            if let Some(again) = again.await {
                again.expect(401);
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Torments the servers until the time is over, and leaves them well.
async fn torment(
    servers: &mut Servers,
    services: &mut [UserService; 2],
    processes: &Processes,
    random: &mut StdRng,
) {
    let end = Instant::now() + LOAD;
    let mut turn = random.random_range(0..6);
    while Instant::now() < end {
        let shard = random.random_range(0..2);
        match turn % 6 {
            0 => servers.crash_primary(shard),
            1 => servers.crash_replica(shard),
            2 => {
                servers.pause_replication(shard, true);
                tokio::time::sleep(Duration::from_millis(2500)).await;
                servers.pause_replication(shard, false);
            }
            3 => {
                servers.redis.kill();
                tokio::time::sleep(Duration::from_millis(700)).await;
                servers.redis.restart().expect("Redis starts again");
            }
            4 => {
                servers.redis.freeze(true);
                tokio::time::sleep(Duration::from_millis(700)).await;
                servers.redis.freeze(false);
            }
            _ => {
                services[1].crash().await;
                processes.write().expect("nothing panics in it")[1] = services[1].api.clone();
            }
        }
        turn += 1;
        let pause = random.random_range(300..1200);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

async fn account(api: &Api, name: &str) -> Arc<User> {
    let account = api.register(name).await.expect(201).json();
    Arc::new(User {
        id: account["id"].as_str().expect("an id").to_owned(),
        access: api.login(name).await.access,
        acknowledged: Mutex::default(),
    })
}

/// Whoever was told that the address is theirs has it, nobody else does, and what nobody has can be had.
async fn settle(api: &Api, contests: &[Contest]) {
    let mut free = Vec::new();
    for contest in contests {
        let mut owners = Vec::new();
        for name in contest.winners.iter().chain(&contest.unsure) {
            let login = api.try_login(name, PASSWORD).await;
            if login.status == 200 {
                owners.push(name);
            }
        }
        assert!(owners.len() <= 1, "{owners:?} have {}", contest.email);
        assert!(
            contest
                .winners
                .iter()
                .all(|winner| owners.contains(&winner))
        );
        if owners.is_empty() {
            free.push(&contest.email);
        }
    }
    for (number, email) in free.into_iter().take(3).enumerate() {
        // What was claimed and never decided is free after the lease of half a minute.
        eventually(
            "nothing is left claimed",
            Duration::from_secs(45),
            async || {
                let name = format!("late{number}");
                let body = json!({ "username": name, "email": email, "password": PASSWORD });
                (api.post("/v1/register", &body).await.status == 201).then_some(())
            },
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_stays_and_what_was_promised_is_kept() {
    let seed: u64 = rand::random();
    println!("the seed is {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut servers = Servers::start(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("mariadb"));
    let mut services = [
        servers.service("a", KEYS).await,
        servers.service("b", KEYS).await,
    ];
    let apis = services.iter().map(|service| service.api.clone());
    let load = Load {
        processes: Arc::new(RwLock::new(apis.collect())),
        over: Arc::default(),
        counts: Arc::default(),
    };
    let mut users = Vec::new();
    for number in 0..USERS {
        users.push(account(&services[0].api, &format!("user{number}")).await);
    }
    let users = Arc::new(users);
    let mut clients = JoinSet::new();
    let mut fork = || StdRng::seed_from_u64(random.random());
    for user in users.iter() {
        clients.spawn(write_and_read(load.clone(), user.clone(), fork()));
    }
    for _ in 0..4 {
        clients.spawn(watch(load.clone(), users.clone(), fork()));
    }
    clients.spawn(log_in_and_out(load.clone(), fork()));
    let contests = tokio::spawn(contend(load.clone(), fork()));

    torment(&mut servers, &mut services, &load.processes, &mut random).await;
    load.over.store(true, SeqCst);
    while let Some(client) = clients.join_next().await {
        client.expect("what it saw is what the model says");
    }
    let contests = contests.await.expect("at most one wins");
    println!("{:?}, {} addresses wanted", load.counts, contests.len());
    assert!(load.counts.written.load(SeqCst) > 500);

    for service in &services {
        eventually("all shards answer", PROMISE * 3, async || {
            let health = service.api.request(Method::GET, "/healthz").send().await;
            let health = Answer::read(health.ok()?).await.ok()?;
            (health.status == 200 && health.json()["status"] == "ok").then_some(())
        })
        .await;
    }
    tokio::time::sleep(PROMISE).await;
    for user in users.iter() {
        let last = user
            .acknowledged
            .lock()
            .expect("nothing panics in it")
            .last()
            .copied();
        for service in &services {
            let me = service.api.get("/v1/me", &user.access).await.expect(200);
            assert!(number(&me) >= last.map_or(0, |(_, number)| number));
        }
    }
    settle(&services[0].api, &contests).await;
}

/// A replica that is not yet known to be behind must not bring back what was changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_see_a_change_at_once_though_the_replicas_have_not_heard_of_it() {
    let servers = Servers::start(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("mariadb"));
    let (a, b) = (
        servers.service("a", "").await,
        servers.service("b", "").await,
    );
    let (user, other) = (account(&a.api, "ada").await, account(&b.api, "bob").await);
    let path = format!("/v1/users/{}", user.id);
    let shown = async || number(&b.api.get(&path, &other.access).await.expect(200));
    let change = async |number: u64| {
        let request = a.api.request(Method::PATCH, "/v1/me");
        let request = request.bearer_auth(&user.access);
        let change = request.json(&json!({ "display_name": number.to_string() }));
        let changed = Answer::read(change.send().await.expect("it is answered")).await;
        changed.expect("it is whole").expect(200);
    };
    change(1).await;
    eventually("the other process sees it", PROMISE, async || {
        (shown().await == 1).then_some(())
    })
    .await;
    for shard in 0..2 {
        servers.pause_replication(shard, true);
    }
    change(2).await;
    eventually(
        "the other process hears of it",
        Duration::from_millis(500),
        async || (shown().await == 2).then_some(()),
    )
    .await;
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        assert_eq!(shown().await, 2);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a process has committed that was killed before it could tell anybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_nobody_was_told_of_is_heard_from_the_binlog() {
    let servers = Servers::start(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("mariadb"));
    let keys = "[cache]\nprofile_ttl = \"1h\"\nsession_ttl = \"1h\"\n";
    let services = [
        servers.service("a", keys).await,
        servers.service("b", keys).await,
    ];
    let user = account(&services[0].api, "ada").await;
    let other = account(&services[1].api, "bob").await;
    let path = format!("/v1/users/{}", user.id);
    let shown = async |service: &UserService| {
        number(&service.api.get(&path, &other.access).await.expect(200))
    };
    // The first to follow begins with what comes from then on.
    tokio::time::sleep(Duration::from_secs(3)).await;
    for number in 1..4 {
        for service in &services {
            shown(service).await;
        }
        servers.execute(&format!(
            "UPDATE users SET display_name = '{number}', version = version + 1 WHERE id = {}",
            user.id
        ));
        for service in &services {
            eventually("it is shown", Duration::from_secs(3), async || {
                (shown(service).await == number).then_some(())
            })
            .await;
        }
    }
    for service in &services {
        service.api.get("/v1/me", &user.access).await.expect(200);
    }
    servers.execute(&format!(
        "UPDATE sessions SET revoked_at = 1 WHERE user_id = {}",
        user.id
    ));
    for service in &services {
        eventually(
            "the session is refused",
            Duration::from_secs(3),
            async || (service.api.get("/v1/me", &user.access).await.status == 401).then_some(()),
        )
        .await;
    }
}
