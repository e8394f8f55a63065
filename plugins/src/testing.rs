//! Runs a plugin without a socket and without a proxy, for the plugin's own tests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chassis::config::{Diagnostic, Raw, Sources, load};
use futures::executor::block_on;
use http::{HeaderName, HeaderValue, Method, StatusCode, Version};

use crate::chain::{Chain, Link};
use crate::exchange::{Client, Exchange};
use crate::head::{Fields, RequestHead, ResponseHead, Value};
use crate::plugin::{Finished, Plugin, Request, Response};
use crate::registry::{Registration, Setting};
use crate::tls::TlsSession;

/// One plugin, and the request that it saw last.
pub struct Bench {
    chain: Chain,
    request: RequestHead,
    /// What is known of the last request.
    pub exchange: Exchange,
    client: Client,
}

/// A head that came out of a plugin.
#[derive(Debug)]
pub struct Seen {
    /// The status; 0 for a request.
    pub status: u16,
    headers: Fields,
    /// The body of a plugin's own reply.
    pub body: String,
}

impl Seen {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let name = HeaderName::try_from(name).ok()?;
        self.headers.get(&name).and_then(Value::to_str)
    }
}

/// Builds an instance of a plugin from the text of its table.
///
/// # Errors
/// What the plugin does not accept.
pub fn build(
    registration: &Registration,
    table: &str,
    previous: Option<&Arc<dyn Plugin>>,
) -> Result<Arc<dyn Plugin>, Diagnostic> {
    let folder = std::env::temp_dir();
    let name = format!("tidegate-plugin-{}.toml", uuid::Uuid::new_v4());
    let path = folder.join(name);
    let nowhere = |error: std::io::Error| Diagnostic::new(Default::default(), error.to_string());
    std::fs::write(&path, table).map_err(nowhere)?;
    let loaded = load::<Raw>(&path);
    std::fs::remove_file(&path).map_err(nowhere)?;
    let loaded = loaded.map_err(|report| {
        let lines: Vec<String> = report.lines().collect();
        Diagnostic::new(Default::default(), lines.join("\n"))
    })?;
    let sources: &Sources = &loaded.sources;
    (registration.build)(&Setting {
        name: registration.kind,
        table: &loaded.config,
        sources,
        previous,
        runtime: tokio::runtime::Handle::try_current().ok().as_ref(),
    })
}

impl Bench {
    /// A bench for a built-in plugin.
    ///
    /// # Panics
    /// When there is no such plugin or the table is wrong.
    pub fn new(kind: &str, table: &str) -> Self {
        Self::of(build(builtin(kind), table, None).unwrap_or_else(|wrong| panic!("{wrong:?}")))
    }

    /// A bench for any plugin.
    pub fn of(plugin: Arc<dyn Plugin>) -> Self {
        let client = Client {
            address: "192.0.2.1:5000".parse().ok(),
            listener: "http".into(),
            tls: false,
            session: None,
        };
        Self {
            chain: Chain::new([Link {
                name: "tested".into(),
                plugin,
            }]),
            request: RequestHead::new(Method::GET, Version::HTTP_11, "/"),
            exchange: Exchange::new(client.clone(), Instant::now()),
            client,
        }
    }

    /// The next requests come from this address.
    ///
    /// # Panics
    /// When it is no address with a port.
    pub fn from_address(&mut self, address: &str) {
        self.client.address = Some(address.parse().expect("is an address with a port"));
    }

    /// The next requests come over this TLS connection.
    pub fn over_tls(&mut self, session: TlsSession) {
        self.client.tls = true;
        self.client.session = Some(Arc::new(session));
    }

    /// Sends a request that the plugin is expected to let through.
    ///
    /// # Panics
    /// When the plugin answers it.
    pub fn get(&mut self, path: &str, headers: &[(&'static str, &str)]) -> Seen {
        self.send("GET", path, headers)
            .unwrap_or_else(|reply| panic!("the plugin answered {reply:?}"))
    }

    /// Sends a request.
    ///
    /// # Errors
    /// The plugin's own reply, when it answers.
    ///
    /// # Panics
    /// When the request is not valid.
    pub fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Seen, Seen> {
        let method = Method::from_bytes(method.as_bytes()).expect("is a valid method");
        let mut head = RequestHead::new(method, Version::HTTP_11, path);
        add_all(head.fields_mut(), headers);
        self.exchange = Exchange::new(self.client.clone(), Instant::now());
        let reply = block_on(self.chain.request(&mut Request {
            head: &mut head,
            exchange: &mut self.exchange,
        }));
        self.request = head;
        match reply {
            None => Ok(Seen {
                status: 0,
                headers: self.request.fields().clone(),
                body: String::new(),
            }),
            Some(reply) => {
                let mut fields = Fields::default();
                for (name, value) in &reply.headers {
                    fields.add(name, value);
                }
                Err(Seen {
                    status: reply.status.as_u16(),
                    body: String::from_utf8_lossy(&reply.body_for(&self.exchange)).into_owned(),
                    headers: fields,
                })
            }
        }
    }

    /// Sends a response to the last request.
    ///
    /// # Panics
    /// When the response is not valid, or the plugin panics.
    pub fn response(&mut self, status: u16, headers: &[(&'static str, &str)]) -> Seen {
        let status = StatusCode::from_u16(status).expect("is a valid status");
        let mut head = ResponseHead::new(status);
        add_all(head.fields_mut(), headers);
        let sound = self.chain.response(&mut Response {
            request: &self.request,
            head: &mut head,
            exchange: &mut self.exchange,
        });
        assert!(sound, "the plugin panicked");
        Seen {
            status: head.status().as_u16(),
            headers: head.fields().clone(),
            body: String::new(),
        }
    }

    /// Ends the last request.
    pub fn finish(&mut self, status: u16, bytes_sent: u64, duration: Duration) {
        self.chain.finished(&Finished {
            request: &self.request,
            exchange: &self.exchange,
            status,
            bytes_received: 0,
            bytes_sent,
            duration,
            error: None,
        });
    }
}

impl std::fmt::Debug for Bench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench")
            .field("exchange", &self.exchange)
            .finish_non_exhaustive()
    }
}

fn add_all(fields: &mut Fields, headers: &[(&'static str, &str)]) {
    for (name, value) in headers {
        let value = HeaderValue::from_str(value).expect("is a valid header");
        fields.add(&HeaderName::from_static(name), &value);
    }
}

fn builtin(kind: &str) -> &'static Registration {
    let found = crate::BUILTIN.iter().find(|one| one.kind == kind);
    found.unwrap_or_else(|| panic!("no plugin {kind}"))
}

/// What is wrong with a table of a built-in plugin.
#[cfg(test)]
pub(crate) fn mistake(kind: &str, table: &str) -> String {
    match build(builtin(kind), table, None) {
        Ok(_) => panic!("{table} is accepted"),
        Err(diagnostic) => diagnostic.message,
    }
}
