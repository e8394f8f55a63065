//! The DNS server among those who would use it against others.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::Value;
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::name_server::{COOKIE_SECRET, NameServer, Peer, ZONE, said};
use tidegate_tests::question::{ask, query, read};

async fn server(guard: &str) -> NameServer {
    NameServer::start(&format!("{guard}\n{ZONE}"), |_| {}).await
}

/// The cookie that dig has got, as hexadecimal digits.
fn cookie(server: SocketAddr, args: &[&str]) -> String {
    let whole = said("dig", server, &[&["www.example.test"], args].concat());
    let line = whole
        .lines()
        .find_map(|line| line.strip_prefix("; COOKIE: "));
    let line = line.unwrap_or_else(|| panic!("no cookie: {whole}"));
    assert!(line.ends_with("(good)"), "{line}");
    line.split(' ').next().unwrap_or_default().to_owned()
}

/// A query with a cookie.
fn with_cookie(id: u16, cookie: &str) -> Vec<u8> {
    let mut packet = query(id, "www.example.test", "A");
    let octets = cookie.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).expect("they are digits");
        u8::from_str_radix(pair, 16).expect("they are digits")
    });
    let octets: Vec<u8> = octets.collect();
    let end = packet.len();
    packet[end - 2..].copy_from_slice(&(octets.len() as u16 + 4).to_be_bytes());
    packet.extend([0, 10, 0, octets.len() as u8]);
    packet.extend(octets);
    packet
}

/// A socket at an address of this machine.
fn client(address: &str, server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((address, 0)).expect("loopback has many addresses");
    socket.connect(server).expect("loopback is there");
    socket.set_read_timeout(Some(SOON)).expect("it is a time");
    socket
}

/// Nothing more arrives after so long a silence, also on a busy machine.
const QUIET: Duration = Duration::from_secs(1);

/// Everything that arrives until nothing does.
fn received(socket: &UdpSocket) -> Vec<Vec<u8>> {
    let quiet = socket.set_read_timeout(Some(QUIET));
    quiet.expect("it is a time");
    let mut buffer = [0; 4096];
    let next = || {
        socket
            .recv(&mut buffer)
            .ok()
            .map(|length| buffer[..length].to_vec())
    };
    std::iter::from_fn(next).collect()
}

#[tokio::test]
async fn dig_and_kdig_get_cookies_and_use_them() {
    let server = server("nsid = \"fra1\"\ncookies = { require = true }").await;
    // It is BADCOOKIE at first, and then they try again.
    let whole = said(
        "dig",
        server.address,
        &["www.example.test", "+nsid", "+showbadcookie"],
    );
    assert!(whole.contains("BADCOOKIE, retrying"), "{whole}");
    assert!(whole.contains("192.0.2.1"), "{whole}");
    assert!(whole.contains("; NSID: 66 72 61 31"), "{whole}");
    for program in ["dig", "kdig"] {
        for cookie in ["+cookie", "+nocookie"] {
            let args = ["+short", cookie, "www.example.test"];
            let short = said(program, server.address, &args);
            // kdig shows the refusal too, as an empty line.
            assert_eq!(short.trim_start(), "192.0.2.1\n", "{program} {cookie}");
        }
    }
    let strict = ["+nobadcookie", "www.example.test"];
    let refused = said("dig", server.address, &strict);
    assert!(refused.contains("status: BADCOOKIE"), "{refused}");
    let metric = |name: &'static str| server.admin.metric(name);
    let rcode = "tidegate_dns_responses_total{transport=\"udp\",rcode=\"BADCOOKIE\"}";
    let refused = metric(rcode).await.unwrap_or_default();
    let new = metric("tidegate_dns_cookies_total{transport=\"udp\",cookie=\"new\"}").await;
    let valid = metric("tidegate_dns_cookies_total{transport=\"udp\",cookie=\"valid\"}").await;
    assert!(refused >= 3.0 && new == Some(refused), "{refused} {new:?}");
    assert!(valid >= Some(2.0), "{valid:?}");
}

