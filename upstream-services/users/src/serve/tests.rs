//! What a client that takes its time would notice.

use std::io::Read;
use std::time::Instant;

use axum::http::StatusCode;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::*;
use crate::Error;
use crate::api::Json;

const SHORT: Deadlines = Deadlines {
    head: Duration::from_millis(300),
    idle: Duration::from_millis(900),
    write: Duration::from_millis(300),
};

struct Served {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    registry: Registry,
    pressure: Arc<Pressure>,
}

async fn served(limit: u32) -> Served {
    let slow = || async {
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        "slow"
    };
    let echo =
        |Json(value): Json<serde_json::Value>| async move { Ok::<_, Error>(value.to_string()) };
    let router = Router::new()
        .route("/", get(|| async { "here" }))
        .route("/fails", get(|| async { StatusCode::BAD_GATEWAY }))
        .route("/slow", get(slow))
        .route("/large", get(|| async { vec![b'x'; 64 << 20] }))
        .route("/same", get(|| async { StatusCode::NOT_MODIFIED }))
        .route("/echo", post(echo));
    let registry = Registry::new();
    let pressure = Arc::<Pressure>::default();
    let server = Server::new(router, pressure.clone(), limit, SHORT, &registry).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, draining) = watch::channel(false);
    Served {
        address,
        stop,
        task: tokio::spawn(server.run(listener, draining)),
        registry,
        pressure,
    }
}

impl Served {
    async fn connect(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    fn open(&self) -> i64 {
        let families = self.registry.gather();
        let mut families = families.iter();
        let gauge = families.find(|family| family.name() == "tidegate_users_connections");
        gauge.unwrap().get_metric()[0].get_gauge().get_value() as i64
    }
}

/// What comes until the end, and how long that took.
async fn rest(stream: &mut TcpStream) -> (String, Duration) {
    let begin = Instant::now();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(20), read).await; // also a reset is an end
    (
        String::from_utf8_lossy(&answer).into_owned(),
        begin.elapsed(),
    )
}

