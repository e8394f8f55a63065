//! `tidegate l4 explain`: what it says is what happens.

use std::net::SocketAddr;

use tidegate_tests::l4::Balancer;
use tidegate_tests::named::{Named, who_from};
use tokio::net::{TcpSocket, TcpStream};

fn configuration(endpoints: &[&Named], scheduler: &str, listener: &str) -> String {
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|one| format!("{{ address = \"{}\" }}", one.address))
        .collect();
    format!(
        r#"
[[listener]]
name = "in"
address = "{listener}"
cluster = "web"
allow = ["127.0.0.0/8"]
[check.connects]
tcp = {{}}
interval = "50ms"
[cluster.web]
scheduler = "{scheduler}"
check = "connects"
endpoints = [{}]
"#,
        endpoints.join(", ")
    )
}

async fn connect_from(client: SocketAddr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("there are descriptors");
    socket.set_reuseaddr(true).expect("it is a socket");
    socket.bind(client).expect("the port is free");
    socket.connect(to).await.expect("it listens")
}

fn free() -> SocketAddr {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    socket.local_addr().expect("it is bound")
}

/// The address on the line of a step.
fn step<'a>(said: &'a str, name: &str) -> &'a str {
    let line = said.lines().find(|line| line.starts_with(name));
    let line = line.unwrap_or_else(|| panic!("no {name} in:\n{said}"));
    line[name.len()..].trim_start()
}

#[tokio::test]
async fn each_flow_gets_the_endpoint_that_it_says() {
    let endpoints = [
        Named::start("a").await,
        Named::start("b").await,
        Named::start("c").await,
    ];
    let all: Vec<_> = endpoints.iter().collect();
    for scheduler in ["maglev", "source_hash"] {
        let listener = free();
        let balancer =
            Balancer::start(&configuration(&all, scheduler, &listener.to_string())).await;
        let admin = format!("http://{}", balancer.admin.address);
        for _ in 0..10 {
            let client = free();
            let said = balancer.explain(&["--from", &client.to_string(), "--admin", &admin]);
            let who = who_from(connect_from(client, listener).await).await;
            let named = endpoints
                .iter()
                .zip(["a", "b", "c"])
                .find(|(_, name)| who.as_deref() == Some(name));
            let (endpoint, _) = named.expect("one of them answers");
            let address = endpoint.address.to_string();
            assert!(
                step(&said, "endpoint").starts_with(&address),
                "{address}:\n{said}"
            );
        }
    }
}

#[tokio::test]
async fn it_says_what_the_running_balancer_knows() {
    let (a, mut b) = (Named::start("a").await, Named::start("b").await);
    b.die().await;
    let text = configuration(&[&a, &b], "round_robin", "127.0.0.1:0");
    let routed = r#"
[[route]]
names = ["*.example.com"]
cluster = "other"
[cluster.other]
proxy_protocol = "v2"
endpoints = [{ address = "127.0.0.1:1", weight = 3 }, { address = "127.0.0.1:2" }]
"#;
    let balancer = Balancer::start(&(text + routed)).await;
    let admin = format!("http://{}", balancer.admin.address);
    let said = balancer.explain(&["--admin", &admin]);
    assert_eq!(
        step(&said, "listener"),
        "in, mode proxy: this process carries the bytes"
    );
    assert_eq!(step(&said, "name"), "none: the cluster of the listener");
    assert_eq!(step(&said, "cluster"), "web, round_robin");
    assert_eq!(step(&said, "health"), format!("as {admin} knows it"));
    assert!(
        said.contains(&format!(
            "{}  weight 1, share 100.0%, well, 0 open",
            a.address
        )),
        "{said}"
    );
    assert!(
        said.contains(&format!("{}  weight 1, share 0.0%, not well: ", b.address)),
        "{said}"
    );
    assert_eq!(step(&said, "endpoint"), "each in its turn, by share");
    let path = format!("/l4/clusters/web/endpoints/{}", a.address);
    balancer
        .admin
        .put(&path, r#"{"weight":0}"#)
        .await
        .expect(204);
    let said = balancer.explain(&["--admin", &admin]);
    assert!(said.contains("weight 0 (set)"), "{said}");
    assert!(step(&said, "endpoint").starts_with("none"), "{said}");
    names_and_clients_are_judged(&balancer, &admin);
}

fn names_and_clients_are_judged(balancer: &Balancer, admin: &str) {
    let named = ["--admin", admin, "--sni", "API.example.com"];
    let said = balancer.explain(&named);
    assert_eq!(
        step(&said, "name"),
        "api.example.com: the route for *.example.com"
    );
    assert!(
        said.contains("127.0.0.1:1  weight 3, share 75.0%, well"),
        "{said}"
    );
    assert_eq!(
        step(&said, "header"),
        "PROXY v2 with the client's address goes first"
    );
    let said = balancer.explain(&["--admin", admin, "--from", "192.0.2.1"]);
    assert!(
        step(&said, "client").starts_with("may not connect"),
        "{said}"
    );
    // The file says port 0, where nobody answers.
    let said = balancer.explain(&["--host", "www.example.com:8080"]);
    assert!(
        step(&said, "health").starts_with("not known, for nobody answers"),
        "{said}"
    );
}