#[tokio::test]
async fn a_cookie_outlives_reloads_and_hand_overs() {
    let folder = tempfile::tempdir().unwrap();
    let handover = format!(
        "handover = {{ socket = \"{}\" }}",
        folder.path().join("door").display()
    );
    let server = server(&format!("{handover}\ncookies = {{ require = true }}")).await;
    let cookie = cookie(server.address, &[]);
    let packet = with_cookie(1, &cookie);
    let is_valid = || {
        let socket = client("127.0.0.1", server.address);
        socket.send(&packet).unwrap();
        let answer = received_one(&socket).expect("there is an answer");
        read(&answer).head == "NOERROR qr aa"
    };
    assert!(is_valid());
    let status = server.admin.reload().await.status;
    assert_eq!(status, 200);
    assert!(is_valid(), "after a reload");
    let first = server.hand_over();
    let after = is_valid();
    let second = server.hand_over();
    let after_two = is_valid();
    for successor in [first, second] {
        tidegate_tests::process::send(successor, rustix::process::Signal::TERM);
    }
    assert!(
        after && after_two,
        "after one hand-over: {after}, after two: {after_two}"
    );
}

#[tokio::test]
async fn servers_with_the_same_secrets_take_each_others_cookies() {
    let secrets = [
        "0123456789abcdef0123456789abcdef",
        "fedcba9876543210fedcba9876543210",
    ];
    let configured = |list: &str| format!("cookies = {{ require = true, secrets = [{list}] }}");
    let [old, new] = secrets.map(|secret| format!("\"{secret}\""));
    // As secrets are changed: the new one is known everywhere before it signs anywhere.
    let first = server(&configured(&format!("{old}, {new}"))).await;
    let second = server(&configured(&format!("{new}, {old}"))).await;
    let third = server(&configured(&new)).await;
    let valid = |server: &NameServer, cookie: &str| {
        let socket = client("127.0.0.1", server.address);
        socket.send(&with_cookie(1, cookie)).unwrap();
        let answer = received_one(&socket).expect("there is an answer");
        read(&answer).head == "NOERROR qr aa"
    };
    let (of_first, of_second) = (cookie(first.address, &[]), cookie(second.address, &[]));
    assert!(valid(&second, &of_first) && valid(&first, &of_second));
    assert!(valid(&third, &of_second) && !valid(&third, &of_first));
    // A secret of another length changes nothing, and is not told.
    first.configure(&format!("{}\n{ZONE}", configured("\"0123456789abcdef\"")));
    let answer = first.admin.reload().await;
    let told = answer.text();
    assert_eq!(answer.status, 422);
    assert!(told.contains("a secret is 32 hexadecimal digits"), "{told}");
    assert!(!told.contains("0123456789abcdef"), "{told}");
    assert!(valid(&first, &of_second));
}

#[tokio::test]
async fn a_cookie_of_nsd_is_ours_where_the_secret_is() {
    let zone =
        "@ 60 SOA ns1 host 1 1h 1h 1h 1h\n@ 60 NS ns1\nns1 60 A 192.0.2.1\nwww 60 A 192.0.2.1\n";
    let nsd = Peer::nsd("example.test", zone);
    let ours = server(&format!("cookies = {{ secrets = [\"{COOKIE_SECRET}\"] }}")).await;
    let valid = "tidegate_dns_cookies_total{transport=\"udp\",cookie=\"valid\"}";
    let of_nsd = cookie(nsd.address, &[]);
    let sent = format!("+cookie={of_nsd}");
    // NSD takes it for its own too, and nobody makes another.
    for server in [nsd.address, ours.address] {
        assert_eq!(cookie(server, &[&sent]), of_nsd);
    }
    assert_eq!(ours.admin.metric(valid).await, Some(1.0));
    let of_ours = cookie(ours.address, &[]);
    assert_eq!(
        cookie(nsd.address, &[&format!("+cookie={of_ours}")]),
        of_ours
    );
}

