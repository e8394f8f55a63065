//! The L4 balancer in the edge of `tidegate up`.

use std::fs;
use std::net::SocketAddr;

use rustix::process::Signal;
use tidegate_tests::admin::Admin;
use tidegate_tests::api::Api;
use tidegate_tests::binary::repository;
use tidegate_tests::edge::{Edge, Home};
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::process::send;
use tidegate_tests::wire::Wire;
use tokio::net::TcpSocket;

/// Asks for a path from another address of this machine.
async fn ask_from(client: &str, server: SocketAddr, path: &str) -> u16 {
    let socket = TcpSocket::new_v4().expect("there are descriptors");
    let client = SocketAddr::new(client.parse().expect("it is one"), 0);
    socket.bind(client).expect("all of 127/8 is ours");
    let stream = socket.connect(server).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let answer = Wire::over(stream).exchange(&request).await;
    answer.expect("it answers").status
}

/// Waits for a line of the gateway's access log with this in it.
async fn logged(edge: &Edge, path: &str) -> String {
    eventually("the line is written", SOON, async || {
        let out = edge.process.stdout();
        let mut lines = out.lines();
        let line = lines.find(|line| line.contains("gateway |") && line.contains(path));
        line.map(str::to_owned)
    })
    .await
}

#[tokio::test]
async fn the_gateway_knows_clients_that_come_by_way_of_the_balancer() {
    let home = Home::default();
    let edge = home.up().await;
    let by_way = edge.address("l4 http");
    assert_eq!(ask_from("127.0.0.5", by_way, "/by-way").await, 404);
    let line = logged(&edge, "/by-way").await;
    assert!(line.contains("127.0.0.5"), "{line}");
    let direct = edge.address("gateway http");
    assert_eq!(ask_from("127.0.0.6", direct, "/direct").await, 404);
    assert_eq!(ask_from("127.0.0.1", direct, "/nearby").await, 404);
    let line = logged(&edge, "/direct").await;
    assert!(line.contains("127.0.0.6"), "{line}");
    let l4 = Admin {
        address: edge.address("l4 admin"),
    };
    let state = l4.get("/l4/state").await.expect(200).json();
    assert_eq!(state["clusters"][0]["endpoints"][0]["well"], true);
    let said = edge.process.stdout();
    assert!(
        said.contains(&format!("curl -s http://{by_way}/v1/register")),
        "{said}"
    );
}

#[tokio::test]
async fn a_killed_balancer_comes_back() {
    let home = Home::default();
    let edge = home.up().await;
    edge.http().register("ada").await.expect(201);
    let killed = edge.role("l4").await;
    send(killed, Signal::KILL);
    eventually("another serves", SOON, async || {
        (edge.role("l4").await != killed).then_some(())
    })
    .await;
    edge.http().login("ada").await;
    edge.https().login("ada").await;
}

#[tokio::test]
async fn an_edge_from_before_there_was_a_balancer_gets_one_that_its_gateway_understands() {
    let home = Home::default();
    let gateway = fs::read_to_string(repository().join("conf/gateway.toml")).expect("it is there");
    let old: Vec<_> = gateway
        .lines()
        .filter(|line| !line.starts_with("proxy_protocol") && !line.starts_with("trusted"))
        .collect();
    home.configure("gateway.toml", &old.join("\n"));
    let edge = home.up().await;
    edge.http().register("ada").await.expect(201);
    edge.https().login("ada").await;
    let direct = Api::plain(edge.address("gateway http"));
    direct.login("ada").await;
}
