//! The admin listener of a role, as an operator sees it.

use std::net::SocketAddr;

use crate::answer::Answer;
use crate::wire;

/// The admin listener of a role.
#[derive(Clone, Copy, Debug)]
pub struct Admin {
    /// Where it listens.
    pub address: SocketAddr,
}

impl Admin {
    /// Asks for a path.
    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).await
    }

    /// Reloads the configuration and waits for the outcome.
    pub async fn reload(&self) -> Answer {
        self.ask("POST", "/reload").await
    }

    /// Asks for something to be done.
    pub async fn post(&self, path: &str) -> Answer {
        self.ask("POST", path).await
    }

    /// Changes what is there, with a JSON body.
    pub async fn patch(&self, path: &str, body: &str) -> Answer {
        self.send("PATCH", path, body).await
    }

    /// Replaces what is there, with a JSON body.
    pub async fn put(&self, path: &str, body: &str) -> Answer {
        self.send("PUT", path, body).await
    }

    async fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        wire::ask(self.address, &request).await
    }

    /// The value of a metric with these labels, written as Prometheus does: `name{a="b"}`.
    pub async fn metric(&self, wanted: &str) -> Option<f64> {
        let (name, labels) = wanted.split_once('{').unwrap_or((wanted, "}"));
        let labels: Vec<&str> = labels.trim_end_matches('}').split(',').collect();
        let text = self.get("/metrics").await.text();
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .find(|(series, _)| {
                let (found, rest) = series.split_once('{').unwrap_or((series, ""));
                found == name && labels.iter().all(|label| rest.contains(label))
            })
            .and_then(|(_, value)| value.parse().ok())
    }

    async fn ask(&self, method: &str, path: &str) -> Answer {
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
        wire::ask(self.address, &request).await
    }
}
