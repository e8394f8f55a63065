//! What becomes of the head of an HTTP/2 request on its way to an upstream of HTTP/1.1.

use tidegate_tests::gateway::Gateway;
use tidegate_tests::h2_raw::{RawH2, frame, request};
use tidegate_tests::upstream::{Seen, Upstream};

/// A gateway that accepts HTTP/2 without TLS, with more keys of its listener.
async fn gateway(upstream: &Upstream, keys: &str) -> Gateway {
    Gateway::before(upstream.address, &format!("h2c = true\n{keys}")).await
}

/// How the answer to a request with these headers begins: its status, indexed (RFC 7541, appendix A)
/// or not.
async fn asked(gateway: &Gateway, headers: &[(&str, &str)]) -> Vec<u8> {
    let address = gateway.listener("http");
    let mut client = RawH2::connect(address, &[]).await.expect("it accepts");
    let bytes = request(1, "GET", "/", headers, true);
    client.send(&bytes).await.expect("it takes them");
    client.verdict(1).await.payload
}

async fn seen(headers: &[(&str, &str)], keys: &str) -> Seen {
    let upstream = Upstream::start("up").await;
    let gateway = gateway(&upstream, keys).await;
    assert_eq!(asked(&gateway, headers).await[0], 0x88, "200");
    upstream.seen().remove(0)
}

#[tokio::test]
async fn cookies_become_one_line() {
    let seen = seen(
        &[
            ("cookie", "sid=1"),
            ("cookie", "theme=dark"),
            ("cookie", "c=3"),
        ],
        "",
    )
    .await;
    let cookies: Vec<_> = seen.headers.get_all("cookie").iter().collect();
    assert_eq!(cookies, ["sid=1; theme=dark; c=3"]);
}

#[tokio::test]
async fn upstreams_learn_which_host_was_asked() {
    let seen = seen(&[("x-forwarded-host", "evil.test")], "").await;
    assert_eq!(seen.headers["host"], "a.test");
    assert_eq!(seen.headers["x-forwarded-host"], "a.test");
}

#[tokio::test]
async fn names_that_a_cgi_takes_for_others_are_dropped_unless_they_are_wanted() {
    let headers = [
        ("x_user_id", "root"),
        ("x_forwarded_for", "6.6.6.6"),
        ("x-a", "1"),
    ];
    let dropped = seen(&headers, "").await;
    assert!(
        !dropped
            .headers
            .keys()
            .any(|name| name.as_str().contains('_'))
    );
    assert_eq!(dropped.headers["x-a"], "1");
    let kept = seen(&headers, "underscores = true").await;
    assert_eq!(kept.headers["x_user_id"], "root");
}

#[tokio::test]
async fn what_http_1_would_refuse_is_refused() {
    let upstream = Upstream::start("up").await;
    let gateway = gateway(&upstream, "").await;
    for (name, value, reason) in [
        ("x-a", " b", "header_name"),
        ("x-a", "b\t", "header_name"),
        ("expect", "miracles", "expectation"),
    ] {
        assert_ne!(
            asked(&gateway, &[(name, value)]).await[0],
            0x88,
            "{name}: {value:?}"
        );
        let series =
            format!("tidegate_gateway_refused_total{{listener=\"http\",reason=\"{reason}\"}}");
        assert!(gateway.admin.metric(&series).await >= Some(1.0), "{reason}");
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_length_that_could_be_read_in_two_ways_is_refused() {
    let upstream = Upstream::start("up").await;
    let gateway = gateway(&upstream, "").await;
    for lengths in [&["05"][..], &["5", "05"], &["5", "5"], &["00"]] {
        let headers: Vec<_> = lengths
            .iter()
            .map(|length| ("content-length", *length))
            .collect();
        let address = gateway.listener("http");
        let mut client = RawH2::connect(address, &[]).await.expect("it accepts");
        let mut bytes = request(1, "POST", "/", &headers, false);
        bytes.extend(frame(0, 1, 1, b"hello")); // DATA, END_STREAM
        client.send(&bytes).await.expect("it takes them");
        let verdict = client.verdict(1).await;
        assert_ne!(verdict.payload.first(), Some(&0x88), "{lengths:?}: 200");
    }
    assert_eq!(upstream.count(), 0);
}