fn between(time: Duration, from: u64, to: u64) {
    let (from, to) = (Duration::from_millis(from), Duration::from_millis(to));
    assert!((from..to).contains(&time), "{time:?}");
}

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_not_used_again_ends() {
    let served = served(100).await;
    let mut streams = Vec::new();
    for turn in 0..40 {
        // hyper may see the request before it has waited for anything.
        let times = 1 + turn % 3;
        streams.push(served.connect(&GET.repeat(times)).await);
    }
    for mut stream in streams {
        let (answer, time) = rest(&mut stream).await;
        assert!(answer.ends_with("here"), "{answer}");
        assert!(time < Duration::from_millis(2_500), "{time:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_does_not_end_ends_the_connection() {
    let served = served(10).await;
    for start in ["", "GET / HT", "GET / HTTP/1.1\r\nhost: x\r\n"] {
        let mut stream = served.connect(start).await;
        let (answer, time) = rest(&mut stream).await;
        assert!(!answer.contains("200"), "{answer}");
        between(time, 150, 800);
    }
    // Byte by byte is no longer than that either.
    let mut stream = served.connect("").await;
    let begin = Instant::now();
    for byte in GET.bytes().cycle() {
        let byte = if byte == b'\r' || byte == b'\n' {
            b'a'
        } else {
            byte
        };
        if stream.write_all(&[byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    between(begin.elapsed(), 200, 1_500);
    // And after a first request as well; what came together with that counts from the answer, as unused time.
    let mut stream = served.connect(GET).await;
    assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
    stream.write_all(b"GET / HT").await.unwrap();
    between(rest(&mut stream).await.1, 150, 800);
    let mut stream = served.connect(&format!("{GET}GET / HT")).await;
    let (answer, time) = rest(&mut stream).await;
    assert!(answer.ends_with("here"), "{answer}");
    between(time, 700, 2_000);
    assert_eq!(served.open(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unused_connection_is_kept_for_a_while_and_a_slow_answer_is_waited_for() {
    let served = served(10).await;
    let mut stream = served.connect(GET).await;
    let mut buffer = [0; 1024];
    for _ in 0..2 {
        assert!(stream.read(&mut buffer).await.unwrap() > 0);
        tokio::time::sleep(Duration::from_millis(500)).await;
        stream.write_all(GET.as_bytes()).await.unwrap();
    }
    let (answer, time) = rest(&mut stream).await;
    assert!(answer.ends_with("here"), "{answer}");
    between(time, 700, 2_000);
    let mut stream = served
        .connect("GET /slow HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    assert!(rest(&mut stream).await.0.ends_with("slow"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_stops_is_refused_and_ends_the_connection() {
    let served = served(10).await;
    let head = "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let mut stream = served
        .connect(&format!("{head}content-length: 10\r\n\r\n{{"))
        .await;
    let (answer, time) = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    between(time, 9_000, 13_000);
    let mut stream = served
        .connect(&format!("{head}content-length: 2\r\n\r\n{{}}"))
        .await;
    assert!(rest(&mut stream).await.0.ends_with("{}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_not_taken_ends_the_connection() {
    let served = served(10).await;
    let stream = served
        .connect("GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
        .await;
    let begin = Instant::now();
    while served.open() == 0 || begin.elapsed() < Duration::from_millis(50) {
        tokio::task::yield_now().await;
    }
    while served.open() > 0 {
        assert!(begin.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(stream);
    // Who takes it slowly, but does, gets all of it.
    let mut stream = served
        .connect("GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .into_std()
        .unwrap();
    stream.set_nonblocking(false).unwrap();
    let read = tokio::task::spawn_blocking(move || {
        let (mut buffer, mut all) = (vec![0; 8 << 20], 0);
        loop {
            match stream.read(&mut buffer).unwrap() {
                0 => return all,
                read => all += read,
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    assert!(read.await.unwrap() > 64 << 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_an_answer_for_longer_than_connections_are_kept_gets_all_of_it() {
    let served = served(10).await;
    let stream = served
        .connect("GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
        .await;
    let mut stream = stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    let read = tokio::task::spawn_blocking(move || {
        let (begin, mut buffer, mut all) = (Instant::now(), vec![0; 2 << 20], 0);
        while all < 64 << 20 {
            match stream.read(&mut buffer) {
                Ok(read) if read > 0 => all += read,
                ended => panic!("{ended:?} after {all} bytes and {:?}", begin.elapsed()),
            }
            std::thread::sleep(Duration::from_millis(40));
        }
        stream.set_nonblocking(true).unwrap();
        (stream, begin.elapsed())
    });
    let (stream, time) = read.await.unwrap();
    assert!(time > SHORT.idle, "{time:?}");
    // It is kept from then on, as after any answer.
    let mut stream = TcpStream::from_std(stream).unwrap();
    tokio::time::sleep(SHORT.idle / 4).await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    assert!(rest(&mut stream).await.0.ends_with("here"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_connections_than_the_limit_are_closed_at_once() {
    let served = served(2).await;
    let kept = [served.connect(GET).await, served.connect(GET).await];
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (answer, time) = rest(&mut served.connect("").await).await;
    assert_eq!(answer, "");
    between(time, 0, 200);
    drop(kept);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(
        rest(&mut served.connect(GET).await)
            .await
            .0
            .ends_with("here")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_answers_what_is_in_flight_and_ends_the_rest() {
    let served = served(10).await;
    let mut unused = served.connect(GET).await;
    let mut slow = served
        .connect("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
        .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    served.stop.send(true).unwrap();
    let (answer, time) = rest(&mut unused).await;
    assert!(answer.ends_with("here"), "{answer}");
    between(time, 0, 300);
    assert!(rest(&mut slow).await.0.ends_with("slow"));
    tokio::time::timeout(Duration::from_secs(1), served.task)
        .await
        .unwrap()
        .unwrap();
    assert!(TcpStream::connect(served.address).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pressure_knows_of_every_request() {
    let served = served(10).await;
    let begin = Instant::now();
    served.pressure.tick(begin);
    let report = || served.pressure.report(begin + Duration::from_secs(10));
    for path in ["/", "/", "/", "/fails"] {
        let get = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        rest(&mut served.connect(&get).await).await;
    }
    // Who goes away in the middle is no longer worked for.
    let gone = served
        .connect("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
        .await;
    let waited = async |in_flight: u64| {
        while report().in_flight != in_flight {
            assert!(begin.elapsed() < Duration::from_secs(10));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    waited(1).await;
    drop(gone);
    waited(0).await;
    assert!((report().qps - 0.5).abs() < 0.01, "{:?}", report());
    assert!((report().error_ratio - 0.2).abs() < 0.01, "{:?}", report());
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_sent() {
    let served = served(10).await;
    for expect in ["", "Expect: 100-continue\r\n"] {
        let head = format!(
            "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 65537\r\n{expect}\r\n"
        );
        let mut stream = served.connect(&head).await;
        let (answer, took) = rest(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}

#[tokio::test]
async fn what_is_not_modified_is_not_said_to_be_empty() {
    let served = served(10).await;
    for method in ["GET", "HEAD"] {
        let head = format!("{method} /same HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let (answer, _) = rest(&mut served.connect(&head).await).await;
        assert!(answer.starts_with("HTTP/1.1 304 "), "{answer}");
        assert!(!answer.contains("content-length"), "{answer}");
    }
}
