//! A thousand slow clients, and what the others feel of them.
//!
//! The latency of normal clients is measured without the crowd and with it, in one run. A busy
//! machine can spoil a round, so the best of a few counts.

/// Tests that nothing else may run beside: see `.config/nextest.toml`.
mod measured {
    use std::net::SocketAddr;
    use std::time::{Duration, Instant};

    use tidegate_tests::gateway::Gateway;
    use tidegate_tests::http1::message::{Wire, Wrong};
    use tidegate_tests::http1::recorder::Recorder;
    use tokio::net::TcpSocket;
    use tokio::task::JoinSet;
    use tokio::time::sleep;

    /// Clients of each kind.
    const KIND: usize = 250;
    const NORMAL: usize = 32;
    const REQUESTS: usize = 100;
    const PAUSE: Duration = Duration::from_millis(40);
    const ROUNDS: usize = 4;

    /// What may be added whatever the ratio: schedulers are not finer.
    const FLOOR: Duration = Duration::from_millis(2);

    const GET: &[u8] = b"GET /sized HTTP/1.1\r\nHost: a.test\r\n\r\n";

    #[derive(Clone, Copy)]
    enum Slow {
        /// A byte of the head a second.
        Head,
        /// A head, and of its body nothing.
        Body,
        /// Asks for much, and reads nothing of it.
        Reader,
        /// Asks once, and stays.
        Idle,
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_thousand_slow_clients_do_not_slow_down_the_others() {
        let recorder = Recorder::start().await;
        let configuration = format!(
            "admin = {{ address = \"127.0.0.1:0\" }}\n\
             [[listener]]\nname = \"http\"\naddress = \"127.0.0.1:0\"\n\
             [cluster.up]\nendpoints = [{{ address = \"{}\" }}]\n\
             [[route]]\nname = \"all\"\ncluster = \"up\"\n",
            recorder.address
        );
        let gateway = Gateway::with(&configuration).await;
        let address = gateway.listener("http");
        percentile(address).await; // warms up
        for round in 1..=ROUNDS {
            let without = percentile(address).await;
            let mut crowd = JoinSet::new();
            for kind in [Slow::Head, Slow::Body, Slow::Reader, Slow::Idle] {
                (0..KIND).for_each(|_| drop(crowd.spawn(again_and_again(address, kind))));
            }
            sleep(Duration::from_secs(3)).await; // until they all hang
            let with = percentile(address).await;
            crowd.shutdown().await;
            println!(
                "round {round}: p99 {without:?} without, {with:?} with {} slow clients",
                4 * KIND
            );
            if with <= without.mul_f64(1.2) + FLOOR {
                return;
            }
        }
        panic!("in none of {ROUNDS} rounds was p99 within 1.2 times and {FLOOR:?}");
    }

    /// The 99th percentile of the latency of normal clients.
    async fn percentile(address: SocketAddr) -> Duration {
        let mut clients = JoinSet::new();
        for number in 0..NORMAL {
            clients.spawn(normal(address, number));
        }
        let mut all: Vec<Duration> = clients.join_all().await.concat();
        all.sort_unstable();
        all[all.len() * 99 / 100]
    }

    async fn normal(address: SocketAddr, number: usize) -> Vec<Duration> {
        let wire = Wire::connect(address).await;
        let mut wire = wire.expect("the gateway accepts");
        // Not all at the same time, or they wait for each other.
        sleep(PAUSE.mul_f64(number as f64 / NORMAL as f64)).await;
        let mut latencies = Vec::with_capacity(REQUESTS);
        for _ in 0..REQUESTS {
            let started = Instant::now();
            let answered = exchange(&mut wire).await;
            answered.expect("normal clients are answered");
            latencies.push(started.elapsed());
            sleep(PAUSE).await;
        }
        latencies
    }

    async fn exchange(wire: &mut Wire) -> Result<(), Wrong> {
        let sent = wire.send(GET).await;
        sent.map_err(|error| error.to_string())?;
        let head = wire.head().await?.ok_or("closed")?;
        match &*head.first {
            "HTTP/1.1 200 OK" => wire.exactly("GET /sized 0".len()).await.map(drop),
            other => Err(other.to_owned()),
        }
    }

    /// Comes back each time it is ended.
    async fn again_and_again(address: SocketAddr, kind: Slow) {
        loop {
            let _ = hang(address, kind).await;
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn hang(address: SocketAddr, kind: Slow) -> std::io::Result<()> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4096)?; // so that little is read that nobody asked for
        let mut wire = Wire::of(socket.connect(address).await?)?;
        wire.drop_hard();
        let start: &[u8] = match kind {
            Slow::Head => b"GET / HTTP/1.1\r\nX-A: ",
            Slow::Body => b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000\r\n\r\n",
            Slow::Reader => b"GET /large/4 HTTP/1.1\r\nHost: a.test\r\n\r\n",
            Slow::Idle => GET,
        };
        wire.send(start).await?;
        if let Slow::Reader = kind {
            std::future::pending::<()>().await;
        }
        if let Slow::Head = kind {
            loop {
                sleep(Duration::from_secs(1)).await;
                wire.send(b"a").await?;
            }
        }
        let _ = wire.rest().await; // until it is ended
        Ok(())
    }
}
