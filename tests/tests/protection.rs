//! What the gateway keeps away from an upstream, and what it tells it.

use std::time::{Duration, Instant};

use serde_json::Value;
use tidegate_tests::gateway::Gateway;
use tidegate_tests::tokens::{Signer, claims, hmac, unix_now, unsigned};
use tidegate_tests::upstream::Upstream;
use tidegate_tests::wire::{self, Wire};

/// A gateway in front of a recording upstream: `/admin` and below need a token, the rest does not.
struct Setup {
    upstream: Upstream,
    gateway: Gateway,
    signer: Signer,
}

const CONFIGURATION: &str = r#"
plugins = ["request_id", "access_log", "cors", "brand"]
admin = { address = "127.0.0.1:0" }

[[listener]]
name = "http"
address = "127.0.0.1:0"

[cluster.up]
endpoints = [{ address = "UPSTREAM" }]

[plugin.request_id]

[plugin.access_log]

[plugin.cors]
origins = ["https://app.example.com"]
expose = ["etag"]

[plugin.brand]
kind = "headers"
request = { remove = ["x-debug"], set = { x-site = "north" }, add = { x-via = "edge" } }
response = { remove = ["server"], set = { x-frame-options = "DENY" } }

[plugin.few]
kind = "rate_limit"
requests = 2
per = "1s"
burst = 3

[plugin.token]
kind = "jwt"
issuer = "test"
audience = "test"
forward = { sub = "x-user-id", role = "x-user-role" }
keys = [{ id = "k", pem = """
PUBLIC"""}]

[[route]]
name = "open"
path = "/*"
cluster = "up"

[[route]]
name = "admin"
path = "/admin/*"
cluster = "up"
plugins = ["token"]

[[route]]
name = "limited"
path = "/limited"
cluster = "up"
plugins = ["few"]
"#;