#[tokio::test]
async fn a_flood_is_limited_and_honest_clients_are_not() {
    let server = server("rate_limit = { limit = 50, slip = 2 }").await;
    let cookie = cookie(server.address, &["+tcp"]);
    let flood = client("127.0.0.9", server.address);
    let packet = query(7, "www.example.test", "A");
    let began = Instant::now();
    // Taken while they come: a socket does not hold so many.
    let taken = flood.try_clone().unwrap();
    let taken = std::thread::spawn(move || received(&taken));
    for _ in 0..1000 {
        flood.send(&packet).unwrap();
    }
    let answers = taken.join().unwrap();
    let seconds = (began.elapsed() - QUIET).as_secs_f64();
    let whole = |answer: &&Vec<u8>| !read(answer).sections[0].is_empty();
    let full = answers.iter().filter(whole).count();
    assert!(full >= 50, "{full}");
    assert!(
        full as f64 <= 50.0 * (1.0 + seconds),
        "{full} in {seconds} s"
    );
    let is_cut = |answer: &&Vec<u8>| read(answer).head == "NOERROR qr aa tc";
    let cut = answers.iter().filter(is_cut).count();
    assert_eq!(full + cut, answers.len());
    // No answer beyond the limit is longer than its query.
    let longest = answers.iter().filter(is_cut).map(Vec::len).max();
    assert_eq!(longest, Some(packet.len()));

    // Of the same network, with a cookie.
    let honest = client("127.0.0.1", server.address);
    for id in 0..200 {
        honest.send(&with_cookie(id, &cookie)).unwrap();
        let answer = received_one(&honest).expect("it is not limited");
        assert_eq!(read(&answer).sections[0].len(), 1);
    }
    let metric = |action: &str| format!("tidegate_dns_limited_total{{action=\"{action}\"}}");
    let dropped = server.admin.metric(&metric("dropped")).await;
    let slipped = server.admin.metric(&metric("slipped")).await;
    let (dropped, slipped) = (dropped.unwrap_or_default(), slipped.unwrap_or_default());
    // Each thread lets every second one slip.
    assert!((dropped - slipped).abs() <= 64.0, "{dropped} and {slipped}");
    assert!(
        slipped > 100.0 && slipped >= cut as f64,
        "{slipped} and {cut}"
    );
}

#[tokio::test]
async fn what_slips_leads_clients_to_tcp_or_to_a_cookie() {
    let server = server("rate_limit = { limit = 1, slip = 1 }").await;
    let flood = client("127.0.0.9", server.address);
    let packet = query(7, "www.example.test", "A");
    let over_tcp = "tidegate_dns_queries_total{transport=\"tcp\",type=\"A\"}";
    let with_cookie = "tidegate_dns_cookies_total{transport=\"udp\",cookie=\"valid\"}";
    for (program, cookie, metric) in [
        ("dig", "+nocookie", over_tcp),
        ("kdig", "+nocookie", over_tcp),
        ("dig", "+cookie", with_cookie),
        ("kdig", "+cookie", with_cookie),
    ] {
        let before = server.admin.metric(metric).await.unwrap_or_default();
        eventually("it is led there", SOON, async || {
            // A second later there is an answer again.
            for _ in 0..5 {
                flood.send(&packet).ok()?;
            }
            let args = ["+short", "+time=1", "+retry=2", cookie, "www.example.test"];
            let short = said(program, server.address, &args);
            assert_eq!(short.trim_start(), "192.0.2.1\n", "{program} {cookie}");
            let after = server.admin.metric(metric).await.unwrap_or_default();
            (after > before).then_some(())
        })
        .await;
    }
}

fn received_one(socket: &UdpSocket) -> Option<Vec<u8>> {
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).ok()?;
    Some(buffer[..length].to_vec())
}

#[tokio::test]
async fn a_reload_changes_the_limit() {
    let server = server("").await;
    let flood = |address: &str| {
        let socket = client(address, server.address);
        let packet = query(7, "www.example.test", "A");
        let began = Instant::now();
        for _ in 0..100 {
            socket.send(&packet).unwrap();
        }
        let answered = received(&socket).len();
        (answered, (began.elapsed() - QUIET).as_secs_f64())
    };
    let limit = async |limit: &str| {
        server.configure(&format!("rate_limit = {{ {limit}, slip = 0 }}\n{ZONE}"));
        assert_eq!(server.admin.reload().await.status, 200);
    };
    let answered = |address: &str| flood(address).0;
    assert_eq!(answered("127.0.1.1"), 100, "nothing is limited at first");
    limit("limit = 10").await;
    let (few, seconds) = flood("127.0.2.1");
    // As many as in a second at once, and then as time goes by.
    let most = 11.0 + 10.0 * seconds;
    assert!(
        (10.0..=most).contains(&(few as f64)),
        "{few} in {seconds} s"
    );
    limit("limit = 10, exempt = [\"127.0.0.0/8\"]").await;
    assert_eq!(answered("127.0.2.1"), 100, "exempt");
    server.configure(&format!("rate_limit = {{ limit = 0 }}\n{ZONE}"));
    let answer = server.admin.reload().await;
    assert!(
        answer.status == 422 && answer.text().contains("dns.toml:2:"),
        "{}",
        answer.text()
    );
    assert_eq!(answered("127.0.3.1"), 100, "as before");
}

#[tokio::test]
async fn queries_are_logged_and_names_cannot_forge_lines() {
    let server =
        server("query_log = { file = \"queries.log\" }\nrate_limit = { limit = 1, slip = 0 }")
            .await;
    let file = server.folder.path().join("queries.log");
    let first = client("127.0.0.1", server.address);
    let hostile = b"\x11\"}\n{\"name\":\"forge\x07example\x04test\x00\x00\x10\x00\x01";
    let mut packet = query(9, "www.example.test", "A")[..12].to_vec();
    packet.extend(hostile);
    packet.extend([
        0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 11, 0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2,
    ]);
    first.send(&packet).unwrap();
    assert!(received_one(&first).is_some());
    let short = said(
        "dig",
        server.address,
        &["+tcp", "+short", "www.example.test", "AAAA"],
    );
    assert_eq!(short, "");
    assert!(ask(server.address, "www.example.test", "A").is_some());
    for _ in 0..3 {
        first.send(&query(7, "www.example.test", "A")).unwrap();
    }
    let lines = eventually("every query is logged", SOON, async || {
        let text = std::fs::read_to_string(&file).ok()?;
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        (lines.len() == 6).then_some(lines)
    })
    .await;
    let with = |key: &str, value: &str| lines.iter().filter(|line| line[key] == value).count();
    assert_eq!(
        lines[0]["name"],
        r#"\"}\010{\"name\":\"forge.example.test."#
    );
    assert_eq!(lines[0]["rcode"], "NXDOMAIN");
    assert_eq!(lines[0]["subnet"], "192.0.2.0/24");
    assert_eq!(with("transport", "tcp"), 1);
    assert_eq!(with("cookie", "new"), 1);
    assert_eq!(with("limited", "dropped"), 3);
    assert_eq!(with("type", "AAAA"), 1);
    assert_eq!(with("client", "127.0.0.1"), 6);
    let dropped = server
        .admin
        .metric("tidegate_dns_query_log_dropped_total")
        .await;
    assert_eq!(dropped, Some(0.0));
    assert_a_new_file_gets_one_of_ten(&server).await;
}

/// After a rotation and a reload.
async fn assert_a_new_file_gets_one_of_ten(server: &NameServer) {
    let file = server.folder.path().join("queries.log");
    std::fs::rename(&file, file.with_extension("old")).expect("it is there");
    server.configure(&format!(
        "query_log = {{ file = \"queries.log\", sample = 10 }}\nthreads = 1\n{ZONE}"
    ));
    assert_eq!(server.admin.reload().await.status, 200);
    let socket = client("127.0.0.1", server.address);
    for id in 0..100 {
        socket
            .send(&query(id, "www.example.test", "A"))
            .expect("it is sent");
        assert!(received_one(&socket).is_some());
    }
    eventually("one of ten is logged", SOON, async || {
        let text = std::fs::read_to_string(&file).ok()?;
        (10..=11).contains(&text.lines().count()).then_some(())
    })
    .await;
}