async fn setup() -> Setup {
    let upstream = Upstream::start("up").await;
    let signer = Signer::new();
    let configuration = CONFIGURATION
        .replace("UPSTREAM", &upstream.address.to_string())
        .replace("PUBLIC", &signer.public);
    Setup {
        gateway: Gateway::with(&configuration).await,
        upstream,
        signer,
    }
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

#[tokio::test]
async fn without_a_valid_token_nothing_reaches_the_upstream() {
    let Setup {
        upstream,
        gateway,
        signer,
    } = setup().await;
    let mut expired = claims("u");
    expired["exp"] = (unix_now() - 1).into();
    let mut for_others = claims("u");
    for_others["aud"] = "others".into();
    let forged = Signer::new().sign("k", &claims("u"));
    let confused = signer.sign_with_public_key("k", &claims("u"));
    for headers in [
        String::new(),
        "authorization: Basic dTpw\r\n".into(),
        bearer("x.y.z"),
        bearer(&signer.sign("k", &expired)),
        bearer(&signer.sign("k", &for_others)),
        bearer(&signer.sign("unknown", &claims("u"))),
        bearer(&forged),
        bearer(&confused),
        bearer(&hmac("k", &claims("u"), b"")),
        bearer(&unsigned("k", &claims("u"))),
        bearer(&forged) + &bearer(&signer.sign("k", &claims("u"))),
    ] {
        let answer = gateway.get("/admin/users", &headers).await;
        answer.problem(401);
        assert!(
            answer.header("www-authenticate").starts_with("Bearer"),
            "{headers}"
        );
        assert_eq!(upstream.count(), 0, "{headers}");
    }
    let sound = bearer(&signer.sign("k", &claims("u")));
    gateway.get("/admin/users", &sound).await.expect(200);
    assert_eq!(
        upstream.count(),
        1,
        "a request with a sound token does reach it"
    );
}

#[tokio::test]
async fn an_upstream_learns_from_the_gateway_alone_who_asks() {
    let Setup {
        upstream,
        gateway,
        signer,
    } = setup().await;
    let mut claims = claims("user-1");
    claims["role"] = "reader".into();
    let token = bearer(&signer.sign("k", &claims));
    let lies = "x-user-id: root\r\nX-User-Role: admin\r\nx-user-role: admin\r\nx-forwarded-for: 192.0.2.9\r\nx-forwarded-proto: https\r\nx-request-id: chosen-by-client\r\nx-debug: 1\r\n";
    let answer = gateway
        .get("/admin/users", &(token + lies))
        .await
        .expect(200);
    let seen = upstream.seen().pop().unwrap();
    let told = |name: &str| -> Vec<&str> {
        let values = seen.headers.get_all(name).iter();
        values.map(|value| value.to_str().unwrap()).collect()
    };
    assert_eq!(told("x-user-id"), ["user-1"]);
    assert_eq!(told("x-user-role"), ["reader"]);
    assert_eq!(told("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(told("x-forwarded-proto"), ["http"]);
    assert_eq!(told("x-site"), ["north"]);
    assert_eq!(told("x-via"), ["edge"]);
    assert_eq!(told("x-debug"), [""; 0]);
    assert_eq!(told("x-request-id"), [answer.header("x-request-id")]);
    assert_ne!(told("x-request-id"), ["chosen-by-client"]);
    assert_eq!(told("host"), ["a.test"]);
    assert_eq!(answer.header("x-frame-options"), "DENY");
    assert_eq!(
        answer.header("server"),
        "",
        "what runs behind is nobody's business"
    );
}

#[tokio::test]
async fn a_limit_refuses_and_says_truly_when_to_come_again() {
    let Setup {
        upstream, gateway, ..
    } = setup().await;
    let mut refused = None;
    for sent in 0..20 {
        let answer = gateway.get("/limited", "").await;
        if answer.status == 429 {
            assert!(sent >= 3, "the burst of 3 passes");
            refused = Some((answer, Instant::now()));
            break;
        }
        assert_eq!(answer.status, 200);
    }
    let (refused, at) = refused.expect("20 at once are too many");
    refused.problem(429);
    let passed = upstream.count();
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    gateway.get("/elsewhere", "").await.expect(200);

    let waited = Duration::from_secs(wait).saturating_sub(at.elapsed());
    tokio::time::sleep(waited).await; // the very thing that is asked of clients
    gateway.get("/limited", "").await.expect(200);
    assert_eq!(
        upstream.count(),
        passed + 2,
        "refused requests did not reach the upstream"
    );
    let limited = gateway
        .admin
        .metric("tidegate_rate_limited_total{plugin=\"few\"}")
        .await;
    assert_eq!(limited, Some(1.0));
}

#[tokio::test]
async fn pages_of_named_origins_may_call_and_no_others() {
    let Setup {
        upstream, gateway, ..
    } = setup().await;
    let preflight = async |origin: &str| {
        let request = format!(
            "OPTIONS /admin/users HTTP/1.1\r\nhost: a.test\r\norigin: {origin}\r\naccess-control-request-method: PATCH\r\naccess-control-request-headers: authorization\r\n\r\n"
        );
        wire::ask(gateway.listener("http"), &request)
            .await
            .expect(204)
    };
    let ours = preflight("https://app.example.com").await;
    assert_eq!(
        ours.header("access-control-allow-origin"),
        "https://app.example.com"
    );
    assert!(
        ours.header("access-control-allow-methods")
            .contains("PATCH")
    );
    assert!(
        ours.header("access-control-allow-headers")
            .contains("authorization")
    );
    let strange = preflight("https://evil.example.com").await;
    assert_eq!(strange.header("access-control-allow-origin"), "");
    assert_eq!(
        upstream.count(),
        0,
        "the gateway answers preflight requests itself"
    );

    let origin = "origin: https://app.example.com\r\n";
    let refused = gateway.get("/admin/users", origin).await;
    refused.problem(401);
    let allowed = refused.header("access-control-allow-origin");
    assert_eq!(
        allowed, "https://app.example.com",
        "a page can read why it was refused"
    );
    assert!(refused.header("vary").to_lowercase().contains("origin"));
}

#[tokio::test]
async fn no_spelling_of_a_path_leads_around_its_plugins() {
    let Setup {
        upstream, gateway, ..
    } = setup().await;
    for path in [
        "/admin",
        "/admin/",
        "/admin?x=/open",
        "/%61dmin",
        "/%61%64%6d%69%6E/users",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/x/.%2E/admin/users",
        "/./admin",
        "//admin",
        "/admin//users",
        "/admin%2f",
        "/admin%2Fusers",
        "/x%2f..%2fadmin",
        "/x\\..\\admin",
        "/x/..\\admin",
        "/admin;x=1/../admin",
        "/admin/../admin",
        "/../admin",
        "http://a.test/admin",
        "http://a.test/x/../admin",
        "http://other.test/admin",
        "/admin%00",
        "/admin#x",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n");
        let answer = wire::ask(gateway.listener("http"), &request).await;
        let reached: Vec<String> = upstream
            .seen()
            .into_iter()
            .map(|seen| seen.target)
            .collect();
        assert!(
            matches!(answer.status, 400 | 401),
            "{path} gave {}: {reached:?}",
            answer.status
        );
        assert!(
            reached.is_empty(),
            "{path} reached the upstream as {reached:?}"
        );
    }
    for (path, target) in [
        ("/x/../adminX", "/adminX"),
        ("/%6fpen?a=%2e%2e", "/open?a=%2e%2e"),
    ] {
        gateway.get(path, "").await.expect(200);
        let seen = upstream.seen().pop().unwrap().target;
        assert_eq!(
            seen, target,
            "the upstream gets the spelling that was judged"
        );
    }
}

#[tokio::test]
async fn requests_that_two_servers_could_read_differently_are_refused() {
    let Setup {
        upstream, gateway, ..
    } = setup().await;
    for request in [
        "GET /open HTTP/1.1\r\n\r\n",
        "GET /open HTTP/1.1\r\nhost: a.test\r\nhost: b.test\r\n\r\n",
        "POST /open HTTP/1.1\r\nhost: a.test\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        "POST /open HTTP/1.1\r\nhost: a.test\r\ncontent-length: +1\r\n\r\nx",
        "POST /open HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "GET /open HTTP/1.1\r\nhost : a.test\r\n\r\n",
        "GET /open HTTP/1.1\r\nhost: a.test\r\n folded: x\r\n\r\n",
        "GET /op\x01en HTTP/1.1\r\nhost: a.test\r\n\r\n",
    ] {
        let answer = wire::ask(gateway.listener("http"), request).await;
        assert_eq!(answer.status, 400, "{request:?}");
        assert_eq!(upstream.count(), 0, "{request:?} reached the upstream");
    }
    let missing_host = wire::ask(gateway.listener("http"), "GET / HTTP/1.1\r\n\r\n").await;
    missing_host.problem(400);
}

#[tokio::test]
async fn a_target_of_no_known_form_is_refused() {
    let Setup {
        upstream, gateway, ..
    } = setup().await;
    for target in ["admin", "admin/users", "a.test:80", "?x", "*"] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: a.test\r\n\r\n");
        let answer = wire::ask(gateway.listener("http"), &request).await;
        let reached: Vec<String> = upstream
            .seen()
            .into_iter()
            .map(|seen| seen.target)
            .collect();
        assert_eq!(
            answer.status, 400,
            "{target} reached the upstream as {reached:?}"
        );
    }
}

#[tokio::test]
async fn a_smuggled_request_does_not_reach_the_upstream() {
    let Setup {
        upstream, gateway, ..
    } = setup().await;
    let request = "POST /open HTTP/1.1\r\nhost: a.test\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /admin/users HTTP/1.1\r\nhost: a.test\r\n\r\n";
    let mut wire = Wire::connect(gateway.listener("http")).await.unwrap();
    let first = wire.exchange(request).await.unwrap();
    if first.status == 200 {
        // Read as chunked: then what follows is a request of its own, and judged as such.
        let second = wire.answer().await.map(|answer| answer.status);
        assert!(
            second.is_err() || matches!(second, Ok(400 | 401)),
            "{second:?}"
        );
    } else {
        assert_eq!(first.status, 400);
    }
    let reached: Vec<String> = upstream
        .seen()
        .into_iter()
        .map(|seen| seen.target)
        .collect();
    assert!(
        reached.iter().all(|target| target == "/open"),
        "{reached:?}"
    );
}

#[tokio::test]
async fn the_body_of_a_refused_request_is_no_request() {
    let Setup {
        upstream, gateway, ..
    } = setup().await;
    let hidden = "GET /open HTTP/1.1\r\nhost: a.test\r\n\r\n";
    let request = format!(
        "POST /admin/users HTTP/1.1\r\nhost: a.test\r\ncontent-length: {}\r\n\r\n{hidden}",
        hidden.len()
    );
    let mut wire = Wire::connect(gateway.listener("http")).await.unwrap();
    wire.exchange(&request).await.unwrap().problem(401);
    // Whether the connection goes on or not: the next answer is to the next request.
    if let Ok(answer) = wire.exchange(&request).await {
        answer.problem(401);
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_connection_goes_on_after_an_answer_unless_it_says_otherwise() {
    let Setup {
        mut upstream,
        gateway,
        ..
    } = setup().await;
    let mut statuses = Vec::new();
    for path in ["/open", "/admin", "/../x", "/dead"] {
        if path == "/dead" {
            upstream.die().await;
        }
        let request = format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n");
        let mut wire = Wire::connect(gateway.listener("http")).await.unwrap();
        let answer = wire.exchange(&request).await.unwrap();
        statuses.push(answer.status);
        if answer.header("connection").eq_ignore_ascii_case("close") {
            continue;
        }
        let next = wire.exchange(&request).await.map(|next| next.status);
        assert_eq!(
            next.ok(),
            Some(answer.status),
            "{path}: closed without a word"
        );
    }
    assert_eq!(statuses, [200, 401, 400, 502]);
}

#[tokio::test]
async fn each_request_has_an_id_of_its_own() {
    let Setup {
        upstream, gateway, ..
    } = setup().await;
    let mut ids = std::collections::HashSet::new();
    for _ in 0..10 {
        let answer = gateway.get("/open", "").await.expect(200);
        let told: Value = answer.json()["headers"]["x-request-id"].clone();
        assert_eq!(told, answer.header("x-request-id"));
        assert!(ids.insert(told.to_string()));
    }
    assert_eq!(upstream.count(), 10);
}
